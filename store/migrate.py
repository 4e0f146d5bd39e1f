"""Bringing the database to the shape that this version needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select, text
from sqlalchemy.engine import Connection

from store.database import Database
from store.outbox import RELAY
from store.schema import duties
from store.streams import StreamTables

# An arbitrary number that all processes share: one at a time migrates on PostgreSQL.
_MIGRATING = 7_420_000


async def migrate(database: Database, tables: StreamTables) -> None:
    """Make or upgrade all tables and views. Safe to run by several processes at once."""
    if not database.is_sqlite:
        async with database.write() as connection:
            # Two processes that make the same schema at once would collide in the catalogue.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
            await connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{database.schema}"')
    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
        await connection.run_sync(_upgrade)
        if (await connection.execute(select(duties.c.name).where(duties.c.name == RELAY))).first() is None:
            await connection.execute(insert(duties).values(name=RELAY))
    await tables.ensure(database)


async def is_current(database: Database) -> bool:
    """Whether the database has the shape that this version needs."""
    async with database.read() as connection:
        return await connection.run_sync(_current)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    # Most starts find nothing to do; Alembic's machinery is then not worth its time.
    if not _current(connection):
        command.upgrade(_config(connection), "head")


def _current(connection: Connection) -> bool:
    head = ScriptDirectory.from_config(_config(connection)).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head
