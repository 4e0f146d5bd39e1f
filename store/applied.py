"""What was made from declared files: which set of declarations a connection or credential belongs to."""

from collections.abc import Mapping
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import instance
from store.schema import instance as table

Kind = Literal["credential", "connection"]
_PREFIX = "applied/"
_REFRESH_TOKENS = "declared/refresh_token/"


def _fact(kind: Kind, id_: int) -> str:
    return f"{_PREFIX}{kind}/{id_}"


async def sets(connection: AsyncConnection) -> Mapping[tuple[str, int], str]:
    """The set of each (kind, id) that belongs to one. Ids are never reused, so what is gone does no harm."""
    query = select(table.c.name, table.c.value).where(table.c.name.like(f"{_PREFIX}%"))
    found = {}
    for name, value in await connection.execute(query):
        _, kind, id_ = name.split("/")
        found[kind, int(id_)] = value
    return found


async def claim(connection: AsyncConnection, kind: Kind, id_: int, set_name: str) -> None:
    """From now on it belongs to this set, whatever it belonged to."""
    if await instance.settle(connection, _fact(kind, id_), set_name) != set_name:
        await instance.change(connection, _fact(kind, id_), set_name)


async def forget(connection: AsyncConnection, kind: Kind, id_: int) -> None:
    await connection.execute(delete(table).where(table.c.name == _fact(kind, id_)))


async def refresh_tokens(connection: AsyncConnection) -> Mapping[int, str]:
    """Per credential the fingerprint of the refresh token that a file gave it.

    The stored one may be another by now: issuers replace them as they are used.
    """
    query = select(table.c.name, table.c.value).where(table.c.name.like(f"{_REFRESH_TOKENS}%"))
    rows = await connection.execute(query)
    return {int(name.removeprefix(_REFRESH_TOKENS)): value for name, value in rows}


async def remember_refresh_token(connection: AsyncConnection, credential_id: int, fingerprint: str) -> None:
    name = f"{_REFRESH_TOKENS}{credential_id}"
    if await instance.settle(connection, name, fingerprint) != fingerprint:
        await instance.change(connection, name, fingerprint)
