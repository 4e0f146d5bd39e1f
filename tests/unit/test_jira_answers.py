"""Jira's refusals and traps, each as the error that names the consequence."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    RateLimited,
    Unavailable,
    Unreadable,
)
from adapters.jira import Jira
from tests.support import http_client, read_all
from tidegate.demo.remotes.base import Clock, Fault
from tidegate.demo.remotes.jira import JiraCloud

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
SEARCH = "/rest/api/3/search/jql"
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}


@asynccontextmanager
async def cloud() -> AsyncIterator[JiraCloud]:
    async with JiraCloud(Clock(lambda: NOON)) as remote:
        remote.add_account("ada@example.com", "token")
        remote.add_project("TG")
        remote.seed(3)
        yield remote


async def read(remote: JiraCloud, secret: str = "token", query: str = "jql=project=TG") -> None:
    """Plan and read everything as a sync does."""
    target = Jira.parse(f"{remote.url}/issues/?{query}", {})
    auth = Jira.auth("basic", "ada@example.com", lambda: secret)
    async with http_client(target.base, auth, Jira.limits, remote.clock.now) as http:
        jira = Jira(target, http)
        await jira.plan("issues")
        await read_all(jira, "issues", Partition("all"))


async def read_on(reading: AsyncIterator[Page]) -> list[Page]:
    return [page async for page in reading]


@pytest.mark.parametrize(
    ("status", "body", "headers", "error", "says"),
    [
        (200, b'{"issues":[],"isLast":true}', JSON | {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"},
         AuthFailed, "credential"),
        (200, b'{"issues":[],"isLast":true}', JSON | {"X-Seraph-LoginReason": "OK, OUT"},
         AuthFailed, "credential"),
        (403, b"", {"X-Seraph-LoginReason": "AUTHENTICATION_DENIED"}, AuthFailed, "captcha"),
        (400, b'{"errorMessages":["cannot be viewed by anonymous users."]}', JSON, AuthFailed, "stranger"),
        (400, b'{"errorMessages":["Odd."],"errors":{"jql":"No."}}', JSON, QueryRejected, "Odd. jql: No."),
        (400, b'{"errorMessages":null,"errors":null}', JSON, QueryRejected, "answered 400"),
        (401, b"<html>", HTML, AuthFailed, "credential"),
        (403, b'{"errorMessages":["Not you."]}', JSON, Forbidden, "Not you"),
        (404, b"<html>dead link", HTML, NotFound, "page instead of data"),
        (410, b'{"errorMessages":["Removed."]}', JSON, QueryRejected, "Removed"),
        (429, b"<html>", HTML, RateLimited, "limits"),
        (503, b"<html>", HTML, Unavailable, "503"),
        (200, b"<html>log in", HTML, Unreadable, "instead of JSON"),
        (203, b'{"issues":[],"isLast":true}', JSON, Unreadable, "203"),
        (200, b'{"isLast":true}', JSON, Unreadable, "issues"),
        (200, b'{"issues":null,"isLast":true}', JSON, Unreadable, "issues"),
        (200, b'{"issues":[],"isLast":false}', JSON, Unreadable, "no token"),
        (200, b'{"issues":[', JSON, Unreadable, "fit"),
    ],
)  # fmt: skip
async def test_an_answer_to_a_search_becomes_its_error(
    status: int, body: bytes, headers: Mapping[str, str], error: type[AdapterError], says: str
) -> None:
    async with cloud() as remote:
        remote.faults.append(Fault(SEARCH, status, body, headers, times=9))
        with pytest.raises(error, match=says) as raised:
            await read(remote)
        assert type(raised.value) is error
        assert raised.value.hint


async def test_a_refused_credential_fails_although_a_search_would_find_nothing() -> None:
    async with cloud() as remote:
        with pytest.raises(AuthFailed):
            await read(remote, secret="old")
        remote.ledger.clear()
        with pytest.raises(AuthFailed):
            await read(remote, secret="old", query="filter=12345")
        assert [seen.line for seen in remote.ledger] == ["GET /rest/api/2/serverInfo"]


async def test_a_credential_revoked_between_pages_fails_and_does_not_end_the_reading() -> None:
    async with cloud() as remote:
        remote.seed(900)
        target = Jira.parse(f"{remote.url}/issues/?jql=project=TG", {})
        auth = Jira.auth("basic", "ada@example.com", lambda: "token")
        async with http_client(target.base, auth, Jira.limits, remote.clock.now) as http:
            jira = Jira(target, http)
            reading = jira.read("issues", Partition("all"), None)
            assert not (await anext(reading)).end
            assert not (await anext(reading)).end
            remote.revoke("token")
            with pytest.raises(AuthFailed):
                await read_on(reading)


async def test_a_token_with_scopes_is_told_where_it_works() -> None:
    async with cloud() as remote:
        with pytest.raises(AuthFailed) as raised:
            await read(remote, secret="old")
        assert "api.atlassian.com/ex/jira" in raised.value.hint


async def test_a_missing_filter_is_not_found_and_not_a_bad_query() -> None:
    async with cloud() as remote:
        with pytest.raises(NotFound, match="filter 777"):
            await read(remote, query="filter=777")


async def test_a_filter_that_restricts_nothing_is_explained() -> None:
    async with cloud() as remote:
        number = remote.add_filter("ORDER BY created")
        with pytest.raises(QueryRejected, match="restricts nothing"):
            await read(remote, query=f"filter={number}")


async def test_a_limit_tells_when_to_come_back() -> None:
    async with cloud() as remote:
        remote.limit(times=9, retry_after=90, reason="jira-quota-tenant-based")
        with pytest.raises(RateLimited, match="jira-quota-tenant-based") as raised:
            await read(remote)
        assert raised.value.retry_at == NOON + timedelta(seconds=90)


async def test_a_limit_without_retry_after_ends_with_its_reset() -> None:
    async with cloud() as remote:
        headers = {"X-RateLimit-Reset": "2026-03-04T12:07Z"}
        remote.faults.append(Fault(SEARCH, 429, b"", headers))
        with pytest.raises(RateLimited) as raised:
            await read(remote)
        assert raised.value.retry_at == datetime(2026, 3, 4, 12, 7, tzinfo=UTC)


async def test_long_complaints_are_cut() -> None:
    async with cloud() as remote:
        body = b'{"errorMessages":["' + b"x" * 5000 + b'"]}'
        remote.faults.append(Fault(SEARCH, 400, body, JSON))
        with pytest.raises(QueryRejected) as raised:
            await read(remote)
        assert len(raised.value.message) < 400


async def test_empty_pages_without_an_end_are_an_error() -> None:
    async with cloud() as remote:
        for number in range(9):
            body = b'{"issues":[],"nextPageToken":"t%d"}' % number
            remote.faults.append(Fault(SEARCH, 200, body, JSON))
        with pytest.raises(Unreadable, match="empty page"):
            await read(remote)


async def test_a_page_without_is_last_and_without_a_token_is_the_last() -> None:
    async with cloud() as remote:
        remote.faults.append(Fault(SEARCH, 200, b'{"issues":[]}', JSON))
        await read(remote)
        assert len(remote.requests(SEARCH)) == 1
