"""Following a sync to its end at the command line, and working on it here where no worker does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic

from store import parts, syncs
from store.database import Database
from store.parts import Part
from store.syncs import Sync
from worker.budget import Clock
from worker.lease import keep_leases
from worker.sync import Deps, run_slice

LOOK_SECONDS = 0.1
#: How often it is asked how much there is to read.
COUNT_SECONDS = 1.0

#: Is told of a sync, and how many records it has to read in all, where the remote said so.
Told = Callable[[Sync, int | None], None]


async def follow(database: Database, sync_id: int, time: Clock, patience: timedelta, told: Told) -> Sync:
    """Tell how a sync gets on until it has ended, or would wait longer than `patience` without a page."""
    expected, counted_at = None, -COUNT_SECONDS
    while True:
        sync = await _look(database, sync_id)
        if monotonic() - counted_at >= COUNT_SECONDS:
            expected, counted_at = await _expected(database, sync), monotonic()
        told(sync, expected)
        if sync.finished_at is not None or _waits_too_long(sync, time, patience):
            return sync
        await asyncio.sleep(LOOK_SECONDS)


def _waits_too_long(sync: Sync, time: Clock, patience: timedelta) -> bool:
    if sync.state != "waiting" or sync.waiting_since is None:
        return False
    return max(time(), sync.resume_at or time()) - sync.waiting_since > patience


@asynccontextmanager
async def working(deps: Deps, sync: Sync, time: Clock) -> AsyncIterator[None]:
    """Work on a sync meanwhile, by the worker's own slices; first on what is open before it in its lane."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(keep_leases(deps.database, deps.owner, time, deps.holding)),
            group.create_task(_work(deps, sync)),
        ]
        yield
        for task in tasks:
            task.cancel()


async def _work(deps: Deps, sync: Sync) -> None:
    while True:
        async with deps.database.read() as connection:
            live = await syncs.of_lane(connection, sync.connection_id, sync.lane)
        rings = [ring for one in live for ring in await run_slice(deps, one.id)]
        if not rings:
            await asyncio.sleep(LOOK_SECONDS)


async def _expected(database: Database, sync: Sync) -> int | None:
    """How many records all parts of a sync have, or None while one does not know."""
    async with database.read() as connection:
        known = await parts.listed(connection, sync.id)
    counts = [_count(part) for part in known]
    return sum(count or 0 for count in counts) if counts and None not in counts else None


def _count(part: Part) -> int | None:
    if part.expected is not None:
        return sum(part.expected.values())
    return sum(part.stored.values()) if part.done else None


async def _look(database: Database, sync_id: int) -> Sync:
    async with database.read() as connection:
        sync = await syncs.get(connection, sync_id)
    if sync is None:
        raise LookupError(f"sync {sync_id} is gone")
    return sync
