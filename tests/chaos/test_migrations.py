"""Newer shapes of the tables, with many rows of each and processes of before at work: nobody waits long.

The number of rows is set by CHAOS_ROWS.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import text

from store.database import Database
from store.migrate import HEAD, is_current, migrate
from store.streams import StreamTables
from store.upgrade import config_for
from tests.conftest import POSTGRES
from tests.databases import drop_schema
from tests.house import ADAPTERS

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.postgres, pytest.mark.timeout(1800)]

ROWS = int(os.environ.get("CHAOS_ROWS", "100000"))
CREDENTIALS = max(1, ROWS // 100)
LONGEST_SECONDS = 1.0
_TIME = "'2026-01-02T03:04:05Z'"
#: As the fourth version kept them.
FILLED = (
    "INSERT INTO credentials (id, name, system, kind, options, created_at, updated_at) "
    f"SELECT n, 'c' || n, 'jira', 'pat', '{{}}', {_TIME}, {_TIME} FROM generate_series(1, {CREDENTIALS}) n",
    "INSERT INTO connections (id, name, system, credential_id, url, canonical, frequency, timezone, params, "
    "enabled, callback_token, created_at, updated_at, health, since) "
    f"SELECT n, 'c' || n, 'jira', n % {CREDENTIALS} + 1, 'x', 'https://jira' || n % 300 || '.example/x', "
    f"'hourly', 'UTC', '{{}}', true, 't' || n, {_TIME}, {_TIME}, 'pending', {_TIME} "
    f"FROM generate_series(1, {ROWS}) n",
    "INSERT INTO syncs (id, connection_id, lane, trigger, scope, state, queued_at, run_at, finished_at, "
    "counters) SELECT n, n, 'bulk', 'api', 'full', 'succeeded', "
    f"{_TIME}, {_TIME}, {_TIME}, '{{}}' FROM generate_series(1, {ROWS}) n",
)
#: What processes of the version before do all the time.
WORK = {
    "connections": "UPDATE connections SET updated_at = clock_timestamp() WHERE id = 1",
    "syncs": "UPDATE syncs SET run_at = clock_timestamp() WHERE id = 1",
    "credentials": "UPDATE credentials SET updated_at = clock_timestamp() WHERE id = 1",
    "lists": "SELECT count(*) FROM connections WHERE id < 100",
}


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    schema = f"t_{uuid4().hex}"
    url = os.environ[POSTGRES].replace("postgresql://", "postgresql+asyncpg://", 1)
    made = Database(url, schema, idle_seconds=60)
    yield made
    await drop_schema(made, schema)
    await made.close()


async def as_of(database: Database, version: str) -> None:
    """The tables as that version had them, with rows in them."""
    async with database.write() as connection:
        await connection.exec_driver_sql(f'CREATE SCHEMA "{database.schema}"')
        await connection.run_sync(lambda made: command.upgrade(config_for(made), version))
        for statement in FILLED:
            await connection.exec_driver_sql(statement)
    async with database.write() as connection:
        await connection.exec_driver_sql("ANALYZE")


async def at_work(database: Database, statement: str, stop: asyncio.Event) -> float:
    """Do something again and again, as a running process does; the longest that it took."""
    longest = 0.0
    while not stop.is_set():
        began = time.monotonic()
        async with database.write() as connection:
            await connection.execute(text(statement))
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0.01)
    return longest


@pytest.mark.parametrize("version", ["0004", f"{int(HEAD) - 1:04}"])
async def test_nobody_waits_for_a_migration_for_more_than_a_second(
    database: Database, version: str, figures: list[str]
) -> None:
    await as_of(database, version)
    stop = asyncio.Event()
    working = {name: asyncio.create_task(at_work(database, one, stop)) for name, one in WORK.items()}
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await migrate(database, StreamTables(ADAPTERS.values()))
    took = time.monotonic() - began
    stop.set()
    waits: Mapping[str, float] = {name: await task for name, task in working.items()}
    assert await is_current(database)
    shown = ", ".join(f"{name} {wait:.2f} s" for name, wait in waits.items())
    figures.append(f"F44: {version} to {HEAD} with {ROWS} rows took {took:.1f} s; longest waits: {shown}")
    assert max(waits.values()) <= LONGEST_SECONDS
