"""What is told of one connection beside its row: how far it was read, what happened, what is set aside."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.health import Problem, problem
from store.outbox import Event
from store.schema import cursors, outbox, quarantine

#: So many of the partitions that fail are named.
NAMED = 5


class Reach(msgspec.Struct, frozen=True):
    """How far a feed was read: its partitions, when one of them last got on, and those that fail."""

    partitions: int
    moved_at: datetime | None
    failing: int
    problems: Sequence[tuple[str, Problem]]


async def reach(connection: AsyncConnection, connection_id: int) -> Mapping[str, Reach]:
    """By feed, as far as anything was read."""
    c = cursors.c
    mine = c.connection_id == connection_id
    totals = select(c.feed, func.count(), func.max(c.updated_at), func.count(c.error)).where(mine)
    failing = select(c.feed, c.partition, c.error).where(mine, c.error.is_not(None)).order_by(c.partition)
    named: dict[str, list[tuple[str, Problem]]] = {}
    for feed, partition, error in await connection.execute(failing.limit(20 * NAMED)):
        told = problem(error)
        if told is not None and len(named.setdefault(feed, [])) < NAMED:
            named[feed].append((partition, told))
    return {
        feed: Reach(count, moved_at, failed, named.get(feed, ()))
        for feed, count, moved_at, failed in await connection.execute(totals.group_by(c.feed))
    }


async def quarantined(connection: AsyncConnection, connection_id: int) -> Mapping[str, int]:
    """How many records could not be read, by stream."""
    c = quarantine.c
    query = select(c.stream, func.count()).where(c.connection_id == connection_id).group_by(c.stream)
    rows = (await connection.execute(query)).all()
    return {stream: count for stream, count in rows}  # noqa: C416 - rows are no pairs to a type checker


async def happened(
    connection: AsyncConnection, connection_id: int, limit: int, before: int | None = None
) -> list[Event]:
    """What happened to a connection, newest first; before a sequence number where one is given."""
    c = outbox.c
    query = select(outbox).where(c.connection_id == connection_id).order_by(c.sequence.desc()).limit(limit)
    if before is not None:
        query = query.where(c.sequence < before)
    return [_event(row) for row in (await connection.execute(query)).mappings()]


async def happened_anywhere(
    connection: AsyncConnection, before: int | None, limit: int, *filters: ColumnElement[bool]
) -> list[Event]:
    """What happened to all, newest first by position; before one where one is given."""
    c = outbox.c
    query = select(outbox).where(c.position.is_not(None), *filters).order_by(c.position.desc()).limit(limit)
    if before is not None:
        query = query.where(c.position < before)
    return [_event(row) for row in (await connection.execute(query)).mappings()]


def _event(row: RowMapping) -> Event:
    values = {name: row[name] for name in Event.__struct_fields__}
    return Event(**{**values, "data": msgspec.Raw(values["data"].encode())})
