"""The debug log: what syncs of connections with `debug` did, line by line. It never holds a secret."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement, Select

from store.schema import debug_log

#: Of each connection so many lines are kept, the newest, and none for longer than this.
MOST = 10_000
KEPT = timedelta(days=7)


class Note(msgspec.Struct, frozen=True):
    """Something that happened in a sync, to be added. `detail` depends on the event."""

    at: datetime
    event: str
    detail: Mapping[str, object]


class Line(msgspec.Struct, frozen=True):
    """One line of the log."""

    id: int
    connection_id: int
    sync_id: int
    at: datetime
    event: str
    detail: dict[str, Any]


async def add(connection: AsyncConnection, connection_id: int, sync_id: int, notes: Sequence[Note]) -> None:
    """Add lines, in their order."""
    rows = [
        {"connection_id": connection_id, "sync_id": sync_id, "at": n.at, "event": n.event, "detail": n.detail}
        for n in notes
    ]
    await connection.execute(insert(debug_log), rows)


async def listed(
    connection: AsyncConnection,
    connection_id: int,
    before: int | None,
    limit: int,
    sync_id: int | None = None,
) -> Sequence[Line]:
    """Lines of a connection, or of one of its syncs, with a lower id than `before`; newest first."""
    query = _of(connection_id, sync_id).order_by(debug_log.c.id.desc())
    return await _lines(connection, query if before is None else query.where(debug_log.c.id < before), limit)


async def after(
    connection: AsyncConnection, connection_id: int, last: int, limit: int, sync_id: int | None = None
) -> Sequence[Line]:
    """The same with a higher id than `last`, oldest first."""
    query = _of(connection_id, sync_id).where(debug_log.c.id > last)
    return await _lines(connection, query.order_by(debug_log.c.id), limit)


async def trim(connection: AsyncConnection, connection_id: int) -> None:
    """Delete what is more than `MOST` lines of a connection."""
    c = debug_log.c
    newest = select(c.id).where(c.connection_id == connection_id).order_by(c.id.desc())
    first_to_go = newest.limit(1).offset(MOST).scalar_subquery()
    await connection.execute(debug_log.delete().where(c.connection_id == connection_id, c.id <= first_to_go))


async def too_long(connection: AsyncConnection) -> Sequence[int]:
    """The connections with more than `MOST` lines, of syncs that were killed before they could trim."""
    c = debug_log.c
    query = select(c.connection_id).group_by(c.connection_id).having(func.count() > MOST)
    return (await connection.execute(query)).scalars().all()


async def forget(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete lines that are older than a time, some at once. How many."""
    c = debug_log.c
    old = select(c.id).where(c.at < before).order_by(c.at).limit(limit)
    return (await connection.execute(debug_log.delete().where(c.id.in_(old)))).rowcount


def _of(connection_id: int, sync_id: int | None) -> Select[Any]:
    c = debug_log.c
    filters: list[ColumnElement[bool]] = [c.connection_id == connection_id]
    if sync_id is not None:
        filters.append(c.sync_id == sync_id)
    return select(debug_log).where(*filters)


async def _lines(connection: AsyncConnection, query: Select[Any], limit: int) -> Sequence[Line]:
    return [Line(**row) for row in (await connection.execute(query.limit(limit))).mappings()]
