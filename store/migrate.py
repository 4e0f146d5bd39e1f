"""Bringing the database to the shape that this version needs."""

from importlib import import_module

from sqlalchemy import column, insert, inspect, select, table, text
from sqlalchemy.engine import Connection

from store.database import Database
from store.outbox import DUTIES
from store.schema import duties
from store.streams import StreamTables

#: The newest migration, which is what this version needs.
HEAD = "0006"

_VERSIONS = table("alembic_version", column("version_num"))
# An arbitrary number that all processes share: one at a time migrates on PostgreSQL.
_MIGRATING = 7_420_000


async def migrate(database: Database, tables: StreamTables) -> None:
    """Make or upgrade all tables and views. Safe to run by several processes at once."""
    if not database.is_sqlite:
        async with database.write() as connection:
            # Two processes that make the same schema at once would collide in the catalogue.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
            await connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{database.schema}"')
    if not await is_current(database):
        async with database.rebuild() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
            await connection.run_sync(_upgrade)
    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
        there = (await connection.execute(select(duties.c.name))).scalars().all()
        missing = [{"name": name} for name in DUTIES if name not in there]
        if missing:
            await connection.execute(insert(duties), missing)
    await tables.ensure(database)


async def is_current(database: Database) -> bool:
    """Whether the database has the shape that this version needs."""
    async with database.read() as connection:
        return await connection.run_sync(_current)


def _upgrade(connection: Connection) -> None:
    # Most starts find nothing to do; Alembic is then not even imported, which costs memory and time.
    if not _current(connection):
        import_module("store.upgrade").upgrade(connection)


def _current(connection: Connection) -> bool:
    if not inspect(connection).has_table(_VERSIONS.name):
        return False
    return list(connection.execute(select(_VERSIONS.c.version_num)).scalars()) == [HEAD]
