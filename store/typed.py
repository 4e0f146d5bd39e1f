"""Records as rows of typed columns, in short pages: what tables are made of elsewhere."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, Text, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from adapters.base import ColumnType
from store.schema import connections
from store.streams import StreamTable, kept

Row = Sequence[str | int | float | bool | datetime | None]


class Field(msgspec.Struct, frozen=True):
    """One column of what is read: its name, and the type of what is in it."""

    name: str
    type: ColumnType


#: Before the typed columns of each stream, with the column of the table that they are read from.
COMMON = (
    (Field("key", "text"), "key"),
    (Field("parent", "text"), "parent"),
    (Field("updated_at", "time"), "updated_at"),
    (Field("version", "text"), "version"),
    (Field("change", "integer"), "change"),
    (Field("deleted", "text"), "gone_reason"),
    (Field("deleted_at", "time"), "gone_at"),
)
KEY, CHANGE = 0, 4
BODY = Field("body", "text")


def fields_of(table: StreamTable, *, body: bool) -> Sequence[Field]:
    """The columns of a stream's rows, in their order; with `body` the remote's JSON as text is the last."""
    typed = [Field(column.name, column.type) for column in table.stream.columns]
    return [*(field for field, _ in COMMON), *typed, *([BODY] if body else [])]


async def by_key(
    connection: AsyncConnection,
    table: StreamTable,
    connection_id: int,
    after: str | None,
    limit: int,
    *,
    body: bool,
    deleted: bool,
) -> Sequence[Row]:
    """Rows with a higher key than `after`, ascending; tombstones only with `deleted`."""
    c = table.table.c
    query = _rows(table, connection_id, body=body).order_by(c.key).limit(limit)
    if after is not None:
        query = query.where(c.key > after)
    if not deleted:
        query = query.where(kept(table.table))
    return [tuple(row) for row in await connection.execute(query)]


async def by_change(
    connection: AsyncConnection, table: StreamTable, connection_id: int, after: int, limit: int, *, body: bool
) -> Sequence[Row]:
    """Rows with a higher change than `after`, ascending, tombstones among them."""
    c = table.table.c
    query = _rows(table, connection_id, body=body).where(c.change > after).order_by(c.change).limit(limit)
    return [tuple(row) for row in await connection.execute(query)]


async def count(
    connection: AsyncConnection,
    tables: Sequence[StreamTable],
    connection_id: int,
    *,
    after: int | None,
    deleted: bool,
) -> int:
    """How many records there are to read of these streams."""
    total = 0
    for table in tables:
        c = table.table.c
        query = select(func.count()).select_from(table.table).where(c.connection_id == connection_id)
        if after is not None:
            query = query.where(c.change > after)
        elif not deleted:
            query = query.where(kept(table.table))
        total += (await connection.execute(query)).scalar_one()
    return total


async def newest_change(connection: AsyncConnection, connection_id: int) -> int:
    """The number of the latest change of a connection's records."""
    c = connections.c
    query = select(c.change_sequence).where(c.id == connection_id)
    return int((await connection.execute(query)).scalar() or 0)


def _rows(table: StreamTable, connection_id: int, *, body: bool) -> Select[Any]:
    c = table.table.c
    columns: list[ColumnElement[Any]] = [c[name] for _, name in COMMON]
    columns += [c[column.name] for column in table.stream.columns]
    if body:
        # As text: the driver would decode JSON, and what it was written like would be lost.
        columns.append(cast(c.body, Text))
    return select(*columns).where(c.connection_id == connection_id)
