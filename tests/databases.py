"""What tests do to databases that Tidegate itself never does."""

from store.database import Database


async def drop_schema(database: Database, schema: str) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
