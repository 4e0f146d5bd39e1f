"""Reading the issues of a simulated Jira Cloud site: which issues, in which shape, with which queries."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from adapters.base import QueryRejected
from adapters.http import Limits
from adapters.jira import Jira
from tests.support import http_client, read_all, records_of
from tests.unit.jira_cloud import ALL, JSON, NOON, SEARCH, asked, cloud, connected, first_sync, keys_of, sent
from tidegate.demo.remotes.base import Fault


async def test_all_issues_of_a_filter_are_read_exactly_once() -> None:
    async with cloud() as remote:
        seeded = remote.seed(250)
        number = remote.add_filter("project = TG ORDER BY priority DESC")
        async with connected(remote, f"filter={number}") as jira:
            (partition,) = await jira.plan("issues")
            pages, _ = await read_all(jira, "issues", partition)
        assert keys_of(pages) == [str(issue.id) for issue in seeded]
        assert [page.end for page in pages] == [False, False, True]


async def test_a_record_is_the_issue_as_sent_with_its_columns() -> None:
    async with cloud() as remote:
        ada = next(iter(remote.people))
        epic = remote.create_issue("TG", "Epic")
        issue = remote.create_issue(
            "TG", "Rows are lost", assignee=ada, labels=("a", "b"), due="2026-04-01", time_spent=60
        )
        issue = remote.update_issue(issue.id, parent=epic.id, resolution="Done", resolved=NOON, status="Done")
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        record = records_of(pages, "issues")[1]
        assert record.body == sent(remote, issue)
        assert (record.key, record.updated_at, record.final) == (str(issue.id), NOON, True)
        assert record.version == str(round(NOON.timestamp() * 1000))
        names = [column.name for column in Jira.feeds[0].streams[0].columns]
        values = dict(zip(names, record.columns, strict=True))
        assert {name: value for name, value in values.items() if value is not None} == {
            "issue_key": "TG-2",
            "summary": "Rows are lost",
            "project_key": "TG",
            "issue_type": "Task",
            "status": "Done",
            "status_category": "done",
            "status_category_changed_at": NOON,
            "priority": "Medium",
            "resolution": "Done",
            "assignee": "ada",
            "assignee_id": ada,
            "created_at": NOON,
            "resolved_at": NOON,
            "due_on": "2026-04-01",
            "parent_key": "TG-1",
            "labels": "a,b",
            "time_spent": 60,
        }


async def test_an_idle_connection_costs_three_requests() -> None:
    async with cloud() as remote:
        number = remote.add_filter("project = TG")
        cursor = await first_sync(remote, f"filter={number}")
        remote.ledger.clear()
        async with connected(remote, f"filter={number}") as jira:
            (partition,) = await jira.plan("issues")
            pages, _ = await read_all(jira, "issues", partition, cursor)
        assert [seen.line for seen in remote.ledger] == [
            "GET /rest/api/3/myself",
            f"GET /rest/api/3/filter/{number}",
            f"POST {SEARCH}",
        ]
        assert [(len(page.records), page.end) for page in pages] == [(0, True)]


async def test_a_stranger_is_not_asked_who_it_is() -> None:
    async with cloud() as remote:
        remote.public = True
        remote.create_issue("TG", "Seen by all")
        target = Jira.parse(f"{remote.url}/issues/?jql=project=TG", {})
        async with http_client(target.base, clock=remote.clock.now) as http:
            jira = Jira(target, http)
            (partition,) = await jira.plan("issues")
            pages, _ = await read_all(jira, "issues", partition)
        assert keys_of(pages) == ["10001"]
        assert not remote.requests("/myself")


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata", "UTC", "Pacific/Kiritimati"])
async def test_an_issue_updated_in_any_time_zone_is_in_the_second_sync(zone: str) -> None:
    async with cloud(zone=zone) as remote:
        old = remote.create_issue("TG", "Stays")
        changed = remote.create_issue("TG", "Changes")
        remote.clock.advance(timedelta(days=2))
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(minutes=1))
        remote.update_issue(changed.id, status="Done")
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(changed.id)]
        assert str(old.id) not in keys_of(pages)


async def test_the_date_in_the_query_is_local_and_cut_to_the_minute() -> None:
    async with cloud(zone="America/Los_Angeles") as remote:
        cursor = await first_sync(remote)
        async with connected(remote) as jira:
            await read_all(jira, "issues", ALL, cursor)
        # 12:00:30 less the overlap of ten minutes is 11:50:30 UTC.
        assert asked(remote)[-1] == (
            '(project = TG) AND updated >= "2026/03/04 03:50" ORDER BY updated ASC, key ASC'
        )


async def test_an_unknown_time_zone_reads_more_rather_than_less() -> None:
    async with cloud(zone="UTC") as remote:
        cursor = await first_sync(remote)
        remote.faults.append(Fault("/myself", 200, b'{"accountId": "x"}', JSON))
        changed = remote.create_issue("TG", "New")
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(changed.id)]


@pytest.mark.parametrize("minute", [5, 35, 65, 95])
async def test_an_update_in_the_hour_that_the_clock_shows_twice_is_found(minute: int) -> None:
    # In Los Angeles the hour from 1:00 to 2:00 is lived twice: 8:00 to 10:00 UTC.
    async with cloud(datetime(2026, 11, 1, 8, 0, tzinfo=UTC), "America/Los_Angeles") as remote:
        issue = remote.create_issue("TG", "In the night")
        remote.clock.advance(timedelta(minutes=minute))
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(seconds=61))
        remote.update_issue(issue.id, status="Done")
        remote.clock.advance(timedelta(minutes=20))
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert [record.columns[4] for record in records_of(pages, "issues")] == ["Done"]
        assert '"2026/11/01 01:' not in asked(remote)[-1]


async def test_an_issue_that_the_index_learns_of_late_is_found_by_the_next_sync() -> None:
    async with cloud() as remote:
        remote.create_issue("TG", "Known")
        remote.clock.advance(timedelta(hours=1))
        remote.lag = timedelta(minutes=5)
        late = remote.create_issue("TG", "Late")
        remote.clock.advance(timedelta(minutes=2))
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(minutes=30))
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(late.id)]


async def test_five_hundred_issues_of_one_moment_are_all_read_incrementally() -> None:
    async with cloud() as remote:
        cursor = await first_sync(remote)
        remote.clock.advance(timedelta(hours=1))
        made = [remote.create_issue("TG", f"{n}") for n in range(500)]
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert sorted(keys_of(pages)) == sorted(str(issue.id) for issue in made)


async def test_a_changed_filter_is_read_from_the_beginning() -> None:
    async with cloud() as remote:
        remote.create_issue("TG", "Bug", type="Bug")
        task = remote.create_issue("TG", "Task")
        remote.clock.advance(timedelta(days=1))
        number = remote.add_filter("project = TG AND type = Bug")
        cursor = await first_sync(remote, f"filter={number}")
        remote.filters[number].jql = "project = TG"
        async with connected(remote, f"filter={number}") as jira:
            pages, after = await read_all(jira, "issues", ALL, cursor)
            again, _ = await read_all(jira, "issues", ALL, after)
        assert str(task.id) in keys_of(pages)
        assert keys_of(again) == []


async def test_another_account_reads_from_the_beginning() -> None:
    async with cloud() as remote:
        issue = remote.create_issue("TG", "Old")
        remote.clock.advance(timedelta(days=1))
        cursor = await first_sync(remote)
        remote.revoke("token")
        remote.add_account("ada@example.com", "token")
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(issue.id)]


async def test_only_another_order_of_the_filter_reads_nothing_anew() -> None:
    async with cloud() as remote:
        remote.create_issue("TG", "Old")
        remote.clock.advance(timedelta(days=1))
        number = remote.add_filter("project = TG")
        cursor = await first_sync(remote, f"filter={number}")
        remote.filters[number].jql = "project = TG ORDER BY key DESC"
        async with connected(remote, f"filter={number}") as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == []


async def test_a_filter_with_or_keeps_its_meaning() -> None:
    async with cloud() as remote:
        remote.add_project("OPS")
        remote.create_issue("OPS", "Old")
        remote.clock.advance(timedelta(days=1))
        number = remote.add_filter('project = OPS OR labels = "order by" ORDER BY created')
        cursor = await first_sync(remote, f"filter={number}")
        labelled = remote.create_issue("TG", "New", labels=("order by",))
        async with connected(remote, f"filter={number}") as jira:
            pages, _ = await read_all(jira, "issues", ALL, cursor)
        assert keys_of(pages) == [str(labelled.id)]


async def test_since_limits_the_first_read_to_what_was_updated_then() -> None:
    async with cloud(zone="America/Los_Angeles") as remote:
        remote.create_issue("TG", "Old")
        revived = remote.create_issue("TG", "Revived")
        remote.clock.advance(timedelta(days=2))
        remote.update_issue(revived.id, status="Done")
        async with connected(remote, since="2026-03-05") as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert keys_of(pages) == [str(revived.id)]


async def test_one_bad_issue_among_a_hundred_is_rejected_and_the_others_live() -> None:
    async with cloud() as remote:
        remote.seed(100)
        body = json.loads(remote.body(remote.issues[10_050]))
        del body["fields"]
        remote.send_instead(10_050, json.dumps(body).encode())
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert len(records_of(pages, "issues")) == 99
        (rejected,) = pages[0].rejected
        assert (rejected.stream, rejected.key) == ("issues", "10050")
        assert "TG-50" in rejected.reason
        assert json.loads(rejected.body).items() >= body.items()


async def test_an_odd_type_of_a_column_costs_the_column_only() -> None:
    async with cloud() as remote:
        issue = remote.create_issue(
            "TG", "Odd", odd={"status": b'"Done"', "labels": b"7", "duedate": b"{}", "timespent": b'"1h"'}
        )
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        (record,) = records_of(pages, "issues")
        assert (record.key, record.updated_at) == (str(issue.id), NOON)
        assert record.columns[:6] == ("TG-1", "Odd", "TG", "Task", None, None)


async def test_an_answer_too_large_is_asked_for_in_smaller_pages() -> None:
    async with cloud() as remote:
        remote.seed(250)
        async with connected(remote, limits=Limits(body=200_000)) as jira:
            pages, _ = await read_all(jira, "issues", ALL)
        assert len(set(keys_of(pages))) == 250
        assert json.loads(remote.requests(SEARCH)[-1].body)["maxResults"] == 25


async def test_a_wrong_query_is_an_error_and_not_an_empty_success() -> None:
    async with cloud() as remote, connected(remote, "jql=project%20=%20NOPE") as jira:
        with pytest.raises(QueryRejected, match="NOPE"):
            await read_all(jira, "issues", ALL)


async def test_a_cursor_that_is_not_one_reads_from_the_beginning() -> None:
    async with cloud() as remote:
        remote.create_issue("TG", "One")
        async with connected(remote) as jira:
            pages, _ = await read_all(jira, "issues", ALL, "garbage")
        assert keys_of(pages) == ["10001"]
