"""The main path on Jira: what changes there is here after the next sync, and nothing else is."""

from collections.abc import AsyncIterator

import pytest

from store.connections import Connection
from tests.house import House
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", "token-1", zone="America/Los_Angeles")
        remote.add_project("TG")
        yield remote


async def connect(house: House, site: JiraCloud) -> Connection:
    credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
    number = site.add_filter("project = TG")
    return await house.connection("jira", f"{site.url}/issues/?filter={number}", credential)


async def test_a_first_sync_stores_every_issue_and_says_so(house: House, site: JiraCloud) -> None:
    issues = site.seed(250)
    connection = await connect(house, site)
    sync = await house.sync(connection.id)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert sync.counters["issues"].new == 250
    assert sync.receipt is not None
    assert sync.receipt["issues"].complete
    assert await house.keys("jira", "issues") == {str(issue.id) for issue in issues}
    assert await house.states(connection.id) == ["queued", "running", "succeeded"]
    assert (await house.get(connection.id)).health == "healthy"


async def test_a_second_sync_with_nothing_changed_writes_no_record(house: House, site: JiraCloud) -> None:
    site.seed(120)
    connection = await connect(house, site)
    await house.sync(connection.id)
    before = await house.rows("jira", "issues")
    sync = await house.sync(connection.id)
    counts = sync.counters["issues"]
    assert sync.state == "succeeded"
    assert (counts.new, counts.changed) == (0, 0)
    assert await house.rows("jira", "issues") == before


async def test_an_issue_updated_after_the_first_sync_is_in_the_second(house: House, site: JiraCloud) -> None:
    issues = site.seed(120)
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.update_issue(issues[3].id, summary="Seen in Los Angeles")
    sync = await house.sync(connection.id)
    assert sync.counters["issues"].changed == 1
    rows = {row["key"]: row for row in await house.rows("jira", "issues")}
    assert rows[str(issues[3].id)]["summary"] == "Seen in Los Angeles"


async def test_a_page_that_fails_keeps_the_pages_before_it(house: House, site: JiraCloud) -> None:
    site.seed(2000)
    connection = await connect(house, site)
    site.faults.append(Fault("/search/jql", status=500, after=9, times=1))
    opened = await house.open(connection.id)
    waiting = await house.work(opened.id)
    assert waiting.state == "waiting"
    assert len(await house.keys("jira", "issues")) == 900
    asked = len(site.requests("/search/jql"))
    ended = await house.until_ended(opened.id)
    assert ended.state == "succeeded"
    assert len(await house.keys("jira", "issues")) == 2000
    assert len(site.requests("/search/jql")) - asked <= 13


async def test_a_sync_goes_on_over_many_slices(house: House, site: JiraCloud) -> None:
    site.seed(1000)
    connection = await connect(house, site)
    house.deps = type(house.deps)(
        **{**{f: getattr(house.deps, f) for f in house.deps.__struct_fields__}, "slice_seconds": 0.0}
    )
    sync = await house.until_ended((await house.open(connection.id)).id)
    assert sync.state == "succeeded"
    assert sync.fence > 3
    assert len(await house.keys("jira", "issues")) == 1000


async def test_a_revoked_token_is_told_once_and_pauses(house: House, site: JiraCloud) -> None:
    site.seed(10)
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.revoke("token-1")
    sync = await house.sync(connection.id)
    assert sync.state == "failed"
    assert sync.error is not None
    assert sync.error.kind == "auth"
    found = await house.get(connection.id)
    assert (found.health, found.cause, found.paused) == ("failed", "auth", True)
    assert len(await house.keys("jira", "issues")) == 10
