"""API keys: only the hash of a key is kept, so what is stored opens nothing."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.database import now
from store.schema import keys

#: What a key begins with, so that people and scanners of secrets know one when they see it.
PREFIX = "tg_"
#: The last use of a key is written at most once in so many seconds.
USES_EVERY = 60.0


class Key(msgspec.Struct, frozen=True):
    """An API key without its text. `projects` are the only ones that it sees; None is everything."""

    id: int
    name: str
    permissions: list[str]
    projects: list[int] | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def new_text() -> str:
    """The text of a new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(text: str) -> str:
    """What is stored of a key. Fast on purpose: there is nothing to guess in 256 random bits."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


async def add(
    connection: AsyncConnection,
    text: str,
    name: str,
    permissions: Sequence[str],
    projects: Sequence[int] | None,
    at: datetime,
) -> int:
    """Store a key by its hash; its id."""
    values = {
        "name": name,
        "hash": hash_of(text),
        "permissions": list(permissions),
        "projects": None if projects is None else list(projects),
        "created_at": at,
    }
    return int((await connection.execute(insert(keys).values(values).returning(keys.c.id))).scalar_one())


async def get(connection: AsyncConnection, key_id: int) -> Key | None:
    row = (await connection.execute(select(keys).where(keys.c.id == key_id))).mappings().first()
    return None if row is None else _from_row(row)


async def by_hash(connection: AsyncConnection, hashed: str) -> Key | None:
    """The key of this hash, revoked or not: one look at an index."""
    row = (await connection.execute(select(keys).where(keys.c.hash == hashed))).mappings().first()
    if row is None or not hmac.compare_digest(row["hash"], hashed):
        return None
    return _from_row(row)


async def listed(
    connection: AsyncConnection, after: int, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Key]:
    """Keys with a higher id than `after`, ascending; revoked ones too."""
    query = select(keys).where(keys.c.id > after, *filters).order_by(keys.c.id).limit(limit)
    return [_from_row(row) for row in (await connection.execute(query)).mappings()]


async def revoke(connection: AsyncConnection, key_id: int, at: datetime) -> bool:
    """Let a key open nothing any more. False if it is unknown or was revoked before."""
    c = keys.c
    made = update(keys).where(c.id == key_id, c.revoked_at.is_(None)).values(revoked_at=at).returning(c.id)
    return (await connection.execute(made)).first() is not None


async def note_uses(connection: AsyncConnection, key_ids: Iterable[int]) -> None:
    """Write that keys were used just now, unless somebody wrote so within the last minute."""
    c = keys.c
    stale = c.last_used_at.is_(None) | (c.last_used_at < now(-USES_EVERY))
    await connection.execute(update(keys).where(c.id.in_(sorted(key_ids)), stale).values(last_used_at=now()))


def _from_row(row: RowMapping) -> Key:
    return Key(**{name: row[name] for name in Key.__struct_fields__})
