"""What is due: connections whose time has come, claimed by compare-and-set with the sync that they open.

Due times are data. Any number of schedulers may run this side by side; each due time fires once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from config.failpoints import Step, passed
from config.frequency import FrequencyError, parse_frequency
from scheduler.dispatch import ClosedError, RememberedError, Request, open_sync
from store import connections
from store.connections import Connection
from store.database import Database, clock
from store.schema import connections as table
from store.syncs import Ring, Trigger

log = structlog.get_logger()

#: Claimed at once, and rung for, before the next.
BATCH = 50
#: The frequency of a connection whose own is not understood any more.
UNKNOWN = timedelta(hours=1)


async def anything_due(database: Database) -> bool:
    """Whether any connection is due or to be looked at: most ticks are over after this."""
    async with database.read() as connection:
        return await connections.any_due(connection, ("next_due_at", "next_look_at"), await clock(connection))


async def open_due(database: Database) -> Sequence[Ring]:
    """Open a sync for each connection that is due; what is to be rung."""
    async with database.read() as connection:
        now = await clock(connection)
        due = await connections.due(connection, "next_due_at", now, BATCH)
    rings = []
    for one in due:
        if (ring := await _open(database, one)) is not None:
            passed(Step.DUE_COMMITTED)
            rings.append(ring)
    return rings


async def _open(database: Database, due: Connection) -> Ring | None:
    async with database.write() as connection:
        now = await clock(connection)
        row = await connections.locked(connection, due.id)
        if row is None or row["next_due_at"] != due.next_due_at:
            return None  # another scheduler was first, or the connection was edited
        trigger: Trigger = "catch_up" if row["catch_up"] else "schedule"
        values = {"next_due_at": next_due(due, now), "catch_up": False}
        await connection.execute(update(table).where(table.c.id == due.id).values(values))
        ring = await _dispatch(connection, due, Request(trigger), now)
        passed(Step.DUE_WRITTEN)
        return ring


async def open_looks(database: Database) -> Sequence[Ring]:
    """Open a sync of records for each connection with unfinished ones that are to be looked at again."""
    async with database.read() as connection:
        now = await clock(connection)
        due = await connections.due(connection, "next_look_at", now, BATCH)
    rings: list[Ring | None] = []
    for one in due:
        async with database.write() as connection:
            row = await connections.locked(connection, one.id)
            if row is None or row["next_look_at"] is None or row["next_look_at"] > now:
                continue
            # The sync sets the true next time when it ends; until then nothing is opened twice.
            later = update(table).where(table.c.id == one.id).values(next_look_at=now + timedelta(minutes=5))
            await connection.execute(later)
            if one.frequency != "manually" and not one.paused:
                request = Request("schedule", "records", look=True)
                rings.append(await _dispatch(connection, one, request, now))
            passed(Step.LOOK_WRITTEN)
        passed(Step.LOOK_COMMITTED)
    return [ring for ring in rings if ring is not None]


async def _dispatch(
    connection: AsyncConnection, due: Connection, request: Request, now: datetime
) -> Ring | None:
    try:
        return (await open_sync(connection, due.id, request, now)).ring
    except (ClosedError, RememberedError) as e:
        log.info("due.not_opened", connection=due.id, reason=str(e))
        return None


def next_due(due: Connection, now: datetime) -> datetime | None:
    """When a connection falls due next: counted from now, so that downtime is caught up once."""
    try:
        return parse_frequency(due.frequency, due.timezone).next_after(now, due.id)
    except FrequencyError as e:
        # It was understood when it was set; a zone may be gone from the time zone data since.
        log.warning("due.frequency_unknown", connection=due.id, reason=e.message)
        return now + UNKNOWN
