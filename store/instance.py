"""Facts about this installation that every process must agree on."""

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import instance

VAULT = "vault"


async def settle(connection: AsyncConnection, name: str, value: str) -> str:
    """Keep `value` as the fact `name` unless there is one already; what it is now."""
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    await connection.execute(upsert(instance).values(name=name, value=value).on_conflict_do_nothing())
    query = select(instance.c.value).where(instance.c.name == name)
    return str((await connection.execute(query)).scalar_one())


async def get(connection: AsyncConnection, name: str) -> str | None:
    found = (await connection.execute(select(instance.c.value).where(instance.c.name == name))).scalar()
    return None if found is None else str(found)


async def change(connection: AsyncConnection, name: str, value: str) -> None:
    await connection.execute(update(instance).where(instance.c.name == name).values(value=value))
