"""What tests do to databases that Tidegate itself never does."""

from sqlalchemy import Connection, column, table

from store.database import Database
from store.migrate import HEAD
from store.schema import metadata

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


async def drop_schema(database: Database, schema: str) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
