"""Records that nobody needs any more: tombstones past keeping, and what is in quarantine for nothing."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.schema import connections, quarantine
from store.streams import ROTATED, StreamTable

#: A record's connection and key.
Place = tuple[int, str]
FIRST: Place = (0, "")


async def old_tombstones(
    connection: AsyncConnection, stream: StreamTable, before: datetime, after: Place, limit: int
) -> Sequence[Place]:
    """Records that are gone since before a time, in the order of their places.

    What the remote's own housekeeping discarded is no tombstone: it is kept as history. No index finds them,
    so this is not for a transaction that writes.
    """
    c = stream.table.c
    place = tuple_(c.connection_id, c.key)
    query = select(c.connection_id, c.key).where(place > after, _is_old(stream, before))
    rows = await connection.execute(query.order_by(c.connection_id, c.key).limit(limit))
    return [(number, key) for number, key in rows]


async def forget_tombstones(
    connection: AsyncConnection, stream: StreamTable, before: datetime, places: Sequence[Place]
) -> None:
    """Delete these, unless they are back meanwhile."""
    c = stream.table.c
    these = stream.table.delete().where(tuple_(c.connection_id, c.key).in_(places))
    await connection.execute(these.where(_is_old(stream, before)))


def _is_old(stream: StreamTable, before: datetime) -> ColumnElement[bool]:
    c = stream.table.c
    return and_(c.gone_at < before, c.gone_reason != ROTATED)


async def old_quarantine(
    connection: AsyncConnection, streams: Iterable[StreamTable], before: datetime, after: int, limit: int
) -> Sequence[int]:
    """What is in quarantine since before a time and will never be read: of connections that are removed, and
    of records that are gone. Ids, ascending. What may still be read stays, and says that it is missing.

    To find it much is looked at, so this is not for a transaction that writes.
    """
    q, c = quarantine.c, connections.c
    useless: list[ColumnElement[bool]] = [exists().where(c.id == q.connection_id, c.deleted_at < before)]
    for stream in streams:
        r = stream.table.c
        of_this = exists().where(c.id == q.connection_id, c.system == stream.system)
        gone = exists().where(r.connection_id == q.connection_id, r.key == q.key, r.gone_at < before)
        useless.append(and_(q.stream == stream.stream.name, of_this, gone))
    query = select(q.id).where(q.id > after, q.at < before, or_(*useless)).order_by(q.id).limit(limit)
    return (await connection.execute(query)).scalars().all()


async def forget_quarantine(connection: AsyncConnection, ids: Sequence[int], before: datetime) -> None:
    """Delete these, unless they were tried again meanwhile."""
    q = quarantine.c
    await connection.execute(quarantine.delete().where(q.id.in_(ids), q.at < before))
