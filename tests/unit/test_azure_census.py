"""The census of Azure DevOps: all keys and nothing but keys, and never those of the public part alone."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from random import Random

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from adapters.auth import Anonymous
from adapters.azure import Azure
from adapters.azure.query import remotes_time
from adapters.base import AuthFailed, Keys, NotFound, Partition, Unreadable
from adapters.http import utc_now
from adapters.reply import Reply
from tests.support import read_all
from tests.unit.azure_reading import SmallQueries, adapter_of, keys, sync
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock, Fault

JSON = {"Content-Type": "application/json; charset=utf-8"}
STREAMS = ("projects", "work_items", "pipelines", "builds")


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.create_project("newtwitterclone")
        running.model.create_project("Größe & Maß")
        yield running


async def census(azure: Azure, stream: str, cursor: str | None = None, of: str = "") -> list[Keys]:
    planned = [found for found in await azure.plan(stream) if of in ("", found.mark)]
    return [page for partition in planned async for page in azure.census(stream, partition, cursor)]


async def counted(remote: AzureDevOps, stream: str, project: str = "", kind: type[Azure] = Azure) -> set[str]:
    async with adapter_of(remote, project, kind=kind) as azure:
        pages = await census(azure, stream)
    assert pages[-1].end
    return {key for page in pages for key in page.keys}


def fill(remote: AzureDevOps) -> None:
    for name in ("newtwitterclone", "Größe & Maß"):
        remote.model.seed(20, Random(1), name)
        remote.model.seed_builds(10, Random(1), name)


# --- all of it


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("project", ["", "newtwitterclone"])
async def test_a_census_finds_the_keys_that_a_read_brings(
    remote: AzureDevOps, stream: str, project: str
) -> None:
    fill(remote)
    found = await counted(remote, stream, project)
    read: set[str] = set()
    async with adapter_of(remote, project) as azure:
        for partition in await azure.plan(stream):
            read |= set(keys((await read_all(azure, stream, partition))[0]))
    assert found == read != set()


async def test_a_census_of_everything_costs_a_request_a_stream_and_project(remote: AzureDevOps) -> None:
    fill(remote)
    async with adapter_of(remote) as azure:
        # All is planned first, which lists the projects.
        planned = [(stream, one) for stream in STREAMS for one in await azure.plan(stream)]
        for stream, partition in planned:
            assert [page.end async for page in azure.census(stream, partition, None)] == [True]
    kinds = [seen.path.rpartition("_apis/")[2] for seen in remote.ledger]
    assert sorted(kinds) == [
        "build/builds",
        "build/builds",
        "build/definitions",
        "build/definitions",
        "projects",
        "wit/wiql",
    ]
    # The whole definitions, with all their steps, are not wanted.
    assert not any("includeAllProperties" in seen.query for seen in remote.ledger)


async def test_work_items_are_counted_in_windows_below_the_limit(remote: AzureDevOps) -> None:
    remote.model.seed(620, Random(1))
    remote.query_limit = 150
    assert await counted(remote, "work_items", kind=SmallQueries) == {str(i) for i in range(1, 621)}
    assert len(remote.requests("wiql")) == 5
    assert remote.requests("workitemsbatch") == []


async def test_more_keys_than_fit_into_a_page_come_in_several(remote: AzureDevOps) -> None:
    for number in range(11_000):
        remote.model.create("newtwitterclone", str(number))
    async with adapter_of(remote) as azure:
        pages = await census(azure, "work_items")
    assert [(len(page.keys), page.end) for page in pages] == [(5000, False), (5000, False), (1000, True)]
    assert len(remote.requests("wiql")) == 1


@pytest.mark.parametrize("stream", ["work_items", "builds", "projects"])
async def test_an_interrupted_census_goes_on_in_another_process(remote: AzureDevOps, stream: str) -> None:
    remote.model.seed(400, Random(1))
    remote.model.seed_builds(1500, Random(1))
    for number in range(150):
        remote.model.create_project(f"p{number}")
    async with adapter_of(remote, kind=SmallQueries) as azure:
        partition = (await azure.plan(stream))[0]
        pages = azure.census(stream, partition, None)
        first = await anext(pages)
        await pages.aclose()
    assert not first.end
    async with adapter_of(remote, kind=SmallQueries) as azure:
        rest = [page async for page in azure.census(stream, partition, first.cursor)]
    assert rest[-1].end
    found = {*first.keys, *(key for page in rest for key in page.keys)}
    assert len(found) == {"work_items": 400, "builds": 1500, "projects": 152}[stream]
    assert not set(rest[-1].keys) & set(first.keys) or stream == "builds"


async def test_an_empty_stream_ends_at_once(remote: AzureDevOps) -> None:
    async with adapter_of(remote) as azure:
        pages = await census(azure, "work_items")
    assert [(list(page.keys), page.end) for page in pages] == [([], True)]


async def test_what_is_older_than_since_is_not_counted_as_it_was_not_read(remote: AzureDevOps) -> None:
    old = remote.model.create("newtwitterclone", "old")
    remote.model.seed_builds(1, Random(1))
    remote.clock.advance(timedelta(days=3))
    recent = remote.model.create("newtwitterclone", "recent")
    build = remote.model.ci.queue(1)
    since = {"since": (remote.clock.now() - timedelta(days=1)).date().isoformat()}
    assert old.id != recent.id
    async with adapter_of(remote, params=since) as azure:
        assert [list(p.keys) for p in await census(azure, "work_items")] == [[str(recent.id)]]
        found = await census(azure, "builds", of="newtwitterclone")
    assert [list(p.keys) for p in found] == [[str(build.id)]]


async def test_deleted_builds_are_not_counted(remote: AzureDevOps) -> None:
    remote.model.seed_builds(3, Random(1))
    remote.model.ci.delete(2)
    remote.model.ci.purge(3)
    assert await counted(remote, "builds") == {"1"}


async def test_a_project_that_vanished_since_it_was_planned_is_no_empty_one(remote: AzureDevOps) -> None:
    fill(remote)
    async with adapter_of(remote) as azure:
        for stream in ("builds", "pipelines"):
            with pytest.raises(NotFound):
                await anext(azure.census(stream, Partition("aaaaaaaa-1111-2222-3333-444444444444"), None))


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_list_without_its_member_is_no_empty_one(remote: AzureDevOps, stream: str) -> None:
    fill(remote)
    async with adapter_of(remote) as azure:
        planned = await azure.plan(stream)
        # What planning has learned is used once.
        await census(azure, stream)
        remote.faults.append(Fault("_apis", 200, b'{"count":0}', JSON))
        with pytest.raises(Unreadable):
            async for _ in azure.census(stream, planned[0], None):
                pass


async def test_a_token_that_comes_again_ends_a_census(remote: AzureDevOps) -> None:
    headers = {**JSON, "x-ms-continuationtoken": "1"}
    remote.faults.append(Fault("definitions", 200, b'{"value":[{"id":1}]}', headers, times=9))
    async with adapter_of(remote) as azure:
        with pytest.raises(Unreadable, match="twice"):
            await census(azure, "pipelines")


# --- for us


@pytest.mark.parametrize("naming", [True, False])
@pytest.mark.parametrize("stream", STREAMS)
async def test_a_credential_lost_since_planning_is_no_census_of_the_public_part(
    remote: AzureDevOps, stream: str, naming: bool
) -> None:
    remote.naming = naming
    remote.model.change_project("Größe & Maß", visibility="public")
    fill(remote)
    async with adapter_of(remote) as azure:
        # Public, so that it is shown to anybody.
        planned = [one for one in await azure.plan(stream) if one.mark in ("", "Größe & Maß")]
        await azure.fetch("work_items", ["1"])
        if stream == "projects":
            await azure.fetch("projects", [])
        remote.access.tokens.clear()
        with pytest.raises(AuthFailed, match="public"):
            await anext(azure.census(stream, planned[0], None))


@pytest.mark.parametrize("naming", [True, False])
async def test_a_credential_lost_in_the_middle_is_no_short_census(remote: AzureDevOps, naming: bool) -> None:
    remote.naming = naming
    remote.model.change_project("Größe & Maß", visibility="public")
    remote.model.seed(400, Random(1))
    remote.model.create("Größe & Maß", "for all to see")
    async with adapter_of(remote, kind=SmallQueries) as azure:
        pages = azure.census("work_items", (await azure.plan("work_items"))[0], None)
        assert len((await anext(pages)).keys) == 150
        remote.access.tokens.clear()
        with pytest.raises(AuthFailed, match="public"):
            await anext(pages)


async def test_where_answers_name_nobody_each_page_is_vouched_for(remote: AzureDevOps) -> None:
    remote.naming = False
    remote.model.seed(310, Random(1))
    assert len(await counted(remote, "work_items", kind=SmallQueries)) == 310
    kinds = [seen.path.rpartition("_apis/")[2] for seen in remote.ledger]
    assert kinds.count("wit/wiql") == 3
    # Once for each page, and once for the answer that came first.
    assert kinds.count("connectionData") <= 4


async def test_who_goes_anonymously_counts_what_is_public(remote: AzureDevOps) -> None:
    remote.model.change_project("Größe & Maß", visibility="public")
    fill(remote)
    async with adapter_of(remote, auth=Anonymous()) as azure:
        assert len({key for page in await census(azure, "work_items") for key in page.keys}) == 20


@pytest.mark.parametrize("naming", [True, False])
@pytest.mark.parametrize("stream", STREAMS)
async def test_what_the_public_part_lacks_is_not_missing(
    remote: AzureDevOps, stream: str, naming: bool
) -> None:
    remote.naming = naming
    remote.model.create_project("open source", visibility="public")
    fill(remote)
    project = remote.model.project("newtwitterclone").id
    key = {"projects": project, "pipelines": f"{project}/1"}.get(stream, "1")
    async with adapter_of(remote) as azure:
        assert len((await azure.fetch(stream, [key])).records) == 1
        remote.access.tokens.clear()
        with pytest.raises(AuthFailed, match="public"):
            await azure.fetch(stream, [key])


# --- why it is gone


async def gone(remote: AzureDevOps, stream: str, *asked: str, project: str = "") -> dict[str, str]:
    async with adapter_of(remote, project) as azure:
        fetched = await azure.fetch(stream, asked)
    return {one.key: one.reason for one in fetched.missing}


async def test_an_id_that_was_given_out_and_is_not_there_was_destroyed_in_a_project(
    remote: AzureDevOps,
) -> None:
    fill(remote)
    for item_id in (2, 20):
        remote.model.destroy(item_id)
    asked = ("1", "2", "20", "999", "no id")
    found = await gone(remote, "work_items", *asked, project="newtwitterclone")
    # The newest of the project itself, too: other projects show that its id was given out.
    assert found == {"2": "deleted", "20": "deleted", "999": "hidden", "no id": "hidden"}


async def test_an_account_that_reads_nothing_in_the_project_proves_nothing(remote: AzureDevOps) -> None:
    fill(remote)
    for item_id in range(1, 21):
        remote.model.hide(item_id)
    assert await gone(remote, "work_items", "3", project="newtwitterclone") == {"3": "hidden"}


async def test_in_an_organisation_a_missing_id_may_be_of_a_project_that_is_withheld(
    remote: AzureDevOps,
) -> None:
    fill(remote)
    remote.model.destroy(1)
    remote.model.withhold("Größe & Maß")
    assert await gone(remote, "work_items", "1", "30") == {"1": "hidden", "30": "hidden"}


async def test_under_the_old_name_of_a_project_nothing_has_left(remote: AzureDevOps) -> None:
    fill(remote)
    remote.model.change_project("newtwitterclone", name="renamed")
    async with adapter_of(remote, params={"project": "newtwitterclone"}) as azure:
        with pytest.raises(NotFound):
            await azure.fetch("work_items", ["1"])
    project = remote.model.project("renamed").id
    async with adapter_of(remote, params={"project": project}) as azure:
        assert [record.key for record in (await azure.fetch("work_items", ["1"])).records] == ["1"]


async def test_pipelines_of_a_project_in_the_bin_are_deleted_and_others_left(remote: AzureDevOps) -> None:
    fill(remote)
    first, second = (remote.model.project(name).id for name in ("newtwitterclone", "Größe & Maß"))
    asked = (f"{second}/4", f"{first}/9")
    assert await gone(remote, "pipelines", *asked, project="newtwitterclone") == {
        f"{second}/4": "left",
        f"{first}/9": "hidden",
    }
    remote.model.delete_project("Größe & Maß")
    assert await gone(remote, "pipelines", f"{second}/4") == {f"{second}/4": "deleted"}


async def test_an_id_in_the_bin_of_an_organisation_that_hides_it_is_hidden(remote: AzureDevOps) -> None:
    fill(remote)
    remote.model.delete(1)
    remote.faults.append(Fault("recyclebin", 403, b"{}", JSON))
    assert await gone(remote, "work_items", "1") == {"1": "hidden"}


# --- by which clock


def answered(date: datetime | None, sent_at: datetime) -> Reply:
    headers = CIMultiDict({"Date": f"{date:%a, %d %b %Y %H:%M:%S} GMT"} if date else {})
    return Reply(200, CIMultiDictProxy(headers), b"", "http://dev.azure.com/company", sent_at)


NOW = datetime.fromisoformat("2026-03-31T18:36:28+00:00")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("date", "as_of", "expected"),
    [
        # A fast remote, which says so twice; a slow one; and one as ours.
        (NOW + HOUR, NOW + HOUR + timedelta(seconds=0.5), NOW + HOUR),
        (NOW - HOUR, NOW - HOUR, NOW - HOUR),
        (NOW, NOW + timedelta(seconds=1), NOW),
        # A proxy's clock is fast, or says nothing; the remote's own is behind ours.
        (NOW + HOUR, NOW, NOW),
        (NOW + HOUR, NOW + 2 * HOUR, NOW),
        (None, NOW + HOUR, NOW),
        (None, NOW - HOUR, NOW - HOUR),
        (NOW, NOW - HOUR, NOW - HOUR),
        # The query tells nothing.
        (NOW + HOUR, None, NOW),
        (NOW - HOUR, "soon", NOW - HOUR),
    ],
)
def test_a_date_ahead_of_ours_is_believed_only_if_the_query_agrees(
    date: datetime | None, as_of: datetime | str | None, expected: datetime
) -> None:
    told = as_of.isoformat() if isinstance(as_of, datetime) else as_of
    assert remotes_time(answered(date, NOW), told) == expected


@pytest.mark.parametrize("ahead", [timedelta(minutes=30), -timedelta(minutes=30)])
async def test_a_remote_with_another_clock_is_read_once_and_nothing_is_passed(ahead: timedelta) -> None:
    clock = Clock(lambda: utc_now() + ahead)
    async with AzureDevOps(clock=clock) as remote:
        remote.model.create_project("newtwitterclone")
        remote.model.seed(5, Random(1))
        _, cursor = await sync(remote)
        clock.advance(timedelta(minutes=6))
        pages, cursor = await sync(remote, cursor)
        assert len(keys(pages)) == 5
        clock.advance(timedelta(minutes=6))
        remote.ledger.clear()
        remote.model.update(3, {"System.Title": "changed"})
        pages, cursor = await sync(remote, cursor)
        assert keys(pages) == ["3"]
        for expected in (["3"], []):
            clock.advance(timedelta(minutes=12))
            pages, cursor = await sync(remote, cursor)
            assert keys(pages) == expected
