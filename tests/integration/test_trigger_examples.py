"""The examples of triggers, as they stand in the documentation, against a Redis that they reach."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.triggers import Triggers
from store.syncs import Sync, listed
from tests.api_server import Rope
from tests.chaos.servers import OwnRedis, own_redis
from tests.engine import connect
from tests.house import House
from worker.queue import connect as connect_redis

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

pytestmark = pytest.mark.redis_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with own_redis(tmp_path) as running:
        yield running


async def run(server: OwnRedis, *command: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "TIDEGATE_REDIS_URL": server.url}, stdout=asyncio.subprocess.DEVNULL
    )
    assert await child.wait() == 0


async def taken(house: House, server: OwnRedis) -> Sync:
    """The one sync that the trigger came to."""
    redis = connect_redis(server.url)
    triggers = Triggers(house.database, house.deps.tables, redis, Rope(), "test")
    await triggers.take(0.01)
    await triggers.take(0.01)
    await redis.aclose()
    async with house.database.read() as connection:
        [sync] = await listed(connection, None, 10)
    return sync


async def test_redis_cli_triggers_a_sync(engine: House, server: OwnRedis) -> None:
    made = await connect(engine, name="payments")
    await run(server, str(EXAMPLES / "trigger.sh"), "payments")
    sync = await taken(engine, server)
    assert (sync.connection_id, sync.trigger, sync.scope) == (made.id, "queue", "incremental")


async def test_python_triggers_a_sync_of_records(engine: House, server: OwnRedis) -> None:
    await connect(engine, name="payments")
    await run(server, sys.executable, str(EXAMPLES / "trigger.py"), "payments", "things", "a,1", "b")
    sync = await taken(engine, server)
    assert (sync.scope, sync.keys) == ("records", {"things": ["a,1", "b"]})


async def test_node_triggers_a_full_sync(engine: House, server: OwnRedis) -> None:
    await connect(engine, name="payments")
    await run(server, "node", str(EXAMPLES / "trigger.mjs"), "payments", "full")
    sync = await taken(engine, server)
    assert (sync.trigger, sync.scope) == ("queue", "full")
