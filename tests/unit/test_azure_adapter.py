"""The Azure DevOps adapter against a simulated organisation: reading all, going on, and what changes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random

import msgspec
import pytest

from adapters.azure import Azure
from tests.support import read_all, records_of
from tests.unit.azure_reading import SmallQueries, adapter_of, column, keys, sync
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.create_project("newtwitterclone")
        yield running


# --- reading all


async def test_more_items_than_the_query_limit_are_all_read(remote: AzureDevOps) -> None:
    remote.model.seed(620, Random(1))
    remote.query_limit = 150
    pages, _ = await sync(remote, kind=SmallQueries)
    assert keys(pages) == [str(i) for i in range(1, 621)]
    assert pages[-1].end
    assert pages[-1].expected == {"work_items": 620}
    assert len(remote.requests("wiql")) == 5


async def test_a_remote_that_refuses_every_open_query_is_read_in_bounded_ones(remote: AzureDevOps) -> None:
    remote.model.seed(400, Random(1))
    for item_id in range(50, 300):
        remote.model.destroy(item_id)
    remote.query_limit = 100
    pages, _ = await sync(remote, kind=SmallQueries)
    assert keys(pages) == [str(i) for i in [*range(1, 50), *range(300, 401)]]
    assert pages[-1].expected == {"work_items": 150}


async def test_a_walk_of_a_multiple_of_the_query_size_ends_with_the_remotes_word(remote: AzureDevOps) -> None:
    remote.model.seed(300, Random(1))
    pages, _ = await sync(remote, kind=SmallQueries)
    assert len(keys(pages)) == 300
    assert [page.end for page in pages].count(True) == 1
    assert pages[-1].expected == {"work_items": 300}


async def test_an_empty_organisation_ends_with_nothing_expected(remote: AzureDevOps) -> None:
    pages, _ = await sync(remote)
    assert [(len(page.records), page.end, page.expected) for page in pages] == [(0, True, {"work_items": 0})]


async def test_bodies_are_kept_as_they_were_sent(remote: AzureDevOps) -> None:
    item = remote.model.create("newtwitterclone", "Ümläut «quotes»")
    [record] = records_of((await sync(remote))[0])
    assert msgspec.json.decode(record.body)["fields"]["System.Title"] == "Ümläut «quotes»"
    assert remote.model.items[item.id].fields_json in record.body


async def test_columns_are_filled_from_the_fields(remote: AzureDevOps) -> None:
    parent = remote.model.create("newtwitterclone", "Parent", "Feature")
    child = remote.model.create("newtwitterclone", "Child", "Bug", **{"System.Tags": "a; b"})
    remote.model.link(parent.id, child.id)
    remote.model.update(
        child.id,
        {
            "System.AssignedTo": remote.model.people[1].reference("company"),
            "Microsoft.VSTS.Scheduling.StoryPoints": 5.0,
            "System.State": "Closed",
        },
    )
    record = records_of((await sync(remote))[0])[1]
    assert column(record, "type") == "Bug"
    assert column(record, "parent_id") == parent.id
    assert column(record, "assigned_to") == "Jörg Müller"
    assert column(record, "assigned_to_id") == remote.model.people[1].id
    assert column(record, "story_points") == 5.0
    assert column(record, "tags") == "a; b"
    assert column(record, "closed_at") == record.updated_at
    assert record.version == "3"


async def test_a_field_of_an_unexpected_type_leaves_only_its_column_empty(remote: AzureDevOps) -> None:
    odd: dict[str, object] = {
        "Microsoft.VSTS.Common.Priority": "high",
        "System.AssignedTo": "Grace Park <grace.park@example.com>",
        "System.Parent": [1],
    }
    remote.model.create("newtwitterclone", "Odd", "Task", **odd)
    [page] = (await sync(remote))[0]
    assert column(page.records[0], "priority") is None
    assert column(page.records[0], "parent_id") is None
    assert column(page.records[0], "assigned_to") == "Grace Park"
    assert not page.rejected


@pytest.mark.parametrize("fraction", ["", ".7", ".76", ".123", ".1234567"])
async def test_a_time_may_have_up_to_seven_fractional_digits(remote: AzureDevOps, fraction: str) -> None:
    text = f"2026-03-25T13:11:27{fraction}Z"
    remote.model.create("newtwitterclone", "T", "Task", **{"System.CreatedDate": text})
    [record] = records_of((await sync(remote))[0])
    created = column(record, "created_at")
    assert str(created).startswith("2026-03-25 13:11:27")


# --- going on


async def test_an_interrupted_walk_goes_on_where_it_stopped(remote: AzureDevOps) -> None:
    remote.model.seed(500, Random(2))
    async with adapter_of(remote) as adapter:
        [partition] = await adapter.plan("work_items")
        reading = adapter.read("work_items", partition, None)
        first = await anext(reading)
        await reading.aclose()
    rest, _ = await sync(remote, first.cursor)
    assert keys([first, *rest]) == [str(i) for i in range(1, 501)]
    assert rest[-1].expected == {"work_items": 500}


async def test_an_interrupted_walk_still_reads_what_changed_behind_it_next_time(remote: AzureDevOps) -> None:
    clock = remote.clock
    remote.model.seed(300, Random(2))
    clock.advance(timedelta(hours=1))
    async with adapter_of(remote) as adapter:
        [partition] = await adapter.plan("work_items")
        reading = adapter.read("work_items", partition, None)
        first = await anext(reading)
        await reading.aclose()
    remote.model.update(3, {"System.Title": "changed behind the walk"})
    clock.advance(timedelta(hours=1))
    _, cursor = await sync(remote, first.cursor)
    again, _ = await sync(remote, cursor)
    assert keys(again) == ["3"]


async def test_an_update_after_the_first_sync_is_in_the_second(remote: AzureDevOps) -> None:
    remote.model.seed(30, Random(3))
    remote.clock.advance(timedelta(hours=1))
    _, cursor = await sync(remote)
    remote.clock.advance(timedelta(hours=1))
    remote.model.update(7, {"System.State": "Active"})
    pages, _ = await sync(remote, cursor)
    assert keys(pages) == ["7"]
    assert pages[-1].expected == {"work_items": 1}


async def test_items_of_the_very_second_of_the_cursor_are_read_again(remote: AzureDevOps) -> None:
    now = remote.clock.now().replace(microsecond=0)
    clock = Clock(lambda: now)
    async with AzureDevOps(clock=clock) as frozen:
        frozen.model.create_project("newtwitterclone")
        frozen.model.seed(5, Random(3))
        clock.advance(timedelta(minutes=5))
        _, cursor = await sync(frozen)
        # As of now the cursor is the moment at which all five were made.
        pages, _ = await sync(frozen, cursor)
        assert keys(pages) == ["1", "2", "3", "4", "5"]


async def test_a_change_that_the_index_shows_late_is_not_lost(remote: AzureDevOps) -> None:
    remote.model.seed(5, Random(3))
    remote.clock.advance(timedelta(hours=1))
    remote.lag = timedelta(minutes=2)
    remote.model.update(2, {"System.Title": "not yet in the index"})
    first, cursor = await sync(remote)
    assert len(keys(first)) == 5
    remote.clock.advance(timedelta(minutes=3))
    assert "2" in keys((await sync(remote, cursor))[0])


async def test_the_cursor_stays_the_overlap_behind_the_remotes_now(remote: AzureDevOps) -> None:
    before = remote.clock.now()
    _, cursor = await sync(remote)
    since = msgspec.json.decode(cursor or "{}")["since"]
    assert since <= (before - Azure.overlap + timedelta(seconds=2)).isoformat()


async def test_since_limits_the_first_read(remote: AzureDevOps) -> None:
    remote.model.seed(3, Random(3))
    remote.clock.advance(timedelta(days=3))
    remote.model.update(2, {"System.Title": "recent"})
    since = (remote.clock.now() - timedelta(days=1)).date().isoformat()
    pages, _ = await sync(remote, params={"since": since})
    assert keys(pages) == ["2"]


async def test_an_idle_connection_costs_two_requests(remote: AzureDevOps) -> None:
    remote.model.seed(30, Random(3))
    remote.clock.advance(timedelta(hours=1))
    cursors = {feed: (await sync(remote, feed=feed))[1] for feed in ("projects", "work_items")}
    remote.clock.advance(timedelta(hours=1))
    remote.ledger.clear()
    async with adapter_of(remote) as adapter:
        for feed, cursor in cursors.items():
            [partition] = await adapter.plan(feed)
            pages, _ = await read_all(adapter, feed, partition, cursor)
            assert pages[-1].end
    assert [seen.line for seen in remote.ledger] == [
        "GET /company/_apis/projects",
        "POST /company/_apis/wit/wiql",
    ]


async def test_every_request_names_the_api_version(remote: AzureDevOps) -> None:
    remote.model.seed(3, Random(3))
    async with adapter_of(remote) as adapter:
        await adapter.check()
    await sync(remote)
    assert {seen.query["api-version"] for seen in remote.ledger} == {"7.1", "7.1-preview"}


# --- projects


async def test_more_than_a_hundred_projects_are_all_read(remote: AzureDevOps) -> None:
    for number in range(250):
        remote.model.create_project(f"Project {number}")
    pages, _ = await sync(remote, feed="projects")
    assert [len(page.records) for page in pages] == [100, 100, 51]
    assert [page.end for page in pages] == [False, False, True]
    assert pages[-1].expected == {"projects": 251}


async def test_an_interrupted_list_of_projects_goes_on_with_its_token(remote: AzureDevOps) -> None:
    for number in range(150):
        remote.model.create_project(f"Project {number}")
    first = (await sync(remote, feed="projects"))[0][0]
    rest, _ = await sync(remote, first.cursor, feed="projects")
    assert len(set(keys([first, *rest]))) == 151
    assert rest[-1].expected == {"projects": 151}


async def test_a_renamed_project_keeps_its_key(remote: AzureDevOps) -> None:
    [before] = records_of((await sync(remote, feed="projects"))[0])
    remote.model.change_project("newtwitterclone", name="oldtwitterclone")
    [after] = records_of((await sync(remote, feed="projects"))[0])
    assert before.key == after.key
    assert (column(before, "name"), column(after, "name")) == ("newtwitterclone", "oldtwitterclone")
    assert before.version != after.version


async def test_a_project_url_reads_that_project_only(remote: AzureDevOps) -> None:
    remote.model.create_project("other")
    remote.model.create("other", "elsewhere")
    mine = remote.model.create("newtwitterclone", "here")
    assert keys((await sync(remote, project="newtwitterclone"))[0]) == [str(mine.id)]
    [record] = records_of((await sync(remote, project="newtwitterclone", feed="projects"))[0])
    assert column(record, "name") == "newtwitterclone"


@pytest.mark.parametrize("name", ["Größere Änderungen", "O'Brien & Söhne", "日本 プロジェクト", "50% (alt)"])
@pytest.mark.parametrize("by_url", [True, False])
async def test_a_project_with_any_name_is_read(remote: AzureDevOps, name: str, by_url: bool) -> None:
    remote.model.create_project(name)
    mine = remote.model.create(name, "here")
    remote.model.create("newtwitterclone", "elsewhere")
    pages = (
        (await sync(remote, project=name.replace("%", "%25")))[0]
        if by_url
        else (await sync(remote, params={"project": name}))[0]
    )
    assert keys(pages) == [str(mine.id)]


async def test_a_project_named_by_its_id_is_read(remote: AzureDevOps) -> None:
    project = remote.model.create_project("Mobile App")
    mine = remote.model.create("Mobile App", "here")
    assert keys((await sync(remote, project=project.id))[0]) == [str(mine.id)]


async def test_a_moved_item_keeps_its_id(remote: AzureDevOps) -> None:
    remote.model.create_project("other")
    item = remote.model.create("newtwitterclone", "travels")
    [before] = records_of((await sync(remote))[0])
    remote.model.move(item.id, "other")
    [after] = records_of((await sync(remote))[0])
    assert before.key == after.key == str(item.id)
    assert (column(before, "project"), column(after, "project")) == ("newtwitterclone", "other")
    assert keys((await sync(remote, project="newtwitterclone"))[0]) == []
