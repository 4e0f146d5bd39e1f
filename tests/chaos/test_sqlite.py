"""SQLite that another program has locked, and a disk that is full."""

import asyncio
import resource
import sqlite3
from contextlib import closing
from random import Random

import pytest

from tests.chaos import truth
from tests.chaos.leases import let_run_out
from tests.chaos.plan import times
from tests.chaos.roles import Role
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

ISSUES = 60
LOCKED_SECONDS = 10.0


async def test_a_database_that_another_program_has_locked_is_waited_for(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    town.jira.hold(after=2)
    await town.stands_at(await town.sync(connection_id), 2)
    with closing(sqlite3.connect(town.folder / "tidegate.db", isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        town.jira.open()
        # As long as the lock is to last: that is the fault itself.
        await asyncio.sleep(LOCKED_SECONDS)
        other.execute("ROLLBACK")
    await town.all_end()
    await truth.holds(town)


async def test_a_disk_that_is_full_stops_the_sync_and_harms_nothing(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    town.jira.hold(after=2)
    before = await town.stands_at(await town.sync(connection_id), 2)
    (worker,) = town.named("worker")
    full(worker)
    town.jira.open()
    await town.until(lambda: failed(worker), 60, "the worker could not write")
    town.nobody_died()
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (await town.one(before["id"]))["pages"] >= 2
    with closing(sqlite3.connect(town.folder / "tidegate.db")) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    await town.all_end()
    await truth.holds(town)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_workers_killed_again_and_again_on_a_full_disk_leave_a_sound_file(
    town: Town, seed: int, figures: list[str]
) -> None:
    random = Random(seed)
    await town.start_all("api", "scheduler", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    for _ in range(times(50)):
        (worker,) = town.named("worker")
        pages = random.randrange(1, 4)
        town.jira.hold(after=pages)
        before = await town.stands_at(await town.sync(connection_id, "full"), pages)
        replacement = await town.start("worker")
        full(worker)
        town.jira.open()
        await town.until(lambda: failed(worker), 60, "the worker could not write", every=0.01)  # noqa: B023
        await asyncio.sleep(random.uniform(0, 0.3))
        await worker.kill()
        with closing(sqlite3.connect(town.folder / "tidegate.db")) as found:
            assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        await let_run_out(town, await town.one(before["id"]))
        await town.ends(before["id"])
        sync = await town.one(before["id"])
        assert sync["counters"]["issues"]["read"] == ISSUES
        await town.all_work([replacement])
    figures.append(
        f"F16: {times(50)} workers killed on a full disk, seed {seed}: integrity_check ok each time"
    )
    await truth.holds(town)


def full(worker: Role) -> None:
    """No file of the worker may grow much beyond what it has logged, so that its own words are still told."""
    most = worker.log.stat().st_size + 16384
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


async def failed(worker: Role) -> bool:
    return bool(worker.said("worker.database_failed"))
