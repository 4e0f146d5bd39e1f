"""What is embedded in issues, on Cloud and Data Center: complete, in few requests, gone when it is gone."""

from collections.abc import AsyncIterator

import pytest

from scheduler.dispatch import Request
from store import connections
from store.connections import Connection
from store.database import clock
from store.syncs import Sync
from tests.house import House
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter
from tidegate.demo.remotes.jira_issue import Issue

pytestmark = pytest.mark.sqlite_does

Remote = JiraCloud | JiraDataCenter
LISTS = ("changelogs", "comments", "worklogs")
#: Who we are, the filter, and one search.
IDLE = 3


@pytest.fixture(params=["cloud", "gateway", "datacenter"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Remote]:
    remote: Remote = JiraDataCenter(context="/jira") if request.param == "datacenter" else JiraCloud()
    if isinstance(remote, JiraDataCenter):
        remote.add_user("ana@example.com", "password")
        remote.add_pat("ana@example.com", "token-1")
    else:
        remote.add_account("ana@example.com", "token-1")
        if request.param == "gateway":
            remote.grant("ana@example.com", "scoped-1")
    for key in ("TG", "OPS", "AWAY"):
        remote.add_project(key)
    async with remote:
        yield remote


async def connect(house: House, site: Remote, streams: list[str] | None = None) -> Connection:
    number = site.add_filter("project in (TG, OPS)")
    if isinstance(site, JiraDataCenter):
        base, kind, secret = site.base, "pat", "token-1"
    elif site.grants:
        base, kind, secret = site.gateway, "basic", "scoped-1"
    else:
        base, kind, secret = site.url, "basic", "token-1"
    name = None if kind == "pat" else "ana@example.com"
    credential = await house.credential("jira", kind, name, secret)
    return await house.connection("jira", f"{base}/issues/?filter={number}", credential, streams=streams)


def busy(site: Remote, issue: Issue) -> Issue:
    """An issue with 130 entries of history, 45 comments and 30 worklogs, left alone for long."""
    for number in range(45):
        site.add_comment(issue.id, f"Comment {number}")
    for _ in range(30):
        site.log_work(issue.id, 600)
    site.change_often(issue.id, 130 - len(site.issues[issue.id].history))
    return site.update_issue(issue.id, updated=issue.updated)


async def counted(house: House, site: Remote, connection: Connection) -> tuple[Sync, int]:
    """A sync, and how many requests it cost."""
    site.ledger.clear()
    sync = await house.sync(connection.id)
    return sync, len(site.ledger)


async def numbers(house: House) -> dict[str, int]:
    return {name: len(await house.keys("jira", name)) for name in LISTS}


async def test_all_that_an_issue_has_lists_of_is_complete(house: House, site: Remote) -> None:
    issues = site.seed(3)
    issue = busy(site, issues[1])
    connection = await connect(house, site)
    sync, requests = await counted(house, site, connection)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert await numbers(house) == {"changelogs": 130, "comments": 45, "worklogs": 30}
    there = {
        "changelogs": [one.id for one in issue.history],
        "comments": [one.id for one in issue.comments],
        "worklogs": [one.id for one in issue.worklogs],
    }
    for name, ids in there.items():
        rows = await house.rows("jira", name)
        assert {row["key"] for row in rows} == set(map(str, ids))
        assert {row["parent"] for row in rows} == {str(issue.id)}
        assert sync.receipt is not None
        assert sync.receipt[name].complete
    # The product is asked for once. What Cloud cut: one history, one page of comments, one of worklogs; what
    # Data Center cut: worklogs.
    assert requests == IDLE + 1 + (1 if isinstance(site, JiraDataCenter) else 3)


async def test_a_second_sync_with_nothing_changed_costs_three_requests(house: House, site: Remote) -> None:
    busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    before = {name: await house.rows("jira", name) for name in ("issues", *LISTS)}
    sync, requests = await counted(house, site, connection)
    assert (sync.state, requests) == ("succeeded", IDLE)
    assert {name: await house.rows("jira", name) for name in ("issues", *LISTS)} == before


async def test_reading_all_again_finds_everything_unchanged(house: House, site: Remote) -> None:
    busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    sync = await house.sync(connection.id, Request("api", "full"))
    assert sync.state == "succeeded"
    read = {name: (c.read, c.new, c.changed, c.deleted) for name, c in sync.counters.items()}
    assert read == {
        "issues": (3, 0, 0, 0),
        "changelogs": (130, 0, 0, 0),
        "comments": (45, 0, 0, 0),
        "worklogs": (30, 0, 0, 0),
    }


async def test_an_issue_named_by_its_key_brings_all_of_it_unchanged(house: House, site: Remote) -> None:
    issue = busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    sync = await house.sync(connection.id, Request("webhook", "records", {"issues": [str(issue.id)]}))
    assert sync.state == "succeeded"
    assert [(c.read, c.unchanged) for c in sync.counters.values()] == [(1, 1), (130, 130), (45, 45), (30, 30)]


@pytest.mark.parametrize("place", [3, 40])
async def test_a_deleted_comment_and_a_deleted_worklog_get_tombstones(
    house: House, site: Remote, place: int
) -> None:
    issue = busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    comment, worklog = issue.comments[place], issue.worklogs[place % 30]
    site.delete_comment(issue.id, comment.id)
    site.delete_worklog(issue.id, worklog.id)
    sync = await house.sync(connection.id)
    assert sync.state == "succeeded"
    assert [sync.counters[name].deleted for name in LISTS] == [0, 1, 1]
    # Both left their traces in the history.
    assert await numbers(house) == {"changelogs": 132, "comments": 44, "worklogs": 29}
    assert str(comment.id) not in await house.keys("jira", "comments")
    assert str(worklog.id) not in await house.keys("jira", "worklogs")


async def test_the_last_comment_of_an_issue_is_seen_to_be_deleted(house: House, site: Remote) -> None:
    issue = site.seed(1)[0]
    comment = site.add_comment(issue.id, "The only one")
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.delete_comment(issue.id, comment.id)
    sync = await house.sync(connection.id)
    assert sync.counters["comments"].deleted == 1
    assert await house.keys("jira", "comments") == set()


async def test_an_edited_comment_is_changed_and_nothing_else(house: House, site: Remote) -> None:
    issue = busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.edit_comment(issue.id, issue.comments[30].id, "Another text")
    sync = await house.sync(connection.id)
    changed = {name: (c.new, c.changed, c.deleted) for name, c in sync.counters.items()}
    assert changed == {
        "issues": (0, 1, 0),
        "changelogs": (0, 0, 0),
        "comments": (0, 1, 0),
        "worklogs": (0, 0, 0),
    }


async def test_a_moved_issue_keeps_all_of_its_own(house: House, site: Remote) -> None:
    issue = busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.move_issue(issue.id, "OPS")
    sync = await house.sync(connection.id)
    assert sync.state == "succeeded"
    assert [c.deleted for c in sync.counters.values()] == [0, 0, 0, 0]
    rows = {row["key"]: row for row in await house.rows("jira", "issues")}
    assert rows[str(issue.id)]["issue_key"] == "OPS-1"
    # The move itself is one more entry.
    assert await numbers(house) == {"changelogs": 131, "comments": 45, "worklogs": 30}


async def test_an_issue_that_leaves_the_filter_takes_its_own_along(house: House, site: Remote) -> None:
    issue = busy(site, site.seed(3)[1])
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.move_issue(issue.id, "AWAY")
    sync = await house.sync(connection.id, Request("api", "census"))
    assert sync.counters["issues"].deleted == 1
    assert await numbers(house) == {"changelogs": 0, "comments": 0, "worklogs": 0}


async def test_ten_cut_issues_of_a_hundred_cost_no_request_for_each_record(
    house: House, site: Remote
) -> None:
    issues = site.seed(100)
    for issue in issues[::10]:
        busy(site, issue)
    connection = await connect(house, site)
    sync, requests = await counted(house, site, connection)
    assert sync.state == "succeeded"
    assert await numbers(house) == {"changelogs": 1300, "comments": 450, "worklogs": 300}
    # One for all histories, and of each issue one for the comments and one for the worklogs; Data Center
    # cuts the last only.
    assert requests == IDLE + 1 + (10 if isinstance(site, JiraDataCenter) else 1 + 10 + 10)


async def test_only_issues_cost_no_request_for_what_is_in_them(house: House, site: Remote) -> None:
    busy(site, site.seed(3)[1])
    connection = await connect(house, site, ["issues"])
    sync, requests = await counted(house, site, connection)
    assert (sync.state, requests, list(sync.counters)) == ("succeeded", IDLE + 1, ["issues"])
    assert "histories" not in str([row["body"] for row in await house.rows("jira", "issues")])
    assert await numbers(house) == dict.fromkeys(LISTS, 0)


async def test_streams_that_are_selected_later_are_read_of_old_issues_too(house: House, site: Remote) -> None:
    busy(site, site.seed(3)[1])
    connection = await connect(house, site, ["issues"])
    await house.sync(connection.id)
    async with house.database.write() as database:
        chosen = {"streams": ["issues", "comments"]}
        await connections.change(database, connection.id, await clock(database), chosen)
    sync = await house.sync(connection.id)
    assert sync.state == "succeeded"
    assert await numbers(house) == {"changelogs": 0, "comments": 45, "worklogs": 0}


async def test_what_breaks_off_while_lists_are_completed_loses_nothing(house: House, site: Remote) -> None:
    busy(site, site.seed(3)[1])
    site.faults.append(Fault("/worklog", cut=200))
    connection = await connect(house, site)
    waiting = await house.sync(connection.id)
    assert waiting.state == "waiting"
    assert await house.keys("jira", "issues") == set()
    sync = await house.until_ended(waiting.id)
    assert sync.state == "succeeded"
    assert await numbers(house) == {"changelogs": 130, "comments": 45, "worklogs": 30}
