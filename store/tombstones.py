"""Tombstones: the mark and reason of records that are gone, and of what was embedded in them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec.json import encode
from sqlalchemy import Executable, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Family, Gone
from store.database import to_moment
from store.streams import StreamTable, StreamTables

#: Asked for at once; more parameters than that a statement may not have on every SQLite.
_AT_ONCE = 500


class When(msgspec.Struct, frozen=True):
    """Of which connection, as observed when (by the request's time), and written when."""

    connection_id: int
    observed_at: datetime
    now: datetime


class Buried(msgspec.Struct, frozen=True):
    """How many new tombstones there are by stream, and the connection's counter after them."""

    change: int
    counts: Mapping[str, int] = {}


async def bury(
    connection: AsyncConnection,
    tables: StreamTables,
    table: StreamTable,
    when: When,
    gone: Mapping[str, Gone],
    change: int,
) -> Buried:
    """Mark records as gone, each with its reason, and what is embedded in them with the same one.

    What is gone already stays as it is, and what was observed later than that is not gone.
    """
    marked = await _mark(connection, table, when, gone, change)
    change += len(marked)
    counts = {table.stream.name: len(marked)} if marked else {}
    for child in _embedded_in(tables, table):
        orphans = {
            key: gone[parent] for key, parent in await _children(connection, child, when, list(marked))
        }
        mourned = await _mark(connection, child, when, orphans, change)
        change += len(mourned)
        if mourned:
            counts[child.stream.name] = len(mourned)
    return Buried(change, counts)


async def count_buried(
    connection: AsyncConnection, table: StreamTable, connection_id: int, keys: Sequence[str]
) -> int:
    """How many of these have a tombstone."""
    c = table.table.c
    found = 0
    for start in range(0, len(keys), _AT_ONCE):
        query = select(func.count()).where(
            c.connection_id == connection_id,
            c.key.in_(keys[start : start + _AT_ONCE]),
            c.gone_at.is_not(None),
        )
        found += (await connection.execute(query)).scalar_one()
    return found


async def settle_families(
    connection: AsyncConnection,
    tables: StreamTables,
    system: str,
    when: When,
    families: Iterable[Family],
    change: int,
) -> Buried:
    """Mark what a completely read parent does not have any more."""
    counts: dict[str, int] = {}
    by_stream: dict[str, dict[str, set[str]]] = {}
    for family in families:
        by_stream.setdefault(family.stream, {}).setdefault(family.parent, set()).update(family.keys)
    for stream, parents in by_stream.items():
        table = tables.get(system, stream)
        there = await _children(connection, table, when, list(parents))
        lost: dict[str, Gone] = {key: "deleted" for key, parent in there if key not in parents[parent]}
        marked = await _mark(connection, table, when, lost, change)
        change += len(marked)
        if marked:
            counts[stream] = len(marked)
    return Buried(change, counts)


def _embedded_in(tables: StreamTables, table: StreamTable) -> list[StreamTable]:
    return [
        one
        for one in tables.of(table.system)
        if one.stream.embedded and one.stream.parent == table.stream.name
    ]


async def _children(
    connection: AsyncConnection, table: StreamTable, when: When, parents: Sequence[str]
) -> list[tuple[str, str]]:
    """Key and parent of what is alive of these parents. As one parameter: the statement stays the same."""
    name = table.table.name
    if connection.dialect.name == "sqlite":
        among, given = "? AND parent IN (SELECT value FROM json_each(?))", encode(list(parents)).decode()
        sql = f"SELECT key, parent FROM {name} WHERE connection_id = {among} AND gone_at IS NULL"  # noqa: S608 - the name is ours
        rows = await connection.exec_driver_sql(sql, (when.connection_id, given))
    else:
        among = "$1 AND parent = ANY($2::text[])"
        sql = f"SELECT key, parent FROM {name} WHERE connection_id = {among} AND gone_at IS NULL"  # noqa: S608 - as above
        rows = await connection.exec_driver_sql(sql, (when.connection_id, list(parents)))
    return [(row.key, row.parent) for row in rows]


async def _mark(
    connection: AsyncConnection, table: StreamTable, when: When, gone: Mapping[str, Gone], change: int
) -> list[str]:
    """Write the marks; the keys that were alive until now."""
    keys = [key for key in await _alive(connection, table, when, list(gone)) if key in gone]
    rows = [
        {
            "the_connection": when.connection_id,
            "the_key": key,
            "mark_reason": gone[key],
            "mark_at": when.now,
            "mark_seen": when.observed_at,
            "mark_number": number,
        }
        for number, key in enumerate(keys, change + 1)
    ]
    if rows:
        await connection.execute(_marking(table), rows)
    return keys


async def _alive(
    connection: AsyncConnection, table: StreamTable, when: When, keys: Sequence[str]
) -> list[str]:
    c = table.table.c
    found: list[str] = []
    for start in range(0, len(keys), _AT_ONCE):
        query = select(c.key, c.observed_at).where(
            c.connection_id == when.connection_id,
            c.key.in_(keys[start : start + _AT_ONCE]),
            c.gone_at.is_(None),
        )
        rows = await connection.execute(query)
        found += [key for key, observed in rows if to_moment(observed) <= when.observed_at]
    return sorted(found)


@lru_cache(maxsize=256)
def _marking(table: StreamTable) -> Executable:
    """The names of its parameters are none that an adapter's column could have."""
    c = table.table.c
    return (
        update(table.table)
        .where(c.connection_id == bindparam("the_connection"), c.key == bindparam("the_key"))
        .values(
            gone_reason=bindparam("mark_reason"),
            gone_at=bindparam("mark_at"),
            observed_at=bindparam("mark_seen"),
            change=bindparam("mark_number"),
            look_again_at=None,
        )
    )
