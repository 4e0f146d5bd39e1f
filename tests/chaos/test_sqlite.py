"""SQLite that another program has locked, and a disk that is full."""

import asyncio
import resource
import sqlite3
from contextlib import closing

import pytest

from tests.chaos import truth
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
    # No file of the worker may grow beyond what the log of the database has already.
    most = (town.folder / "tidegate.db-wal").stat().st_size
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    town.jira.open()
    await town.until(lambda: failed(worker), 60, "the worker could not write")
    town.nobody_died()
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (await town.one(before["id"]))["pages"] >= 2
    with closing(sqlite3.connect(town.folder / "tidegate.db")) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    await town.all_end()
    await truth.holds(town)


async def failed(worker: Role) -> bool:
    return bool(worker.said("worker.database_failed"))
