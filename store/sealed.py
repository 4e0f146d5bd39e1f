"""Where sealed texts are, all of them, and sealing them anew with another key while others read and write."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Table, and_, func, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from config.vault import ID_LENGTH, SEALED_PREFIX, Vault, VaultError
from store import credentials, idempotency, subscriptions, tokens, webhooks
from store.database import Database
from store.outgoing import subscriptions as subscriptions_table
from store.schema import connections as connections_table
from store.schema import credentials as credentials_table
from store.schema import idempotency as idempotency_table

BATCH = 100


class Sealed(msgspec.Struct, frozen=True):
    """A column of sealed texts. `place` makes of a row's primary key what its text is bound to."""

    column: Column[Any]
    place: Callable[..., str]

    @property
    def table(self) -> Table:
        assert isinstance(self.column.table, Table)
        return self.column.table

    @property
    def key(self) -> Sequence[Column[Any]]:
        return list(self.table.primary_key)

    @property
    def name(self) -> str:
        return f"{self.table.name}.{self.column.name}"


#: Every column that holds what the vault sealed.
SEALED: tuple[Sealed, ...] = (
    Sealed(credentials_table.c.secret, credentials.place),
    Sealed(credentials_table.c.token, tokens.place),
    Sealed(connections_table.c.webhook_secret, webhooks.place_of_secret),
    Sealed(subscriptions_table.c.secret, subscriptions.place),
    Sealed(subscriptions_table.c.old_secret, subscriptions.old_place),
    Sealed(idempotency_table.c.request, idempotency.place),
    Sealed(idempotency_table.c.body, idempotency.place),
)


class Resealed(msgspec.Struct, frozen=True):
    """What came of a pass: how many were sealed anew, and the places of those that no key here opens."""

    count: int
    unreadable: Sequence[str]


async def by_key(connection: AsyncConnection) -> Mapping[str, Mapping[str, int]]:
    """How many texts each key sealed: by the key's id, and by column."""
    found: dict[str, Counter[str]] = {}
    for each in SEALED:
        key_id = func.substr(each.column, len(SEALED_PREFIX) + 1, ID_LENGTH)
        query = select(key_id, func.count()).where(each.column.like(f"{SEALED_PREFIX}%")).group_by(key_id)
        for of, count in await connection.execute(query):
            found.setdefault(str(of), Counter())[each.name] = count
    return found


async def reseal(database: Database, vault: Vault, told: Callable[[int], None]) -> Resealed:
    """Seal with the vault's key what others sealed, a few rows at a time; a second pass finds the less.

    A text that another process changes at the same moment is left to that: it has the new key, too. `told`
    hears how many are sealed so far.
    """
    count, unreadable = 0, []
    for each in SEALED:
        after: tuple[Any, ...] | None = None
        while True:
            async with database.write() as connection:
                rows = await _others(connection, each, vault, after)
                for key, text in rows:
                    if await _move(connection, each, vault, key, text):
                        count += 1
                    else:
                        unreadable.append(each.place(*key))
            told(count)
            if len(rows) < BATCH:
                break
            after = rows[-1][0]
    return Resealed(count, unreadable)


async def _others(
    connection: AsyncConnection, each: Sealed, vault: Vault, after: tuple[Any, ...] | None
) -> Sequence[tuple[tuple[Any, ...], str]]:
    """Some rows, by primary key, whose text another key sealed."""
    mine = f"{SEALED_PREFIX}{vault.key_ids[0]}.%"
    others = and_(each.column.like(f"{SEALED_PREFIX}%"), each.column.not_like(mine))
    wanted = [others] if after is None else [others, tuple_(*each.key) > _tuple(each, after)]
    query = select(*each.key, each.column).where(*wanted).order_by(*each.key).limit(BATCH)
    return [(tuple(row[:-1]), str(row[-1])) for row in await connection.execute(query)]


async def _move(
    connection: AsyncConnection, each: Sealed, vault: Vault, key: tuple[Any, ...], text: str
) -> bool:
    """Seal one anew, unless it is another by now. False if it cannot be opened."""
    place = each.place(*key)
    try:
        sealed = vault.seal(vault.open(text, place, secret=False), place)
    except VaultError:
        return False
    same = [column == value for column, value in zip(each.key, key, strict=True)]
    made = update(each.table).where(*same, each.column == text)
    await connection.execute(made.values({each.column.name: sealed}))
    return True


def _tuple(each: Sealed, key: tuple[Any, ...]) -> ColumnElement[Any]:
    return tuple_(*(literal(value, column.type) for column, value in zip(each.key, key, strict=True)))
