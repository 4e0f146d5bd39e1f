"""What a town stands on: SQLite and the embedded Redis, or PostgreSQL and a Redis of its own."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from store.database import Database
from tests.chaos.servers import OwnRedis
from tests.chaos.town import Town
from tests.conftest import POSTGRES
from tests.databases import drop_schema


@asynccontextmanager
async def town_on(
    folder: Path, redis: OwnRedis | None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Town]:
    """An empty town in a new folder: nothing is started yet but the remote. With a Redis of its own it is
    on the PostgreSQL of the tests, in a schema of its own."""
    more = dict(environ or {})
    if redis is None:
        async with town_in(Database(f"sqlite+aiosqlite:///{folder}/tidegate.db"), folder, more) as made:
            yield made
        return
    url, schema = os.environ[POSTGRES], f"t_{uuid4().hex}"
    database = Database(url.replace("postgresql://", "postgresql+asyncpg://", 1), schema)
    more |= {
        "TIDEGATE_DATABASE_URL": url,
        "TIDEGATE_DATABASE_SCHEMA": schema,
        "TIDEGATE_REDIS_URL": redis.url,
    }
    async with town_in(database, folder, more) as made:
        try:
            yield made
        finally:
            await made.end()
            await drop_schema(database, schema)


@asynccontextmanager
async def town_in(database: Database, folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Town]:
    try:
        async with Town(folder, environ, database) as made:
            yield made
    finally:
        await database.close()
