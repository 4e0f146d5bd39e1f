"""Histories, comments and worklogs of issues: complete, or told not to be, whatever happens meanwhile."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from adapters.base import Page, QueryRejected, Unreadable
from adapters.http import Limits
from adapters.jira import Jira
from adapters.jira.embedded import CHANGELOGS
from adapters.jira.whole import RECORDS_MOST
from store.digest import digest
from tests.support import read_all, records_of
from tests.unit import jira_datacenter
from tests.unit.jira_cloud import ALL, JSON, NOON, cloud, connected
from tests.unit.jira_datacenter import datacenter
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_issue import Issue

BULK = "/rest/api/3/changelog/bulkfetch"


def keys(pages: list[Page], stream: str) -> list[str]:
    return [record.key for record in records_of(pages, stream)]


def families(pages: list[Page], stream: str) -> list[list[str]]:
    return [list(one.keys) for page in pages for one in page.families if one.stream == stream]


def values(stream: int, columns: tuple[object, ...]) -> dict[str, object]:
    names = [column.name for column in Jira.feeds[0].streams[stream].columns]
    return {name: value for name, value in zip(names, columns, strict=True) if value is not None}


def commented(remote: JiraCloud, count: int) -> Issue:
    remote.create_issue("TG", "Quiet")
    issue = remote.create_issue("TG", "Much is said")
    for number in range(count):
        remote.add_comment(issue.id, f"Comment {number}")
    return remote.issues[issue.id]


async def read(remote: JiraCloud, **params: Any) -> list[Page]:
    async with connected(remote, **params) as jira:
        pages, _ = await read_all(jira, "issues", ALL)
    return pages


# --- what a record is


async def test_each_list_has_its_columns_key_parent_and_version() -> None:
    async with cloud() as remote:
        ada = next(iter(remote.people))
        issue = remote.create_issue("TG", "Everything", reporter=ada)
        comment = remote.add_comment(issue.id, "Only for us", role="Developers")
        worklog = remote.log_work(issue.id, 600, "Digging")
        remote.update_issue(issue.id, status="Done", summary="All of it")
        pages = await read(remote)
        (said,), (worked,) = records_of(pages, "comments"), records_of(pages, "worklogs")
        changes = records_of(pages, "changelogs")
    version = str(round(NOON.timestamp() * 1000))
    assert (said.key, said.parent, said.version, said.final) == (
        str(comment.id),
        str(issue.id),
        version,
        True,
    )
    assert (worked.key, worked.parent, worked.updated_at) == (str(worklog.id), str(issue.id), NOON)
    assert values(2, said.columns) == {
        "author": "ada",
        "author_id": ada,
        "edited_by": "ada",
        "created_at": NOON,
        "visibility": "Developers",
    }
    assert values(3, worked.columns) == {
        "author": "ada",
        "author_id": ada,
        "edited_by": "ada",
        "started_at": NOON,
        "time_spent": 600,
        "created_at": NOON,
    }
    newest = {one.key: one for one in changes}[str(max(int(one.key) for one in changes))]
    assert (newest.version, newest.updated_at, newest.parent) == (None, None, str(issue.id))
    assert values(1, newest.columns) == {
        "author": "ada",
        "author_id": ada,
        "created_at": NOON,
        "items": 2,
        "fields": "status,summary",
        "status_from": "To Do",
        "status_to": "Done",
    }


async def test_an_entry_of_the_bulk_endpoint_is_the_same_as_the_embedded_one() -> None:
    """One tells the time as text, the other as a number."""
    async with cloud() as remote:
        issue = remote.create_issue("TG", "Often changed")
        remote.change_often(issue.id, 10)
        (embedded, *_) = records_of(await read(remote), "changelogs")
        # Fifty newer ones, and the bulk endpoint tells of the old one.
        remote.change_often(issue.id, 50)
        again = {one.key: one for one in records_of(await read(remote), "changelogs")}[embedded.key]
    assert again.body != embedded.body
    assert again.columns == embedded.columns
    assert digest(again.body, CHANGELOGS.volatile) == digest(embedded.body, CHANGELOGS.volatile)


async def test_a_field_of_an_entry_that_is_odd_costs_its_column_only() -> None:
    async with cloud() as remote:
        odd = {"id": 5, "author": "ada", "created": [], "updated": "2026-03-04T12:00:30.000+0000"}
        listed = {"total": 1, "comments": [odd]}
        remote.create_issue("TG", "Odd", odd={"comment": json.dumps(listed).encode()})
        (record,) = records_of(await read(remote), "comments")
    assert (record.key, record.updated_at, values(2, record.columns)) == ("5", NOON, {})


async def test_an_entry_without_an_id_is_put_aside_and_nothing_is_called_gone() -> None:
    async with cloud() as remote:
        listed = {"total": 2, "comments": [{"id": "5"}, {"body": "whose?"}]}
        remote.create_issue("TG", "Odd", odd={"comment": json.dumps(listed).encode()})
        pages = await read(remote)
    assert keys(pages, "comments") == ["5"]
    assert [(one.stream, one.key, json.loads(one.body)) for one in pages[0].rejected] == [
        ("comments", None, {"body": "whose?"})
    ]
    assert "TG-1" in pages[0].rejected[0].reason
    assert families(pages, "comments") == []


@pytest.mark.parametrize("sent", [b'"none"', b'{"total": 3}'])
async def test_a_list_that_is_none_is_told_and_the_issue_lives(sent: bytes) -> None:
    async with cloud() as remote:
        issue = remote.create_issue("TG", "Odd", odd={"worklog": sent})
        pages = await read(remote)
    assert keys(pages, "issues") == [str(issue.id)]
    assert [one.stream for one in pages[0].rejected] == ["worklogs"]
    assert "worklogs of TG-1" in pages[0].rejected[0].reason


# --- what is asked for


async def test_comments_in_several_pages_are_read_in_as_few_requests_as_pages() -> None:
    async with cloud() as remote:
        issue = commented(remote, 345)
        pages = await read(remote)
        assert sorted(keys(pages, "comments")) == sorted(str(one.id) for one in issue.comments)
        assert [len(one) for one in families(pages, "comments")] == [0, 345]
        # 325 are missing; the site gives a hundred at once, of which one proves that they join.
        assert len(remote.requests("/comment")) == 4


async def test_entries_of_several_issues_spread_over_pages_are_put_together() -> None:
    async with cloud() as remote:
        issues = [remote.create_issue("TG", f"Issue {n}") for n in range(3)]
        for issue in issues:
            remote.change_often(issue.id, 2000)
        pages = await read(remote)
        for issue in issues:
            mine = {one.key for one in records_of(pages, "changelogs") if one.parent == str(issue.id)}
            assert mine == {str(one.id) for one in remote.issues[issue.id].history}
        # More than one page holds: two issues, and the third. Each in one request.
        assert [len(json.loads(seen.body)["issueIdsOrKeys"]) for seen in remote.requests(BULK)] == [2, 1]


async def test_a_bulk_token_that_loops_ends_the_reading() -> None:
    async with cloud() as remote:
        issue = remote.create_issue("TG", "Often changed")
        remote.change_often(issue.id, 50)
        body = b'{"issueChangeLogs": [], "nextPageToken": "again"}'
        remote.faults.append(Fault(BULK, 200, body, JSON, times=9))
        with pytest.raises(Unreadable, match="again and again"):
            await read(remote)


async def test_a_list_too_large_for_one_answer_is_asked_for_in_smaller_pages() -> None:
    async with cloud() as remote:
        remote.comments_page = 1000
        issue = remote.create_issue("TG", "Long texts")
        for number in range(300):
            remote.add_comment(issue.id, f"{number} " + "text " * 200)
        pages = await read(remote, limits=Limits(body=150_000))
        assert len(keys(pages, "comments")) == 300
        assert pages[-1].rejected == []


async def test_one_comment_too_large_is_told_and_all_else_lives() -> None:
    async with cloud() as remote:
        issue = commented(remote, 25)
        remote.edit_comment(issue.id, issue.comments[22].id, "text " * 60_000)
        pages = await read(remote, limits=Limits(body=200_000))
    assert set(keys(pages, "issues")) == {str(issue.id), str(issue.id - 1)}
    (rejected,) = [one for page in pages for one in page.rejected]
    assert (rejected.stream, rejected.key) == ("comments", None)
    assert "comments of TG-2 are not all here" in rejected.reason
    assert families(pages, "comments") == [[]]


# --- what happens meanwhile


async def deleted_while_read(count: int, place: int, change: Callable[[JiraCloud, Issue], object]) -> None:
    """Whatever else is known: nothing that is still there may be called gone."""
    async with cloud() as remote:
        issue = commented(remote, count)
        happened: list[bool] = []

        def meanwhile() -> None:
            if len(happened) == place:
                change(remote, issue)
            happened.append(True)

        remote.before_list = meanwhile
        pages = await read(remote)
        there = {str(one.id) for one in remote.issues[issue.id].comments}
        known = {str(one.id) for one in issue.comments}
        for family in families(pages, "comments")[1:]:
            assert there & known <= set(family)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("gone", [4, 19, 21, 130, 240])
@pytest.mark.parametrize(("deleted", "added"), [(1, 0), (1, 1), (3, 3)])
async def test_comments_deleted_while_they_are_read_make_no_other_vanish(
    place: int, gone: int, deleted: int, added: int
) -> None:
    def change(remote: JiraCloud, issue: Issue) -> None:
        for comment in issue.comments[gone : gone + deleted]:
            remote.delete_comment(issue.id, comment.id)
        for _ in range(added):
            remote.add_comment(issue.id, "One more")

    await deleted_while_read(250, place, change)


async def test_a_comment_deleted_right_after_the_search_is_seen_to_be_gone() -> None:
    async with cloud() as remote:
        issue = commented(remote, 45)
        happened: list[int] = []

        def meanwhile() -> None:
            if not happened:
                happened.append(issue.comments[4].id)
                remote.delete_comment(issue.id, issue.comments[4].id)

        remote.before_list = meanwhile
        pages = await read(remote)
        there = {str(one.id) for one in remote.issues[issue.id].comments}
    assert set(families(pages, "comments")[1]) == set(keys(pages, "comments")) == there


async def test_an_issue_deleted_while_its_lists_are_read_ends_nothing() -> None:
    async with cloud() as remote:
        issue = commented(remote, 45)
        remote.faults.append(
            Fault(f"/issue/{issue.id}/comment", 404, b'{"errorMessages": ["gone"]}', JSON, 9)
        )
        pages = await read(remote)
    assert len(keys(pages, "comments")) == 20
    assert families(pages, "comments") == [[]]


async def test_comments_embedded_newest_first_are_complete_all_the_same() -> None:
    async with cloud() as remote:
        issue = commented(remote, 45)
        whole = json.loads(remote.body(issue))
        shown = [remote.renderer.lists.comment(issue, one) for one in issue.comments[:-21:-1]]
        whole["fields"]["comment"]["comments"] = shown
        remote.send_instead(issue.id, json.dumps(whole, default=bytes.decode).encode())
        pages = await read(remote)
        assert set(keys(pages, "comments")) == {str(one.id) for one in issue.comments}
        assert [len(one) for one in families(pages, "comments")] == [0, 45]


async def test_a_site_that_gives_the_same_page_for_ever_is_told() -> None:
    async with cloud() as remote:
        issue = commented(remote, 45)
        shown = [remote.renderer.lists.comment(issue, one) for one in issue.comments[:10]]
        page = {"startAt": 0, "maxResults": 10, "total": 45, "comments": shown}
        remote.faults.append(Fault("/comment", 200, msgspec.json.encode(page), JSON, times=99))
        pages = await read(remote)
    assert [one.stream for page in pages for one in page.rejected] == ["comments"]


# --- a page that holds very much


async def test_a_page_that_holds_very_much_is_given_in_parts_and_goes_on_in_any_of_them() -> None:
    async with cloud() as remote:
        issues = [remote.create_issue("TG", f"Issue {n}") for n in range(5)]
        for issue in issues[1:4]:
            remote.change_often(issue.id, RECORDS_MOST - 100)
        async with connected(remote) as jira:
            pages = [page async for page in jira.read("issues", ALL, None)]
        assert [keys([page], "issues") for page in pages] == [
            [str(issue.id) for issue in part] for part in (issues[:2], issues[2:3], issues[3:])
        ]
        assert [page.end for page in pages] == [False, False, True]
        # Whoever stops after any of them goes on there, and gives nothing twice.
        for at, page in enumerate(pages[:-1], 1):
            async with connected(remote) as jira:
                rest = [one async for one in jira.read("issues", ALL, page.cursor)]
            assert keys(rest, "issues") == keys(pages[at:], "issues")
            assert len(keys(rest, "changelogs")) == len(keys(pages[at:], "changelogs"))
            assert rest[-1].cursor == pages[-1].cursor


async def test_a_page_of_data_center_that_holds_very_much_is_given_in_parts() -> None:
    async with datacenter() as remote:
        issues = [remote.create_issue("TG", f"Issue {n}") for n in range(4)]
        for issue in issues[1:]:
            remote.change_often(issue.id, RECORDS_MOST - 100)
        async with jira_datacenter.connected(remote) as jira:
            pages = [page async for page in jira.read("issues", ALL, None)]
        assert keys(pages, "issues") == [str(issue.id) for issue in issues]
        assert len(pages) == 3
        async with jira_datacenter.connected(remote) as jira:
            rest = [one async for one in jira.read("issues", ALL, pages[0].cursor)]
        assert keys(rest, "issues") == [str(issue.id) for issue in issues[2:]]
        assert rest[-1].expected == {"issues": 4}


# --- Data Center


async def test_histories_too_large_for_a_search_are_asked_for_one_by_one() -> None:
    async with datacenter() as remote:
        issues = [remote.create_issue("TG", f"Issue {n}") for n in range(4)]
        for issue in issues:
            remote.change_often(issue.id, 200)
        async with jira_datacenter.connected(remote, limits=Limits(body=180_000)) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert len(keys(pages, "changelogs")) == 800
        assert sorted(set(keys(pages, "issues"))) == [str(issue.id) for issue in issues]


async def test_a_history_that_no_answer_can_hold_is_told_and_the_issue_lives() -> None:
    async with datacenter() as remote:
        quiet, busy = (remote.create_issue("TG", name) for name in ("Quiet", "Busy"))
        remote.change_often(busy.id, 1000)
        async with jira_datacenter.connected(remote, limits=Limits(body=180_000)) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
    assert set(keys(pages, "issues")) == {str(quiet.id), str(busy.id)}
    (rejected,) = [one for page in pages for one in page.rejected]
    assert (rejected.stream, rejected.key) == ("changelogs", None)
    assert "changelogs of TG-2 are not all here" in rejected.reason


# --- by key


async def test_ids_of_comments_are_never_taken_for_those_of_issues() -> None:
    async with cloud() as remote:
        issue = remote.create_issue("TG", "One")
        comment = remote.add_comment(issue.id, "Whose id an issue could have")
        assert comment.id == issue.id
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(issue.id)])
            assert [(one.stream, one.key) for one in fetched.records] == [
                ("issues", str(issue.id)),
                ("comments", str(comment.id)),
            ]
            remote.delete_issue(issue.id)
            fetched = await jira.fetch("issues", [str(comment.id)])
    assert [one.reason for one in fetched.missing] == ["hidden"]


async def test_a_fetched_issue_brings_its_families() -> None:
    async with cloud() as remote:
        issue = commented(remote, 45)
        async with connected(remote) as jira:
            fetched = await jira.fetch("issues", [str(issue.id)])
    assert {one.stream: len(one.keys) for one in fetched.families} == {
        "changelogs": 0,
        "comments": 45,
        "worklogs": 0,
    }


@pytest.mark.parametrize("stream", ["changelogs", "comments", "worklogs"])
async def test_what_is_embedded_cannot_be_asked_for_by_its_own_key(stream: str) -> None:
    async with cloud() as remote, connected(remote) as jira:
        with pytest.raises(QueryRejected, match="only with the issues") as raised:
            await jira.fetch(stream, ["1"])
    assert "stream issues" in raised.value.hint


async def test_a_check_tells_of_all_streams() -> None:
    async with cloud() as remote:
        remote.create_issue("TG", "One")
        async with connected(remote) as jira:
            check = await jira.check()
    assert {name: (one.readable, one.count) for name, one in check.streams.items()} == {
        "issues": (True, 1),
        "changelogs": (True, None),
        "comments": (True, None),
        "worklogs": (True, None),
    }
