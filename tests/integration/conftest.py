"""Fixtures of the integration tests."""

from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis

from store.database import Database
from tests.adapter_double import SYSTEM, Script, double
from tests.house import House, open_house
from tests.valkey import Valkey
from tidegate.demo.remotes.jira import JiraCloud
from worker.queue import connect


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with open_house(database) as made:
        yield made


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    """A Jira with an empty project; ana@example.com signs in with `token-1`."""
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", "token-1")
        remote.add_project("TG")
        yield remote


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
