"""Records that nobody needs any more: tombstones past keeping, and what is in quarantine for nothing."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import connections, quarantine
from store.streams import ROTATED, StreamTable


async def forget_tombstones(
    connection: AsyncConnection, stream: StreamTable, before: datetime, limit: int
) -> int:
    """Delete records that are gone since before a time. How many.

    What the remote's own housekeeping discarded is no tombstone: it is kept as history.
    """
    c = stream.table.c
    old = select(c.connection_id, c.key).where(c.gone_at < before, c.gone_reason != ROTATED).limit(limit)
    gone = await connection.execute(stream.table.delete().where(tuple_(c.connection_id, c.key).in_(old)))
    return gone.rowcount


async def forget_quarantine(
    connection: AsyncConnection, streams: Iterable[StreamTable], before: datetime, limit: int
) -> int:
    """Delete what is in quarantine since before a time and will never be read: of removed connections, and of
    records that are gone. How many. What may still be read stays, and says that it is missing.
    """
    q, c = quarantine.c, connections.c
    removed = exists().where(c.id == q.connection_id, c.deleted_at < before)
    old = select(q.id).where(q.at < before, removed).limit(limit)
    count = (await connection.execute(quarantine.delete().where(q.id.in_(old)))).rowcount
    for stream in streams:
        r = stream.table.c
        of_this = exists().where(c.id == q.connection_id, c.system == stream.system)
        gone = exists().where(r.connection_id == q.connection_id, r.key == q.key, r.gone_at < before)
        old = select(q.id).where(q.at < before, q.stream == stream.stream.name, of_this, gone).limit(limit)
        count += (await connection.execute(quarantine.delete().where(q.id.in_(old)))).rowcount
    return count
