"""`tidegate up` from its start to its end."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from store.schema import processes
from tests.chaos import truth
from tests.chaos.town import Town

pytestmark = pytest.mark.chaos


async def test_up_ends_within_20_seconds_of_sigterm_and_leaves_no_process(town: Town) -> None:
    town.environ["TIDEGATE_WORKERS"] = "2"
    await town.start_all("up")
    (connection_id,) = await town.connections(["TIDE"], 40)
    town.jira.hold(after=2)
    sync_id = await town.sync(connection_id)
    await town.stands_at(sync_id, 2)
    async with town.database.read() as connection:
        pids = set((await connection.execute(select(processes.c.pid))).scalars())
    async with town.redis() as redis:
        pids.add(int((await redis.info("server"))["process_id"]))
    assert len(pids) == 4
    (up,) = town.named("up")
    up.ask_to_end()
    assert await up.ended(within=20) == 0
    assert [pid for pid in pids if alive(pid)] == []
    assert not (town.folder / "redis.sock").exists()
    # Nothing of the sync is lost: it goes on after the next start.
    town.jira.open()
    await town.start_all("up")
    await town.all_end()
    assert (await town.one(sync_id))["counters"]["issues"]["read"] == 40
    await truth.holds(town)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        return "State:\tZ" not in status.read_text()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
