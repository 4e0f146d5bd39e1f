"""Credentials: how to authenticate at a system. The secret is stored sealed and never given out in lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.schema import connections, credentials

#: In the options of `oauth2`: which of its two secrets are stored, for they are sealed as one.
HOLDS = "holds"


class Credential(msgspec.Struct, frozen=True):
    """A credential without its secret."""

    id: int
    name: str
    system: str
    kind: str
    username: str | None
    has_secret: bool
    has_refresh_token: bool
    options: dict[str, Any]
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


def place(credential_id: int) -> str:
    """Where the secret lives; the vault binds the sealed text to it."""
    return f"credentials/{credential_id}/secret"


def from_row(row: RowMapping) -> Credential:
    values = {name: row[name] for name in Credential.__struct_fields__ if name in row}
    holds = row["options"].get(HOLDS, ()) if row["kind"] == "oauth2" else ("secret",)
    stored = row["secret"] is not None
    return Credential(
        **values,
        has_secret=stored and "secret" in holds,
        has_refresh_token=stored and "refresh_token" in holds,
    )


async def add(connection: AsyncConnection, values: Mapping[str, object], now: datetime) -> int:
    """Insert a credential, still without its secret, which is sealed for the id. Its id."""
    made = insert(credentials).values({"options": {}, "created_at": now, "updated_at": now, **values})
    return int((await connection.execute(made.returning(credentials.c.id))).scalar_one())


async def change(connection: AsyncConnection, credential_id: int, values: Mapping[str, object]) -> None:
    await connection.execute(
        update(credentials).where(credentials.c.id == credential_id).values(dict(values))
    )


async def get(connection: AsyncConnection, credential_id: int) -> Credential | None:
    query = select(credentials).where(credentials.c.id == credential_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(row)


async def locked(connection: AsyncConnection, credential_id: int) -> Credential | None:
    """One credential, locked until the end of the transaction: no connection can take it up meanwhile."""
    query = select(credentials).where(credentials.c.id == credential_id).with_for_update()
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(row)


async def users(connection: AsyncConnection, credential_id: int) -> Sequence[int]:
    """The ids of the living connections that use it, ascending."""
    c = connections.c
    query = select(c.id).where(c.credential_id == credential_id, c.deleted_at.is_(None)).order_by(c.id)
    return (await connection.execute(query)).scalars().all()


async def origins(connection: AsyncConnection, credential_id: int) -> Sequence[str]:
    """The servers that it may be sent to; none while it was not used yet."""
    query = select(credentials.c.origins).where(credentials.c.id == credential_id)
    return (await connection.execute(query)).scalar() or ()


async def sealed(connection: AsyncConnection, credential_id: int) -> str | None:
    """The sealed secret."""
    query = select(credentials.c.secret).where(credentials.c.id == credential_id)
    found = (await connection.execute(query)).scalar()
    return None if found is None else str(found)


async def listed(
    connection: AsyncConnection, after: int, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Credential]:
    """Credentials with a higher id than `after`, ascending."""
    c = credentials.c
    query = select(credentials).where(c.id > after, *filters).order_by(c.id).limit(limit)
    return [from_row(row) for row in (await connection.execute(query)).mappings()]


async def delete(connection: AsyncConnection, credential_id: int) -> None:
    """Remove a credential that no living connection uses; deleted ones forget it."""
    c = connections.c
    await connection.execute(
        update(connections).where(c.credential_id == credential_id).values(credential_id=None)
    )
    await connection.execute(credentials.delete().where(credentials.c.id == credential_id))
