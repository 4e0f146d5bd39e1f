"""The main path on Azure DevOps: projects and work items, and what changes in them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random

import pytest

from adapters.http import utc_now
from store.connections import Connection
from tests.engine import connection_row
from tests.house import House
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock, Fault


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.create_project("newtwitterclone")
        yield running


async def connect(house: House, remote: AzureDevOps, **values: object) -> Connection:
    credential = await house.credential("azure", "pat", None, "azure-token")
    return await house.connection("azure", remote.base, credential, **values)


async def changes(house: House, connection_id: int) -> int:
    return int((await connection_row(house, connection_id))["change_sequence"])


async def test_a_first_sync_stores_every_project_and_work_item(house: House, remote: AzureDevOps) -> None:
    remote.model.seed(430, Random(1))
    made = await connect(house, remote)
    sync = await house.sync(made.id)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert (sync.counters["projects"].new, sync.counters["work_items"].new) == (1, 430)
    assert sync.receipt is not None
    receipt = sync.receipt["work_items"]
    assert (receipt.expected, receipt.stored, receipt.complete) == (430, 430, True)
    assert await house.keys("azure", "work_items") == {str(number) for number in range(1, 431)}
    assert sync.requests == len(remote.ledger)
    assert (await house.get(made.id)).health == "healthy"


async def test_a_second_sync_without_a_change_writes_no_record(house: House, remote: AzureDevOps) -> None:
    remote.model.seed(50, Random(1))
    made = await connect(house, remote)
    await house.sync(made.id)
    before = (await house.rows("azure", "work_items"), await house.rows("azure", "projects"))
    number = await changes(house, made.id)
    sync = await house.sync(made.id)
    assert sync.state == "succeeded"
    assert {(c.new, c.changed) for c in sync.counters.values()} <= {(0, 0)}
    assert (await house.rows("azure", "work_items"), await house.rows("azure", "projects")) == before
    assert await changes(house, made.id) == number


async def test_an_update_is_in_the_next_sync_and_nothing_else_is_written(
    house: House, remote: AzureDevOps
) -> None:
    remote.model.seed(50, Random(1))
    made = await connect(house, remote)
    await house.sync(made.id)
    number = await changes(house, made.id)
    remote.clock.advance(timedelta(minutes=10))
    remote.model.update(7, {"System.State": "Closed", "System.Title": "Seen"})
    sync = await house.sync(made.id)
    assert sync.state == "succeeded"
    assert (sync.counters["work_items"].new, sync.counters["work_items"].changed) == (0, 1)
    rows = {row["key"]: row for row in await house.rows("azure", "work_items")}
    assert (rows["7"]["title"], rows["7"]["state"], rows["7"]["version"]) == ("Seen", "Closed", "2")
    assert rows["7"]["change"] == number + 1


async def test_work_items_that_were_made_meanwhile_are_new(house: House, remote: AzureDevOps) -> None:
    remote.model.seed(5, Random(1))
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.clock.advance(timedelta(minutes=10))
    remote.model.create("newtwitterclone", "One more")
    sync = await house.sync(made.id)
    assert sync.counters["work_items"].new == 1
    assert len(await house.keys("azure", "work_items")) == 6


async def test_work_items_that_may_not_be_read_make_partial_and_projects_are_there(
    house: House, remote: AzureDevOps
) -> None:
    remote.model.seed(5, Random(1))
    remote.faults.append(Fault("wiql", status=403, times=1000))
    made = await connect(house, remote)
    sync = await house.sync(made.id)
    assert sync.state == "partial"
    assert sync.error is not None
    assert sync.error.kind == "forbidden"
    assert len(await house.keys("azure", "projects")) == 1
    assert (await house.get(made.id)).health == "partial"


async def test_only_the_selected_stream_is_read(house: House, remote: AzureDevOps) -> None:
    remote.model.seed(5, Random(1))
    made = await connect(house, remote, streams=["projects"])
    sync = await house.sync(made.id)
    assert set(sync.counters) == {"projects"}
    assert sync.receipt is not None
    assert set(sync.receipt) == {"projects"}
    assert remote.requests("wiql") == []


async def test_a_build_that_ran_for_longer_than_a_sync_is_found_finished_by_the_next(house: House) -> None:
    # Behind our own clock, which no cursor is ahead of.
    async with AzureDevOps(clock=Clock(lambda: utc_now() - timedelta(hours=9))) as remote:
        ci = remote.model.ci
        late = ci.queue(ci.define(remote.model.create_project("newtwitterclone").id, "web-ci").id)
        ci.start(late.id)
        made = await connect(house, remote, streams=["builds"])
        for _ in range(2):
            await house.sync(made.id)
            [row] = await house.rows("azure", "builds")
            assert (row["status"], row["look_again_at"] is None) == ("inProgress", False)
            # More than the overlap later nothing but its id leads to it.
            remote.clock.advance(timedelta(hours=2))
        ci.finish(late.id, "failed")
        remote.ledger.clear()
        sync = await house.sync(made.id)
        assert sync.counters["builds"].changed == 1
        [row] = await house.rows("azure", "builds")
        assert (row["status"], row["result"], row["look_again_at"]) == ("completed", "failed", None)
        assert [seen.query.get("buildIds") for seen in remote.requests("build/builds")] == [None, "1"]


async def test_builds_of_a_project_that_is_closed_make_partial_and_others_are_there(
    house: House, remote: AzureDevOps
) -> None:
    closed = remote.model.create_project("closed")
    for project in ("newtwitterclone", "closed"):
        remote.model.seed_builds(5, Random(1), project)
    remote.ci.closed = {closed.id}
    made = await connect(house, remote)
    sync = await house.sync(made.id)
    assert sync.state == "partial"
    assert sync.error is not None
    assert sync.error.kind == "forbidden"
    assert "Build (Read)" in sync.error.hint
    assert "closed" in sync.error.message
    assert len(await house.keys("azure", "builds")) == 5
    assert len(await house.keys("azure", "pipelines")) == 3


async def test_a_pipeline_that_was_changed_is_in_the_next_sync(house: House, remote: AzureDevOps) -> None:
    home = remote.model.project("newtwitterclone").id
    pipelines = [remote.model.ci.define(home, f"p{number}") for number in range(3)]
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.model.ci.redefine(pipelines[1].id, queue_status="disabled")
    sync = await house.sync(made.id)
    assert (sync.counters["pipelines"].new, sync.counters["pipelines"].changed) == (0, 1)
    rows = {row["key"]: row for row in await house.rows("azure", "pipelines")}
    assert rows[f"{home}/{pipelines[1].id}"]["queue_status"] == "disabled"
