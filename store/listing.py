"""Lists of connections: in several orders, page by page, by what the last one of a page had."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Text, and_, func, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.database import Json, UtcTime
from store.health import Problem
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


class Listed(msgspec.Struct, frozen=True):
    """A connection as lists show it: times as texts, `streams` and `params` as JSON, which is not parsed.

    `place` is what it is sorted by. Rows of these are read several times as fast as whole connections.
    """

    id: int
    name: str
    system: str
    url: str | None
    canonical: str | None
    credential_id: int | None
    project_id: int | None
    frequency: str
    timezone: str
    streams: str | None
    params: str
    enabled: bool
    debug: bool
    has_webhook_secret: bool
    callback_token: str
    health: str
    cause: str | None
    since: str
    next_due_at: str | None
    last_sync_at: str | None
    last_success_at: str | None
    last_error_at: str | None
    last_webhook_at: str | None
    webhook_missed_at: str | None
    created_at: str
    updated_at: str
    failed: str | None
    partly: str | None
    place: int | str | datetime | None

    @property
    def failure(self) -> Problem | None:
        return None if self.failed is None else msgspec.json.decode(self.failed, type=Problem)

    @property
    def partial(self) -> Problem | None:
        return None if self.partly is None else msgspec.json.decode(self.partly, type=Problem)


def _columns(*, of_postgresql: bool) -> list[ColumnElement[Any]]:
    """What `Listed` is made of, in its order, but for the last."""
    c = connections.c
    others = {"has_webhook_secret": c.webhook_secret.is_not(None), "failed": c.failure, "partly": c.partial}
    found: list[ColumnElement[Any]] = []
    for name in Listed.__struct_fields__[:-1]:
        column = others.get(name, c.get(name))
        assert column is not None
        if isinstance(column.type, UtcTime) and of_postgresql:
            found.append(func.to_char(func.timezone("UTC", column), _FORM))
        elif isinstance(column.type, UtcTime | Json):
            found.append(type_coerce(column, Text))
        else:
            found.append(column)
    return found


#: As `store.database.to_text` writes times, and SQLite has them.
_FORM = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
_OF_SQLITE = _columns(of_postgresql=False)
_OF_POSTGRESQL = _columns(of_postgresql=True)


async def connections_by(
    connection: AsyncConnection, order: Order, after: After | None, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Listed]:
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
    shown = _OF_POSTGRESQL if connection.dialect.name == "postgresql" else _OF_SQLITE
    query = select(*shown, value.label("place")).where(c.id.in_(page)).order_by(*ordered)
    rows: Any = await connection.execute(query)
    return [Listed(*row) for row in rows]


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
