"""Jira Cloud through the gateway of Atlassian, with tokens that have scopes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.base import AuthFailed, Forbidden, NotFound
from adapters.jira import Jira
from tests.support import http_client, read_all, records_of
from tests.unit.jira_cloud import ALL, cloud
from tidegate.demo.remotes.jira import CLOUD_ID, GATEWAY, READ_USER, READ_WORK, JiraCloud

EMAIL = "ada@example.com"


@asynccontextmanager
async def connected(
    remote: JiraCloud, kind: str = "basic", secret: str = "scoped", base: str | None = None
) -> AsyncIterator[Jira]:
    target = Jira.parse(base or remote.gateway, {"jql": "project = TG"})
    auth = Jira.auth(kind, EMAIL if kind == "basic" else None, lambda: secret)
    async with http_client(target.base, auth, Jira.limits, remote.clock.now) as http:
        yield Jira(target, http)


@pytest.mark.parametrize("kind", ["basic", "bearer"])
async def test_a_token_with_scopes_reads_through_the_gateway(kind: str) -> None:
    async with cloud() as remote:
        seeded = remote.seed(250)
        remote.grant(EMAIL, "scoped")
        async with connected(remote, kind) as jira:
            check = await jira.check()
            pages, cursor = await read_all(jira, "issues", ALL)
            fetched = await jira.fetch("issues", ["10001", "TG-2", "999"])
        assert (check.account, check.system_version) == ("ada", "Jira Cloud 1001.0.0-SNAPSHOT")
        assert [record.key for record in records_of(pages)] == [str(issue.id) for issue in seeded]
        assert {record.key for record in fetched.records} == {"10001", "10002"}
        assert all(seen.path.startswith(f"{GATEWAY}/rest/api/") for seen in remote.ledger)
        remote.ledger.clear()
        async with connected(remote, kind) as jira:
            await read_all(jira, "issues", ALL, cursor)
        assert [seen.path.rpartition("/")[2] for seen in remote.ledger] == ["myself", "jql"]


@pytest.mark.parametrize(
    ("scopes", "missing"), [([READ_WORK], READ_USER), ([READ_USER], READ_WORK), ([], READ_USER)]
)
async def test_a_missing_scope_is_named_with_what_to_do(scopes: list[str], missing: str) -> None:
    async with cloud() as remote:
        remote.grant(EMAIL, "scoped", scopes)
        async with connected(remote) as jira:
            with pytest.raises(Forbidden, match=f"lacks the scope {missing}") as raised:
                await read_all(jira, "issues", ALL)
        assert f"{missing} is missing" in raised.value.hint


async def test_check_tells_that_the_scope_for_issues_is_missing() -> None:
    async with cloud() as remote:
        remote.grant(EMAIL, "scoped", [READ_USER])
        async with connected(remote) as jira:
            found = (await jira.check()).streams["issues"]
        assert (found.readable, found.kind) == (False, "forbidden")
        assert READ_WORK in (found.problem or "")


async def test_a_wrong_token_at_the_gateway_says_what_it_takes() -> None:
    async with cloud() as remote, connected(remote, secret="wrong") as jira:
        with pytest.raises(AuthFailed) as raised:
            await jira.check()
        assert "cloudId" in raised.value.hint


async def test_another_cloud_id_is_not_found() -> None:
    async with cloud() as remote:
        remote.grant(EMAIL, "scoped")
        async with connected(remote, base=remote.gateway.replace(CLOUD_ID, "0000")) as jira:
            with pytest.raises(NotFound):
                await jira.check()


async def test_a_token_with_scopes_at_the_site_itself_is_told_where_it_works() -> None:
    async with cloud() as remote:
        remote.grant(EMAIL, "scoped")
        async with connected(remote, base=remote.url) as jira:
            with pytest.raises(AuthFailed) as raised:
                await jira.check()
        assert "api.atlassian.com/ex/jira" in raised.value.hint


async def test_an_api_token_as_bearer_at_the_site_itself_is_told_its_kind() -> None:
    async with cloud() as remote, connected(remote, "bearer", "token", remote.url) as jira:
        with pytest.raises(AuthFailed) as raised:
            await jira.check()
        assert "kind basic" in raised.value.hint


async def test_a_stranger_at_the_gateway_is_told_to_use_a_credential() -> None:
    async with cloud() as remote, connected(remote, "anonymous") as jira:
        with pytest.raises(AuthFailed, match="without a credential") as raised:
            await jira.check()
        assert "credential" in raised.value.hint
