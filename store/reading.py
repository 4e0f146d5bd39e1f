"""Reading copied records back: by key, or by the order in which they changed. Every page is one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, Text, cast, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import quarantine
from store.streams import StreamTable, kept


class Stored(msgspec.Struct, frozen=True):
    """A record as it is stored. `body` is the remote's own JSON; a tombstone's is the last one."""

    stream: str
    key: str
    parent: str | None
    updated_at: datetime | None
    version: str | None
    change: int
    gone_reason: str | None
    gone_at: datetime | None
    body: str


class Quarantined(msgspec.Struct, frozen=True):
    """A record that could not be read, with the reason. `body` is what the remote sent."""

    id: int
    stream: str
    key: str
    reason: str
    body: str
    sync_id: int
    at: datetime


async def by_key(
    connection: AsyncConnection,
    table: StreamTable,
    connection_id: int,
    after: str | None,
    limit: int,
    *,
    deleted: bool,
    parent: str | None = None,
) -> Sequence[Stored]:
    """Records of one stream with a higher key than `after`, ascending; tombstones only with `deleted`, but
    for what is kept on purpose.
    """
    c = table.table.c
    query = _records(table, connection_id, parent).order_by(c.key).limit(limit)
    if after is not None:
        query = query.where(c.key > after)
    if not deleted:
        query = query.where(kept(table.table))
    return [Stored(**row) for row in (await connection.execute(query)).mappings()]


async def by_change(
    connection: AsyncConnection,
    tables: Sequence[StreamTable],
    connection_id: int,
    after: int,
    limit: int,
    parent: str | None = None,
) -> Sequence[Stored]:
    """Records and tombstones of all these streams with a higher change than `after`, ascending.

    One statement sees one state of the database, so that no change is passed over.
    """
    if not tables:
        return ()
    parts = []
    for table in tables:
        c = table.table.c
        records = _records(table, connection_id, parent)
        part = records.where(c.change > after).order_by(c.change).limit(limit)
        parts.append(select(part.subquery()))
    merged = union_all(*parts).subquery()
    query = select(merged).order_by(merged.c.change).limit(limit)
    return [Stored(**row) for row in (await connection.execute(query)).mappings()]


async def quarantined(
    connection: AsyncConnection, connection_id: int, after: int, limit: int
) -> Sequence[Quarantined]:
    """What is in quarantine, ascending by id."""
    c = quarantine.c
    query = select(quarantine).where(c.connection_id == connection_id, c.id > after).order_by(c.id)
    rows = (await connection.execute(query.limit(limit))).mappings()
    return [Quarantined(**{name: row[name] for name in Quarantined.__struct_fields__}) for row in rows]


def _records(table: StreamTable, connection_id: int, parent: str | None) -> Select[Any]:
    c = table.table.c
    columns = [c[name] for name in Stored.__struct_fields__ if name not in ("stream", "body")]
    stream = literal(table.stream.name, Text).label("stream")
    # As text: the driver would decode JSON, and what it was written like would be lost.
    body = cast(c.body, Text).label("body")
    query = select(stream, *columns, body).where(c.connection_id == connection_id)
    return query if parent is None else query.where(c.parent == parent)
