"""All that a database holds, as rows that fit either kind of database, and putting it into an empty one.

A dump is of one moment, whatever is written meanwhile. What belongs to running processes is left out.
"""

from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    LargeBinary,
    Table,
    Text,
    cast,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy import update as updated
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from store import instance as facts
from store.database import Database, UtcTime, clock
from store.outbox import RELAY
from store.outgoing import metadata
from store.schema import connections, credentials, duties, instance, processes, syncs
from store.streams import Body, StreamTables

Row = Sequence[Any]
BATCH = 500
#: Facts that each database finds for itself.
_OWN_FACTS = ("view %", facts.VAULT)
#: There before anything is: rows of these are put over those that are there.
_GIVEN = (instance, duties)


class DumpError(Exception):
    """It cannot be put here: the message says why."""


def tables_of(streams: StreamTables) -> Sequence[Table]:
    """What is dumped, in an order in which each stands after those that it refers to."""
    fixed = [table for table in metadata.sorted_tables if table is not processes]
    return [*fixed, *(stream.table for stream in streams.all())]


@asynccontextmanager
async def moment(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees the database as it is at its first statement, until its end."""
    if database.is_sqlite:
        async with database.read() as connection:
            yield connection
        return
    async with database.engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            await connection.execute(text("SET TRANSACTION READ ONLY"))
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield connection


async def rows(connection: AsyncConnection, table: Table) -> AsyncIterator[Sequence[Row]]:
    """All rows of a table, some at a time, by primary key."""
    key = list(table.primary_key)
    places = [list(table.columns).index(column) for column in key]
    query = select(*map(_readable, table.columns)).order_by(*key).limit(BATCH)
    for like in _OWN_FACTS if table is instance else ():
        query = query.where(instance.c.name.not_like(like))
    after: Sequence[Any] | None = None
    while True:
        some = query
        if after is not None:
            bounds = [literal(value, column.type) for value, column in zip(after, key, strict=True)]
            some = query.where(tuple_(*key) > tuple_(*bounds))
        found = [tuple(row) for row in await connection.execute(some)]
        if found:
            yield found
        if len(found) < BATCH:
            return
        after = [found[-1][place] for place in places]


async def count(connection: AsyncConnection, tables: Sequence[Table]) -> int:
    """How many rows all of them have."""
    found = 0
    for table in tables:
        found += (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return found


async def high_ids(connection: AsyncConnection, tables: Sequence[Table]) -> Mapping[str, int]:
    """The highest id that each table ever gave: those of rows that are gone are not given again."""
    if connection.dialect.name == "sqlite":
        found = await connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
        return {str(name): int(seq) for name, seq in found if name in {table.name for table in tables}}
    highest: dict[str, int] = {}
    for table in tables:
        if _counts(table):
            asked = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)")
            last = (await connection.execute(asked, {"name": table.name})).scalar()
            highest |= {} if last is None else {table.name: int(last)}
    return highest


async def strangers(connection: AsyncConnection, tables: Sequence[Table]) -> Sequence[str]:
    """Tables of records whose adapter is not installed here, so that nobody can read them."""
    known = {table.name for table in tables}

    def names(connection: Connection) -> Sequence[str]:
        return inspect(connection).get_table_names()

    there = await connection.run_sync(names)
    return [name for name in there if name.startswith("records_") and name not in known]


async def require_empty(connection: AsyncConnection, tables: Sequence[Table]) -> None:
    """Raises `DumpError` if anything was ever stored here, or somebody is at work here."""
    for table in (processes, *(table for table in tables if table not in _GIVEN)):
        if (await connection.execute(select(literal(1)).select_from(table).limit(1))).first() is not None:
            raise DumpError(
                "a Tidegate is running on this database: stop it first"
                if table is processes
                else f"this database is not empty, there is something in {table.name}: give an empty one"
            )


def reader(table: Table, names: Sequence[str]) -> Callable[[Row], dict[str, Any]]:
    """Makes of a row as it was written, with these columns, the values to be stored.

    Raises `DumpError` for a column that is not here.
    """
    missing = [name for name in names if name not in table.c]
    if missing:
        raise DumpError(f"{table.name} has no column {', '.join(missing)} here: install the same adapters")
    readers = [(name, _reading(table.c[name])) for name in names]

    def read(row: Row) -> dict[str, Any]:
        return {
            name: None if value is None else read(value)
            for (name, read), value in zip(readers, row, strict=True)
        }

    return read


async def put(connection: AsyncConnection, table: Table, values: Sequence[dict[str, Any]]) -> None:
    """Store rows. Of facts and duties those of the dump count."""
    if table not in _GIVEN:
        await connection.execute(insert(table), values)
        return
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    (key,) = table.primary_key
    for row in values:
        made = upsert(table).values(row)
        await connection.execute(made.on_conflict_do_update(index_elements=[key.name], set_=row))


async def settle(
    connection: AsyncConnection, tables: Sequence[Table], highest: Mapping[str, int], fingerprint: str
) -> None:
    """Make a database of what was put here: nobody holds anything, and no number is given twice.

    Since the dump was made the old database may have given numbers that others know: positions of events and
    numbers of changes. They go on from the milliseconds since 1970, which no database reaches by counting.
    """
    await _count_on(connection, tables, highest)
    await connection.execute(updated(syncs).values(lease_owner=None, lease_until=None))
    await connection.execute(updated(credentials).values(renewing=None, renewing_until=None))
    await connection.execute(updated(duties).values(owner=None, lease_until=None))
    beyond = round((await clock(connection)).timestamp() * 1000)
    c = duties.c
    await connection.execute(
        updated(duties).where(c.name == RELAY, c.counter < beyond).values(counter=beyond)
    )
    of = connections.c.change_sequence
    await connection.execute(updated(connections).where(of < beyond).values(change_sequence=beyond))
    await facts.settle(connection, facts.VAULT, fingerprint)
    await facts.change(connection, facts.VAULT, fingerprint)


async def _count_on(connection: AsyncConnection, tables: Sequence[Table], highest: Mapping[str, int]) -> None:
    for name in (table.name for table in tables if _counts(table)):
        if name not in highest:
            continue
        values = {"name": name, "seq": highest[name]}
        if connection.dialect.name == "sqlite":
            await connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            await connection.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), values
            )
        else:
            await connection.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :seq)"), values)


def _counts(table: Table) -> bool:
    return bool(table.dialect_options["sqlite"]["autoincrement"])


def _readable(column: Column[Any]) -> Any:
    """A body as text: the driver would decode JSON, and what it was written like would be lost."""
    return cast(column, Text).label(column.name) if isinstance(column.type, Body) else column


def _reading(column: Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, UtcTime):
        return datetime.fromisoformat
    if isinstance(column.type, LargeBinary):
        return b64decode
    return _same


def _same(value: Any) -> Any:
    return value


def batches(found: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Some at a time."""
    some: list[dict[str, Any]] = []
    for one in found:
        some.append(one)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some
