"""Bringing the database to the shape that this version needs."""

import asyncio
from importlib import import_module

import structlog
from sqlalchemy import column, insert, inspect, select, table, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import Database
from store.outbox import DUTIES
from store.schema import duties
from store.streams import StreamTables

log = structlog.get_logger()

#: The newest migration, which is what this version needs.
HEAD = "0006"

_VERSIONS = table("alembic_version", column("version_num"))
# An arbitrary number that all processes share: one at a time migrates on PostgreSQL.
_MIGRATING = 7_420_000
#: How long a migration waits for a table that others work on, how often it tries, and after which pause.
_LOCK_MS, _TRIES, _PAUSE_SECONDS = 1000, 120, 0.5
_LOCK_NOT_AVAILABLE = "55P03"


class MisfitError(Exception):
    """The database has a shape that this version cannot work on: which, and what to do."""


async def migrate(database: Database, tables: StreamTables) -> None:
    """Make or upgrade all tables and views. Safe to run by several processes at once, and while others work.

    Raises `MisfitError`, and changes nothing, where a newer version did so before.
    """
    if (wrong := misfit(await shape(database))) is not None:
        raise MisfitError(wrong)
    if not database.is_sqlite:
        async with database.write() as connection:
            # Two processes that make the same schema at once would collide in the catalogue.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
            await connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{database.schema}"')
    if not await is_current(database):
        await _upgraded(database)
    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
        there = (await connection.execute(select(duties.c.name))).scalars().all()
        missing = [{"name": name} for name in DUTIES if name not in there]
        if missing:
            await connection.execute(insert(duties), missing)
    await tables.ensure(database)


async def _upgraded(database: Database) -> None:
    """Upgrade in one transaction. Who waits for a lock holds up all that follow, so each wait is short."""
    for tries_left in reversed(range(_TRIES)):
        try:
            async with database.rebuild() as connection:
                if not database.is_sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
                    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                await connection.run_sync(_upgrade)
            return
        except DBAPIError as e:
            if getattr(e.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or not tries_left:
                raise
            log.info("migrate.busy", again_in=_PAUSE_SECONDS)
        await asyncio.sleep(_PAUSE_SECONDS)


async def is_current(database: Database) -> bool:
    """Whether the database has the shape that this version needs."""
    return await shape(database) == HEAD


async def shape(database: Database) -> str | None:
    """The newest migration that the database has seen; None for one without tables."""
    async with database.read() as connection:
        return await connection.run_sync(_shape)


async def shape_seen(connection: AsyncConnection) -> str | None:
    """The same of a database that has tables, at the cost of one small query."""
    return (await connection.execute(select(_VERSIONS.c.version_num))).scalar()


def misfit(there: str | None, *, may_migrate: bool = True) -> str | None:
    """What keeps this version from working on a database of such a shape, and what to do; None for nothing.

    `may_migrate`: an older one is brought to the right shape.
    """
    if there is not None and there > HEAD:
        return (
            f"The tables are of a newer Tidegate (shape {there}, this version knows {HEAD}). "
            "Start that version here, too, or put the backup of before its start back."
        )
    if there == HEAD or may_migrate:
        return None
    seen = f"The tables have the shape {there}" if there else "There are no tables yet"
    return f"{seen}, and this version needs {HEAD}. Run `tidegate migrate` of this version."


def _upgrade(connection: Connection) -> None:
    # Most starts find nothing to do; Alembic is then not even imported, which costs memory and time.
    if _shape(connection) != HEAD:
        import_module("store.upgrade").upgrade(connection)


def _shape(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.execute(select(_VERSIONS.c.version_num)).scalar()
