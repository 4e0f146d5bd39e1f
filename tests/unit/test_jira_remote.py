"""The simulated Jira Cloud keeps to what is known of the real one, so that tests against it count."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from adapters.auth import Basic
from adapters.base import AdapterError
from adapters.http import Http, Reply
from tests.support import http_client
from tests.unit.jira_cloud import SEARCH, cloud
from tidegate.demo.remotes.jira import JiraCloud


@asynccontextmanager
async def asking(remote: JiraCloud, token: str = "token") -> AsyncIterator[Http]:
    async with http_client(
        remote.url, Basic("ada@example.com", lambda: token), clock=remote.clock.now
    ) as http:
        yield http


async def search(http: Http, jql: str, **more: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await http.post(SEARCH, {"jql": jql, **more})).body)
    return answer


async def found(http: Http, jql: str) -> list[str]:
    return [issue["id"] for issue in (await search(http, jql))["issues"]]


@pytest.mark.parametrize(
    ("jql", "ids"),
    [
        ("project = TG ORDER BY id", "1 2 3"),
        ("project in (TG, OPS) ORDER BY key DESC", "3 2 1 4"),
        ("project = TG AND NOT status = Done ORDER BY id", "1 3"),
        ("(status = Done OR labels = red) AND project = TG ORDER BY id", "1 2"),
        ("status = Done OR labels = red AND project = OPS ORDER BY id", "2"),
        ("status not in (Done, 'To Do') ORDER BY id", "3"),
        ("labels is EMPTY ORDER BY id", "2 3 4"),
        ("labels is not EMPTY", "1"),
        ("key = TG-2", "2"),
        ("issuekey in (TG-1, OPS-1) ORDER BY id", "1 4"),
        ("id in (10001, 10003) ORDER BY created DESC", "3 1"),
        ("filter = 12345 AND status = Done", "2"),
        ("assignee = currentUser()", "2"),
        ("created >= '2026/03/04 04:02' ORDER BY id", "3 4"),
        ("created > '2026-03-04 04:02' AND created < '2026-03-04 04:03'", "3"),
        ("created <= '2026-03-04' ORDER BY id", ""),
        ("created >= -1m ORDER BY id", "4"),
        ("created >= 1772625750000 ORDER BY id", "3 4"),
        ("summary ~ 'FOURTH'", "4"),
    ],
)
async def test_a_query_finds_what_it_says(jql: str, ids: str) -> None:
    async with cloud(zone="America/Los_Angeles") as remote, asking(remote) as http:
        ada = next(iter(remote.people))
        remote.add_filter("project = TG")
        remote.create_issue("TG", "First", labels=("red",))
        remote.clock.advance(timedelta(minutes=1))
        remote.create_issue("TG", "Second", status="Done", assignee=ada)
        remote.clock.advance(timedelta(minutes=1))
        remote.create_issue("TG", "Third", status="In Progress")
        remote.clock.advance(timedelta(minutes=2))
        remote.create_issue("OPS", "Fourth")
        assert await found(http, jql) == [str(10_000 + int(number)) for number in ids.split()]


@pytest.mark.parametrize(
    "jql",
    ["", "ORDER BY key", "project = NOPE", "odd = 1", "project = TG AND", "(project = TG", "key = TG-9",
     "updated >= yesterday", "project = TG ORDER BY odd", "filter = 1", "project > TG", "project = TG)"],
)  # fmt: skip
async def test_a_query_that_jira_refuses_is_a_400(jql: str) -> None:
    async with cloud() as remote, asking(remote) as http:
        with pytest.raises(AdapterError, match="400"):
            await search(http, jql)


async def test_without_fields_only_ids_are_given_and_no_total() -> None:
    async with cloud() as remote, asking(remote) as http:
        remote.seed(60)
        answer = await search(http, "project = TG")
        assert answer["issues"][0] == {"id": "10060"}
        assert len(answer["issues"]) == 50
        assert set(answer) == {"issues", "isLast", "nextPageToken"}
        some = await search(http, "key = TG-7", fields=["summary"])
        assert some["issues"][0]["fields"] == {"summary": "Import 6 stops at an empty row"}
        assert set(some) == {"issues", "isLast"}


@pytest.mark.parametrize(
    "more",
    [
        {"startAt": 50},
        {"nextPageToken": "bogus"},
        {"expand": ["changelog"]},
        {"reconcileIssues": [*range(51)]},
    ],
)
async def test_a_search_with_wrong_members_is_a_400(more: dict[str, object]) -> None:
    async with cloud() as remote, asking(remote) as http:
        with pytest.raises(AdapterError, match="400"):
            await search(http, "project = TG", **more)


async def test_a_token_belongs_to_its_query() -> None:
    async with cloud() as remote, asking(remote) as http:
        remote.seed(60)
        token = (await search(http, "project = TG"))["nextPageToken"]
        assert len((await search(http, "project = TG", nextPageToken=token))["issues"]) == 10
        with pytest.raises(AdapterError, match="400"):
            await search(http, "project in (TG)", nextPageToken=token)


async def test_the_index_lags_and_reconciling_does_not() -> None:
    async with cloud() as remote, asking(remote) as http:
        issue = remote.create_issue("TG", "Known")
        remote.lag = timedelta(minutes=3)
        remote.update_issue(issue.id, status="Done")
        assert await found(http, "status = Done") == []
        assert len((await search(http, "status = Done", reconcileIssues=[issue.id]))["issues"]) == 1
        remote.clock.advance(timedelta(minutes=3))
        assert await found(http, "status = Done") == [str(issue.id)]
        remote.delete_issue(issue.id)
        assert await found(http, "status = Done") == [str(issue.id)]
        assert (await search(http, "status = Done", reconcileIssues=[issue.id]))["issues"] == []


async def test_a_late_state_never_replaces_a_newer_one() -> None:
    async with cloud() as remote, asking(remote) as http:
        issue = remote.create_issue("TG", "Known")
        remote.lag = timedelta(minutes=3)
        remote.update_issue(issue.id, status="Done")
        remote.lag = timedelta()
        remote.update_issue(issue.id, status="In Progress")
        remote.clock.advance(timedelta(minutes=5))
        assert await found(http, "status = Done") == []


async def test_a_revoked_credential_searches_as_a_stranger() -> None:
    async with cloud() as remote, asking(remote) as http:
        remote.seed(3)
        remote.revoke("token")
        reply: Reply = await http.post(SEARCH, {"jql": "project = TG"})
        assert json.loads(reply.body) == {"issues": [], "isLast": True}
        assert reply.headers["X-Seraph-LoginReason"] == "AUTHENTICATED_FAILED"
        with pytest.raises(AdapterError, match="401"):
            await http.get("/rest/api/3/myself")
        remote.strict_to_strangers = True
        with pytest.raises(AdapterError, match="400"):
            await search(http, "project = TG")


@pytest.mark.parametrize(("path", "status"), [("/rest/api/3/search", 410), ("/jira/rest/api/3/myself", 404)])
async def test_what_cloud_does_not_have_is_gone_or_a_dead_link(path: str, status: int) -> None:
    async with cloud() as remote, asking(remote) as http:
        with pytest.raises(AdapterError, match=str(status)):
            await http.get(path)


async def test_an_issue_is_about_six_kilobytes() -> None:
    async with cloud() as remote:
        assert all(5_000 < len(remote.body(issue)) < 7_500 for issue in remote.seed(20))


async def test_a_moved_issue_keeps_its_id_and_its_old_key_leads_to_it() -> None:
    async with cloud() as remote, asking(remote) as http:
        issue = remote.create_issue("TG", "Moves")
        remote.move_issue(issue.id, "OPS")
        reply = await http.get("/rest/api/3/issue/TG-1", {"fields": "id"})
        assert json.loads(reply.body)["id"] == str(issue.id)
        assert json.loads((await http.get("/rest/api/3/issue/TG-1")).body)["key"] == "OPS-1"
