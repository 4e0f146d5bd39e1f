"""The main path on Jenkins: jobs and builds, running ones until they have ended."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from store.connections import Connection
from tests.engine import connection_row
from tests.house import House
from tidegate.demo.remotes.base import Clock, Fault
from tidegate.demo.remotes.jenkins import JenkinsController


@pytest.fixture
async def remote() -> AsyncIterator[JenkinsController]:
    # Its time stands still unless a test moves it.
    now = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
    controller = JenkinsController(Clock(lambda: now))
    controller.users["dana"] = "token-1"
    async with controller:
        yield controller


async def connect(house: House, remote: JenkinsController) -> Connection:
    credential = await house.credential("jenkins", "basic", "dana", "token-1")
    return await house.connection("jenkins", remote.base, credential)


async def changes(house: House, connection_id: int) -> int:
    return int((await connection_row(house, connection_id))["change_sequence"])


async def test_a_first_sync_stores_every_job_and_build(house: House, remote: JenkinsController) -> None:
    remote.seed(4, 30)
    made = await connect(house, remote)
    sync = await house.sync(made.id)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert (sync.counters["jobs"].new, sync.counters["builds"].new) == (4, 120)
    assert sync.receipt is not None
    assert {
        name: (r.stored, r.complete) for name, r in sync.receipt.items() if name in ("jobs", "builds")
    } == {
        "jobs": (4, True),
        "builds": (120, True),
    }
    assert len(await house.keys("jenkins", "builds")) == 120
    assert sync.requests == len(remote.ledger)
    assert (await house.get(made.id)).health == "healthy"


async def test_a_second_sync_without_a_change_writes_no_record(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(3, 20)
    made = await connect(house, remote)
    await house.sync(made.id)
    before = (await house.rows("jenkins", "builds"), await house.rows("jenkins", "jobs"))
    number = await changes(house, made.id)
    sync = await house.sync(made.id)
    assert sync.state == "succeeded"
    assert {(c.new, c.changed) for c in sync.counters.values()} <= {(0, 0)}
    assert (await house.rows("jenkins", "builds"), await house.rows("jenkins", "jobs")) == before
    assert await changes(house, made.id) == number


async def test_a_build_that_runs_during_one_sync_is_final_in_the_next(
    house: House, remote: JenkinsController
) -> None:
    remote.add_job("app")
    remote.start_build("app")
    made = await connect(house, remote)
    await house.sync(made.id)
    [row] = await house.rows("jenkins", "builds")
    assert row["result"] is None
    assert row["look_again_at"] is not None
    remote.clock.advance(timedelta(minutes=5))
    remote.finish_build("app", 1, "FAILURE")
    sync = await house.sync(made.id)
    assert sync.state == "succeeded"
    assert sync.counters["builds"].changed == 1
    [row] = await house.rows("jenkins", "builds")
    assert (row["result"], row["look_again_at"]) == ("FAILURE", None)
    assert (await connection_row(house, made.id))["next_look_at"] is None


async def test_a_new_build_is_in_the_next_sync_alone(house: House, remote: JenkinsController) -> None:
    remote.seed(2, 10)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.clock.advance(timedelta(minutes=1))
    remote.start_build("service-0001", timedelta(0))
    sync = await house.sync(made.id)
    assert sync.counters["builds"].new == 1
    assert len(await house.keys("jenkins", "builds")) == 21


async def test_a_job_that_may_not_be_read_makes_partial_and_the_others_are_read(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(3, 5)
    remote.faults.append(Fault("/job/service-0001/", status=403, times=1000))
    made = await connect(house, remote)
    sync = await house.sync(made.id)
    assert sync.state == "partial"
    assert sync.error is not None
    assert sync.error.kind == "forbidden"
    assert "service-0001" in sync.error.message
    assert sync.receipt is not None
    assert not sync.receipt["builds"].complete
    parents = {row["parent"] for row in await house.rows("jenkins", "builds")}
    assert parents == {"service-0000", "service-0002"}
    assert (await house.get(made.id)).health == "partial"
    remote.faults.clear()
    assert (await house.sync(made.id)).state == "succeeded"
    assert len(await house.keys("jenkins", "builds")) == 15
