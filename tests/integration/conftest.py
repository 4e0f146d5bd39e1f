"""Fixtures of the integration tests."""

from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis

from store.database import Database
from tests.adapter_double import SYSTEM, Script, double
from tests.house import House, open_house
from tests.valkey import Valkey
from worker.queue import connect


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with open_house(database) as made:
        yield made


@pytest.fixture
def script() -> Script:
    """What the remote of `engine` does."""
    return Script()


@pytest.fixture
async def engine(database: Database, script: Script) -> AsyncIterator[House]:
    """A house whose one adapter follows a script."""
    async with open_house(database, {SYSTEM: double(script)}) as made:
        yield made


@pytest.fixture
async def valkey() -> AsyncIterator[Valkey]:
    """A running Redis server that nobody else uses."""
    server = Valkey()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[ArqRedis]:
    """A client as Tidegate's processes have."""
    client = connect(valkey.url)
    yield client
    await client.aclose()
