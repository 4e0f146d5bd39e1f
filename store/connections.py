"""Connections: what is kept in step with what, how often, and how it stands."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, exists, insert, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from store import health
from store.health import Problem, problem
from store.schema import connections, cursors


class Connection(msgspec.Struct, frozen=True):
    """One connection. `url` is as typed, `canonical` its one spelling; both None in a draft."""

    id: int
    name: str
    project_id: int | None
    credential_id: int | None
    system: str
    url: str | None
    canonical: str | None
    frequency: str
    timezone: str
    streams: list[str] | None
    params: dict[str, Any]
    enabled: bool
    debug: bool
    attributes: dict[str, Any]
    callback_token: str
    health: str
    cause: str | None
    since: datetime
    failure: Problem | None
    partial: Problem | None
    has_webhook_secret: bool
    last_webhook_at: datetime | None
    webhook_missed_at: datetime | None
    next_due_at: datetime | None
    census_at: datetime | None
    last_sync_at: datetime | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @property
    def draft(self) -> bool:
        return self.canonical is None

    @property
    def paused(self) -> bool:
        """Whether only a person's own triggers go through, so that no account gets locked."""
        return self.failure is not None and self.failure.kind in health.PAUSING


def from_row(row: RowMapping) -> Connection:
    values = {name: row[name] for name in Connection.__struct_fields__ if name in row}
    values["failure"] = problem(row["failure"])
    values["partial"] = problem(row["partial"])
    values["has_webhook_secret"] = row["webhook_secret"] is not None
    return Connection(**values)


async def add(connection: AsyncConnection, values: Mapping[str, object], now: datetime) -> int:
    """Insert a connection; what `values` leave out has the defaults of a new one. Its id."""
    draft = values.get("canonical") is None
    defaults: dict[str, object] = {
        "params": {},
        "enabled": True,
        "timezone": "UTC",
        "created_at": now,
        "updated_at": now,
        "since": now,
        "health": "pending" if values.get("enabled", True) else "disabled",
        "cause": "incomplete" if draft and values.get("enabled", True) else None,
    }
    made = insert(connections).values({**defaults, **values}).returning(connections.c.id)
    return int((await connection.execute(made)).scalar_one())


async def get(connection: AsyncConnection, connection_id: int, *, deleted: bool = False) -> Connection | None:
    """One connection by its id; a deleted one only if asked for."""
    query = select(connections).where(connections.c.id == connection_id)
    if not deleted:
        query = query.where(connections.c.deleted_at.is_(None))
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(row)


async def by_name(connection: AsyncConnection, name: str) -> Connection | None:
    """The connection of this name, the oldest if there are several."""
    c = connections.c
    query = select(connections).where(c.name == name, c.deleted_at.is_(None)).order_by(c.id).limit(1)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(row)


async def by_token(connection: AsyncConnection, token: str) -> tuple[Connection, str | None] | None:
    """The connection whose webhooks come to this address, with its webhook secret as it is sealed."""
    c = connections.c
    query = select(connections).where(c.callback_token == token, c.deleted_at.is_(None))
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else (from_row(row), row["webhook_secret"])


async def listed(connection: AsyncConnection, after: int, limit: int, *filters: Any) -> Sequence[Connection]:
    """Connections with a higher id than `after`, ascending."""
    c = connections.c
    query = (
        select(connections).where(c.id > after, c.deleted_at.is_(None), *filters).order_by(c.id).limit(limit)
    )
    return [from_row(row) for row in (await connection.execute(query)).mappings()]


_LIVING = (connections.c.enabled, connections.c.deleted_at.is_(None))
# Statements of the page's path are made once: making one takes longer than running it.
_LOCK = select(connections).where(connections.c.id == bindparam("connection")).with_for_update()


_HOLD = (
    select(
        *(
            connections.c[name]
            for name in (
                "id",
                "system",
                "frequency",
                "timezone",
                "failure",
                "remembered",
                "unavailable",
                "crashes",
                "limited_until",
                "next_look_at",
                "change_sequence",
            )
        )
    )
    .where(connections.c.id == bindparam("connection"))
    .with_for_update()
)


async def held(connection: AsyncConnection, connection_id: int) -> RowMapping | None:
    """The row, locked like `locked`, as far as a worker needs it with each page."""
    return (await connection.execute(_HOLD, {"connection": connection_id})).mappings().first()


async def locked(connection: AsyncConnection, connection_id: int) -> RowMapping | None:
    """The row, locked until the end of the transaction: always the first lock that is taken."""
    return (await connection.execute(_LOCK, {"connection": connection_id})).mappings().first()


async def change(
    connection: AsyncConnection, connection_id: int, now: datetime, values: Mapping[str, object]
) -> None:
    """Set columns and settle the health. The row is locked by the caller."""
    made = update(connections).where(connections.c.id == connection_id).values(dict(values))
    await connection.execute(made)
    await health.settle(connection, connection_id, now)


async def drop_cursors(connection: AsyncConnection, connection_id: int) -> None:
    """Forget how far the connection was read: the next sync reads all again."""
    await connection.execute(cursors.delete().where(cursors.c.connection_id == connection_id))


async def any_due(connection: AsyncConnection, columns: Sequence[str], now: datetime) -> bool:
    """Whether for any connection the time in one of these columns has come."""
    times = [connections.c[name] for name in columns]
    looked = [exists().where(time.is_not(None), time <= now, *_LIVING) for time in times]
    return bool((await connection.execute(select(or_(*looked)))).scalar())


async def due(connection: AsyncConnection, column: str, now: datetime, limit: int) -> Sequence[Connection]:
    """Connections whose time in `column` has come, the longest overdue first."""
    when = connections.c[column]
    query = select(connections).where(when.is_not(None), when <= now, *_LIVING).order_by(when).limit(limit)
    return [from_row(row) for row in (await connection.execute(query)).mappings()]
