"""Builds and pipelines of Azure DevOps: reading all, what runs, what finished late, what is gone."""

from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random

import msgspec
import pytest

from adapters.azure import Azure
from adapters.base import Forbidden, Unreadable
from tests.support import read_all, records_of
from tests.unit.azure_reading import adapter_of, column, keys, sync
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.azure.ci import Build, Pipeline
from tidegate.demo.remotes.base import Fault

JSON = {"Content-Type": "application/json; charset=utf-8"}
AT_ONCE = 200  # builds in one answer


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.create_project("newtwitterclone")
        running.model.create_project("Größe & Maß")
        yield running


@pytest.fixture
def pipeline(remote: AzureDevOps) -> Pipeline:
    return remote.model.ci.define(remote.model.project("newtwitterclone").id, "web-ci")


def queue(remote: AzureDevOps, pipeline: Pipeline, count: int) -> list[Build]:
    return [remote.model.ci.queue(pipeline.id) for _ in range(count)]


async def builds(
    remote: AzureDevOps, cursor: str | None = None, of: str = "newtwitterclone"
) -> tuple[list[str], str | None]:
    pages, after = await sync(remote, cursor, feed="builds", of=of)
    assert [page.end for page in pages].count(True) == 1
    return keys(pages), after


# --- builds: reading all


async def test_every_project_is_a_partition_under_its_guid(remote: AzureDevOps) -> None:
    async with adapter_of(remote) as adapter:
        found = {feed: await adapter.plan(feed) for feed in ("builds", "pipelines")}
    mine = {project.id: project.name for project in remote.model.projects.values()}
    for partitions in found.values():
        assert {partition.name: partition.mark for partition in partitions} == mine


async def test_a_project_url_has_one_partition_of_the_same_name(remote: AzureDevOps) -> None:
    async with adapter_of(remote, "newtwitterclone") as adapter:
        [partition] = await adapter.plan("builds")
    assert partition.name == remote.model.project("newtwitterclone").id


async def test_builds_over_many_pages_are_each_read_once(remote: AzureDevOps, pipeline: Pipeline) -> None:
    queue(remote, pipeline, 2 * AT_ONCE + 50)
    found, _ = await builds(remote)
    assert sorted(set(found), key=int) == [str(i) for i in range(1, 2 * AT_ONCE + 51)]
    assert len(remote.requests("builds")) == 3


