"""Lists in other orders than that of ids: page by page, by what the last one of a page had."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.connections import Connection, from_row
from store.schema import connections

By = Literal["id", "name", "last_success_at", "next_due_at"]


class Order(msgspec.Struct, frozen=True):
    """By a column, then by id. What has no value comes last, whichever way."""

    by: By = "id"
    descending: bool = False


class After(msgspec.Struct, frozen=True):
    """Where the last page ended. `value` is that of the column, which None may be."""

    id: int
    value: str | datetime | None = None


async def connections_by(
    connection: AsyncConnection, order: Order, after: After | None, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Connection]:
    """Connections in an order, behind a position."""
    c = connections.c
    value, number = c[order.by], c.id
    if after is not None:
        filters = (*filters, _behind(order, value, number, after))
    last = [] if order.by in ("id", "name") else [value.is_(None)]
    columns = [value] if order.by == "id" else [value, number]
    ordered = last + [column.desc() if order.descending else column.asc() for column in columns]
    # The few rows of the page are read once it is known which they are.
    page = select(c.id).where(c.deleted_at.is_(None), *filters).order_by(*ordered).limit(limit)
    query = select(connections).where(c.id.in_(page)).order_by(*ordered)
    return [from_row(row) for row in (await connection.execute(query)).mappings()]


def _behind(
    order: Order, value: ColumnElement[Any], number: ColumnElement[Any], after: After
) -> ColumnElement[bool]:
    later = number < after.id if order.descending else number > after.id
    if order.by == "id":
        return later
    if after.value is None:
        return and_(value.is_(None), later)
    beyond = value < after.value if order.descending else value > after.value
    return or_(beyond, and_(value == after.value, later), value.is_(None))
