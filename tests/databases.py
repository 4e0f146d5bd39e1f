"""What tests do to databases that Tidegate itself never does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, column, table

from store.database import Database
from store.migrate import HEAD
from store.outgoing import metadata

_VERSIONS = table("alembic_version", column("version_num"))


async def make_tables(database: Database) -> None:
    """What the migrations come to, in a tenth of their time."""

    def make(connection: Connection) -> None:
        metadata.create_all(connection, checkfirst=False)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute(_VERSIONS.insert().values(version_num=HEAD))

    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.exec_driver_sql(f'CREATE SCHEMA "{database.schema}"')
        await connection.run_sync(make)


@asynccontextmanager
async def sqlite_in(folder: Path) -> AsyncIterator[Database]:
    """A database of one's own, for tests that need many."""
    database = Database(f"sqlite+aiosqlite:///{folder}/tidegate.db")
    try:
        await make_tables(database)
        yield database
    finally:
        await database.close()


async def drop_schema(database: Database, schema: str) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
