"""The reaper and the upkeep: what is to be rung again, what is stale, what may be forgotten."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import (
    audit,
    claims,
    connections,
    debug_log,
    deliveries,
    idempotency,
    outbox,
    retention,
    sendings,
    syncs,
    webhooks,
)
from store.database import Database, clock, now
from store.schema import connections as table
from store.schema import host_pauses, processes
from store.streams import StreamTable, StreamTables
from store.syncs import Ring

RINGS = 500
WEBHOOKS_AGAIN = timedelta(hours=1)
PROCESSES_KEPT = timedelta(hours=1)
#: So many are forgotten in one transaction; others write in between.
AT_ONCE = 500
_BATCH = 200

Forgets = Callable[[AsyncConnection, datetime, int], Awaitable[int]]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept. With `events` goes the log of webhooks out; None is for ever."""

    events: timedelta = timedelta(days=7)
    syncs: timedelta = timedelta(days=90)
    deliveries: timedelta = timedelta(days=7)
    audit: timedelta = audit.KEPT
    debug_log: timedelta = debug_log.KEPT
    quarantine: timedelta = timedelta(days=30)
    tombstones: timedelta | None = None


async def reap(database: Database) -> Sequence[Ring]:
    """What a claim would take, and nothing else: due, and held by nobody or by someone dead."""
    async with database.read() as connection:
        return await claims.claimable(connection, RINGS)


async def settle_stale(database: Database) -> int:
    """Tell of connections of which nothing was heard for too long, and of limits that are over. How many."""
    count = 0
    while ids := await _to_settle(database):
        await _settle(database, ids)
        count += len(ids)
    return count


async def _to_settle(database: Database) -> Sequence[int]:
    """Some of them. Whatever else is told of a connection outdoes that it is stale."""
    c = table.c
    async with database.read() as connection:
        at = await clock(connection)
        stale = select(c.id).where(c.stale_at <= at, c.health == "healthy", c.deleted_at.is_(None))
        limited = select(c.id).where(c.limited_until <= at, c.health == "rate_limited")
        ids = [*(await connection.execute(stale.limit(_BATCH))).scalars()]
        ids += (await connection.execute(limited.limit(_BATCH))).scalars()
    return ids


async def _settle(database: Database, ids: Sequence[int]) -> None:
    for connection_id in ids:
        async with database.write() as connection:
            await connections.locked(connection, connection_id)
            await connections.change(
                connection, connection_id, await clock(connection), {"id": connection_id}
            )


async def checks_due(database: Database) -> Sequence[int]:
    """Paused connections that are to be checked today; each is given out once."""
    async with database.write() as connection:
        at = await clock(connection)
        due = await connections.due(connection, "next_check_at", at, _BATCH)
        for one in due:
            tomorrow = table.update().where(table.c.id == one.id).values(next_check_at=at + timedelta(days=1))
            await connection.execute(tomorrow)
    return [one.id for one in due]


async def webhooks_due(database: Database) -> Sequence[int]:
    """Connections whose webhook at the remote is to be seen after; each is given out once.

    One that nobody came to see after is given out again.
    """
    async with database.read() as connection:
        at = await clock(connection)
        due = await webhooks.due(connection, at)
    given = []
    for connection_id in due:
        async with database.write() as connection:
            if await webhooks.give_out(connection, connection_id, at, at + WEBHOOKS_AGAIN):
                given.append(connection_id)
    return given


async def forget(database: Database, tables: StreamTables | None = None, kept: Kept | None = None) -> None:
    """Delete what is past keeping, some of each kind at a time: events, syncs, deliveries, answers, entries
    of the audit log, processes long gone, debug logs; with the `tables` what is in quarantine for nothing,
    and tombstones that are older than they are to become.
    """
    kept = kept or Kept()
    kinds: Sequence[tuple[Forgets, timedelta]] = (
        (outbox.forget, kept.events),
        (syncs.forget, kept.syncs),
        (deliveries.forget, kept.deliveries),
        (sendings.forget, kept.events),
        (idempotency.forget, idempotency.KEPT),
        (audit.forget, kept.audit),
        (debug_log.forget, kept.debug_log),
    )
    for kind, age in kinds:
        await _forget_all(database, kind, age)
    async with database.write() as connection:
        await _forget_processes(connection)
    await _forget_long_debug_logs(database)
    if tables is not None:
        at = await database.time()
        await _forget_quarantine(database, tables, at - kept.quarantine)
        if kept.tombstones is not None:
            for stream in tables.all():
                await _forget_tombstones(database, stream, at - kept.tombstones)


async def _forget_all(database: Database, kind: Forgets, kept: timedelta) -> None:
    """All of a kind that is past keeping, however much that is: others write in between."""
    forgotten = AT_ONCE
    while forgotten >= AT_ONCE:
        async with database.write() as connection:
            forgotten = await kind(connection, await clock(connection) - kept, AT_ONCE)


async def _forget_quarantine(database: Database, tables: StreamTables, before: datetime) -> None:
    last = 0
    while True:
        async with database.read() as connection:
            ids = await retention.old_quarantine(connection, tables.all(), before, last, AT_ONCE)
        if not ids:
            return
        async with database.write() as connection:
            await retention.forget_quarantine(connection, ids, before)
        last = ids[-1]


async def _forget_tombstones(database: Database, stream: StreamTable, before: datetime) -> None:
    last = retention.FIRST
    while True:
        async with database.read() as connection:
            places = await retention.old_tombstones(connection, stream, before, last, AT_ONCE)
        if not places:
            return
        async with database.write() as connection:
            await retention.forget_tombstones(connection, stream, before, places)
        last = places[-1]


async def _forget_long_debug_logs(database: Database) -> None:
    """Of each connection the lines that are too many."""
    async with database.read() as connection:
        long = await debug_log.too_long(connection)
    for connection_id in long:
        async with database.write() as connection:
            await debug_log.trim(connection, connection_id)


async def _forget_processes(connection: AsyncConnection) -> None:
    gone = now(-PROCESSES_KEPT.total_seconds())
    await connection.execute(delete(processes).where(processes.c.seen_at < gone))
    await connection.execute(delete(host_pauses).where(host_pauses.c.until < now()))
