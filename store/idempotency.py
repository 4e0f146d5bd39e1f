"""Answers to creations that carried an Idempotency-Key, kept so that asking again makes nothing anew."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import now
from store.schema import idempotency as table

KEPT = timedelta(hours=24)


class Kept(msgspec.Struct, frozen=True):
    """An answer that was given. `request` and `body` are sealed: they may hold or betray secrets."""

    request: str
    status: int
    body: str


def place(caller: str, key: str) -> str:
    """Where a sealed request and its answer live; the vault binds them to it."""
    return f"idempotency/{caller}/{key}"


async def find(connection: AsyncConnection, caller: str, key: str) -> Kept | None:
    """The answer that this caller was given under a key within the last 24 hours."""
    c = table.c
    fresh = c.at > now(-KEPT.total_seconds())
    query = select(c.request, c.status, c.body).where(c.caller == caller, c.key == key, fresh)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Kept(**row)


async def add(connection: AsyncConnection, caller: str, key: str) -> None:
    """Take a key, in the transaction that does what is asked.

    Raises IntegrityError where the key was taken meanwhile. On PostgreSQL it waits for one under way.
    """
    c = table.c
    old = c.at <= now(-KEPT.total_seconds())
    await connection.execute(table.delete().where(c.caller == caller, c.key == key, old))
    await connection.execute(insert(table).values(caller=caller, key=key, request="", at=now()))


async def keep(connection: AsyncConnection, caller: str, key: str, kept: Kept) -> None:
    """Keep the answer under the key that was taken in this transaction."""
    c = table.c
    mine = table.update().where(c.caller == caller, c.key == key)
    await connection.execute(mine.values(msgspec.structs.asdict(kept)))


async def forget(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete answers that were given before a time, some at once. How many."""
    c = table.c
    old = select(c.caller, c.key).where(c.at < before).order_by(c.at).limit(limit)
    gone = await connection.execute(table.delete().where(tuple_(c.caller, c.key).in_(old)))
    return gone.rowcount