async def test_the_remotes_count_is_expected_where_one_answer_holds_all(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    queue(remote, pipeline, 3)
    pages, _ = await sync(remote, feed="builds", of="newtwitterclone")
    assert [page.expected for page in pages] == [{"builds": 3}]
    queue(remote, pipeline, AT_ONCE)
    pages, _ = await sync(remote, feed="builds", of="newtwitterclone")
    assert [page.expected for page in pages] == [None, None]


async def test_a_builds_columns_parent_and_time(remote: AzureDevOps, pipeline: Pipeline) -> None:
    [build] = queue(remote, pipeline, 1)
    remote.clock.advance(timedelta(seconds=7))
    remote.model.ci.start(build.id)
    remote.clock.advance(timedelta(seconds=90))
    remote.model.ci.finish(build.id, "failed")
    remote.model.ci.tag(build.id, "nightly", "slow")
    pages, _ = await sync(remote, feed="builds", of="newtwitterclone")
    [record] = records_of(pages)
    assert (record.key, record.parent) == (str(build.id), f"{pipeline.project}/{pipeline.id}")
    assert record.updated_at == build.changed
    assert (column(record, "pipeline"), column(record, "pipeline_id")) == ("web-ci", pipeline.id)
    assert (column(record, "status"), column(record, "result")) == ("completed", "failed")
    assert column(record, "project") == "newtwitterclone"
    assert column(record, "queued_at") == build.queued
    assert column(record, "duration") == pytest.approx(90_000, abs=50)
    assert column(record, "tags") == "nightly; slow"
    assert column(record, "branch") == "refs/heads/main"
    assert column(record, "kept") is False
    assert column(record, "requested_for_id") is not None


async def test_a_build_canceled_in_the_queue_has_no_start(remote: AzureDevOps, pipeline: Pipeline) -> None:
    [build] = queue(remote, pipeline, 1)
    remote.model.ci.finish(build.id, "canceled")
    [record] = records_of((await sync(remote, feed="builds", of="newtwitterclone"))[0])
    assert (column(record, "started_at"), column(record, "duration")) == (None, None)
    assert record.final


async def test_only_a_build_without_an_id_is_rejected(remote: AzureDevOps, pipeline: Pipeline) -> None:
    queue(remote, pipeline, 1)
    odd = b'{"id":9,"status":7,"queueTime":[],"definition":"x","repository":{"id":3},"tags":"a","queue":null}'
    remote.faults.append(Fault("build/builds", 200, b'{"value":[{"buildNumber":"1"},%b]}' % odd, JSON))
    [page] = (await sync(remote, feed="builds", of="newtwitterclone"))[0]
    assert [record.key for record in page.records] == ["9"]
    assert [bad.body for bad in page.rejected] == [b'{"buildNumber":"1"}']
    [record] = page.records
    assert (record.final, column(record, "status"), column(record, "repository_id")) == (False, None, "3")
    assert record.body == odd


# --- builds: going on


async def test_a_build_that_runs_is_not_final_and_found_finished_by_its_id(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    running, waiting = queue(remote, pipeline, 2)
    remote.model.ci.start(running.id)
    pages, _ = await sync(remote, feed="builds", of="newtwitterclone")
    assert [record.final for record in records_of(pages)] == [False, False]
    remote.clock.advance(timedelta(hours=3))
    remote.model.ci.finish(running.id)
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("builds", [str(running.id), str(waiting.id)])
    assert [(record.key, record.final) for record in fetched.records] == [("1", True), ("2", False)]


async def test_a_build_queued_before_the_cursor_that_finishes_late_needs_no_cursor(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    late, _ = queue(remote, pipeline, 2)
    remote.model.ci.start(late.id)
    remote.clock.advance(timedelta(hours=1))
    _, cursor = await builds(remote)
    remote.clock.advance(timedelta(days=2))
    queue(remote, pipeline, 1)
    remote.model.ci.finish(late.id)
    # By queue time only what is new is listed; the late one is known as unfinished, and asked for by its id.
    assert (await builds(remote, cursor))[0] == ["3"]
    assert remote.requests("build/builds")[-1].query["queryOrder"] == "queueTimeAscending"


async def test_builds_of_the_overlap_are_read_again(remote: AzureDevOps, pipeline: Pipeline) -> None:
    queue(remote, pipeline, 2)
    remote.clock.advance(Azure.overlap - timedelta(seconds=2))
    _, cursor = await builds(remote)
    assert (await builds(remote, cursor))[0] == ["1", "2"]
    remote.clock.advance(timedelta(minutes=10))
    _, cursor = await builds(remote, cursor)
    assert (await builds(remote, cursor))[0] == []


async def test_an_interrupted_walk_over_builds_goes_on_with_its_token(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    queue(remote, pipeline, AT_ONCE + 20)
    async with adapter_of(remote) as adapter:
        partition = (await adapter.plan("builds"))[0]
        reading = adapter.read("builds", partition, None)
        first = await anext(reading)
        await reading.aclose()
    queue(remote, pipeline, 1)
    rest, cursor = await builds(remote, first.cursor)
    assert {*keys([first]), *rest} == {str(i) for i in range(1, AT_ONCE + 22)}
    remote.clock.advance(timedelta(hours=1))
    # The next walk begins where this one did, and not where its last page was asked for.
    assert msgspec.json.decode(cursor or "")["since"] <= first.observed_at.isoformat()


async def test_a_token_that_comes_again_ends_the_walk(remote: AzureDevOps, pipeline: Pipeline) -> None:
    queue(remote, pipeline, 1)
    body = b'{"value":[{"id":1}]}'
    headers = {**JSON, "x-ms-continuationtoken": "2026-01-01T00:00:00.1Z"}
    remote.faults.append(Fault("build/builds", 200, body, headers, times=9))
    with pytest.raises(Unreadable, match="twice"):
        await builds(remote)


async def test_an_answer_that_is_too_large_is_asked_for_in_smaller_pages(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    queue(remote, pipeline, 120)
    remote.faults.append(Fault("build/builds", 200, b" " * (Azure.limits.body + 1), JSON))
    found, _ = await builds(remote)
    assert len(set(found)) == 120
    assert [seen.query["$top"] for seen in remote.requests("build/builds")] == ["200", "50", "50", "50"]


async def test_since_limits_the_first_read_of_builds(remote: AzureDevOps, pipeline: Pipeline) -> None:
    queue(remote, pipeline, 2)
    remote.clock.advance(timedelta(days=3))
    queue(remote, pipeline, 1)
    since = (remote.clock.now() - timedelta(days=1)).date().isoformat()
    pages, _ = await sync(remote, feed="builds", of="newtwitterclone", params={"since": since})
    assert keys(pages) == ["3"]


async def test_a_renamed_project_changes_no_build_but_for_what_is_volatile(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    queue(remote, pipeline, 1)
    [before] = records_of((await sync(remote, feed="builds", of="newtwitterclone"))[0])
    remote.model.change_project("newtwitterclone", name="oldtwitterclone")
    [after] = records_of((await sync(remote, feed="builds", of="oldtwitterclone"))[0])
    assert before.body != after.body
    [stream] = next(feed for feed in Azure.feeds if feed.name == "builds").streams
    assert {"project", "definition.project"} <= set(stream.volatile)
    one, other = (msgspec.json.decode(record.body) for record in (before, after))
    for body in (one, other):
        del body["project"], body["definition"]["project"]
    assert one == other


# --- builds: by id


async def test_fetch_brings_the_bodies_that_read_brings(remote: AzureDevOps, pipeline: Pipeline) -> None:
    queue(remote, pipeline, 3)
    read = {r.key: r.body for r in records_of((await sync(remote, feed="builds", of="newtwitterclone"))[0])}
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("builds", ["3", "1"])
    assert {record.key: record.body for record in fetched.records} == {key: read[key] for key in ("1", "3")}


async def test_builds_of_several_projects_are_fetched_in_one_request(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    other = remote.model.ci.define(remote.model.project("Größe & Maß").id, "maß")
    asked = [str(build.id) for one in (pipeline, other) for build in queue(remote, one, 100)]
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("builds", asked)
    assert len(fetched.records) == Azure.batch == 200
    assert len(remote.requests("build/builds")) == 1


async def test_where_the_organisation_gives_out_no_builds_each_project_is_asked(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    remote.ci.whole_organisation = False
    other = remote.model.ci.define(remote.model.project("Größe & Maß").id, "maß")
    asked = [str(build.id) for one in (pipeline, other) for build in queue(remote, one, 2)]
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("builds", asked)
    assert sorted(record.key for record in fetched.records) == asked


async def test_a_build_that_retention_deleted_is_deleted_and_a_purged_one_hidden(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    queue(remote, pipeline, 3)
    remote.model.ci.delete(1)
    remote.model.ci.purge(2)
    for project in ("", "newtwitterclone"):
        async with adapter_of(remote, project) as adapter:
            fetched = await adapter.fetch("builds", ["1", "2", "3", "no id"])
        assert [record.key for record in fetched.records] == ["3"]
        reasons = {gone.key: gone.reason for gone in fetched.missing}
        assert reasons == {"1": "deleted", "2": "hidden", "no id": "hidden"}


async def test_builds_that_nobody_gives_out_are_refused_and_not_missing(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    queue(remote, pipeline, 1)
    remote.ci.whole_organisation = False
    remote.ci.closed = set(remote.model.projects)
    async with adapter_of(remote) as adapter:
        with pytest.raises(Forbidden):
            await adapter.fetch("builds", ["1"])


# --- pipelines


async def test_a_pipelines_columns_key_and_version(remote: AzureDevOps, pipeline: Pipeline) -> None:
    remote.model.ci.redefine(pipeline.id, name="web", folder="\\nightly", description="All of it")
    [record] = records_of((await sync(remote, feed="pipelines", of="newtwitterclone"))[0])
    assert (record.key, record.parent) == (f"{pipeline.project}/{pipeline.id}", pipeline.project)
    assert (record.version, record.updated_at, record.final) == ("2", pipeline.changed, True)
    assert (column(record, "name"), column(record, "folder")) == ("web", "\\nightly")
    assert column(record, "yaml_file") == "/azure-pipelines.yml"
    assert column(record, "default_branch") == "refs/heads/main"
    assert column(record, "description") == "All of it"
    assert b'"key":{"value":null,"isSecret":true}' in record.body


async def test_pipelines_over_many_pages_are_all_read_and_then_only_the_changed(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    for number in range(250):
        remote.model.ci.define(pipeline.project, f"p{number}")
    remote.clock.advance(timedelta(hours=1))
    pages, cursor = await sync(remote, feed="pipelines", of="newtwitterclone")
    assert [len(page.records) for page in pages] == [100, 100, 51]
    remote.clock.advance(timedelta(hours=1))
    changed = remote.model.ci.redefine(7, name="renamed")
    remote.ledger.clear()
    pages, _ = await sync(remote, cursor, feed="pipelines", of="newtwitterclone")
    assert keys(pages)[0] == f"{changed.project}/7"
    assert pages[-1].end
    # One of the project list, and one of the pipelines, however many of them there are.
    assert len(remote.ledger) == 2


async def test_a_page_in_another_order_than_asked_for_does_not_end_a_walk(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    _, cursor = await sync(remote, feed="pipelines", of="newtwitterclone")
    remote.clock.advance(timedelta(hours=1))
    for number in range(150):
        remote.model.ci.define(pipeline.project, f"p{number}")
    unordered = (
        b'{"value":[{"id":1,"createdDate":"2020-01-01T00:00:00Z"},{"id":2,"createdDate":"2026-01-01T00:00:00Z"},'
        b'{"id":3,"createdDate":"2019-01-01T00:00:00Z"}]}'
    )
    remote.faults.append(Fault("definitions", 200, unordered, {**JSON, "x-ms-continuationtoken": "1"}))
    pages, _ = await sync(remote, cursor, feed="pipelines", of="newtwitterclone")
    assert len(pages) > 1


async def test_pipelines_are_fetched_by_key_and_a_dropped_one_is_missing(
    remote: AzureDevOps, pipeline: Pipeline
) -> None:
    other = remote.model.ci.define(remote.model.project("Größe & Maß").id, "maß")
    gone = remote.model.ci.define(pipeline.project, "gone")
    wanted = [f"{one.project}/{one.id}" for one in (pipeline, other, gone)]
    read = records_of((await sync(remote, feed="pipelines", of="Größe & Maß"))[0])
    remote.model.ci.drop(gone.id)
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("pipelines", [*wanted, "no key", "nowhere/1"])
    assert {record.key for record in fetched.records} == set(wanted[:2])
    assert {missing.key for missing in fetched.missing} == {wanted[2], "no key", "nowhere/1"}
    assert [r.body for r in fetched.records if r.key == wanted[1]] == [read[0].body]


# --- what it costs


@pytest.mark.parametrize("project", ["", "newtwitterclone"])
async def test_an_idle_connection_costs_one_request_a_stream_and_project(
    remote: AzureDevOps, project: str
) -> None:
    remote.model.seed(10, Random(1))
    for known in remote.model.projects.values():
        remote.model.ci.seed(known.id, 20, Random(1))
    remote.clock.advance(timedelta(hours=2))
    cursors: dict[tuple[str, str], str | None] = {}
    for _ in range(2):
        remote.clock.advance(timedelta(hours=2))
        remote.ledger.clear()
        async with adapter_of(remote, project) as adapter:
            feeds = [feed.name for feed in adapter.feeds]
            planned = [(feed, partition) for feed in feeds for partition in await adapter.plan(feed)]
            for feed, partition in planned:
                at = (feed, partition.name)
                pages, cursors[at] = await read_all(adapter, feed, partition, cursors.get(at))
                assert pages[-1].end
    kinds = [seen.path.rpartition("_apis/")[2].partition("/0")[0] for seen in remote.ledger]
    projects = 1 if project else 2
    # A path that ends in a project's name was pasted on a host of one's own, which takes a probe to tell.
    assert len([kind for kind in kinds if kind.startswith("projects")]) == 1 + bool(project)
    assert kinds.count("wit/wiql") == 1
    assert kinds.count("build/builds") == kinds.count("build/definitions") == projects
    assert len(kinds) == 2 + bool(project) + 2 * projects
