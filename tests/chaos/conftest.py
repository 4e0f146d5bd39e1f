"""Which servers the towns stand on: embedded ones always, others where they are given."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from store.database import Database
from tests.chaos.servers import OwnRedis, own_redis
from tests.chaos.town import Town
from tests.conftest import POSTGRES
from tests.databases import drop_schema

REDIS = "TIDEGATE_TEST_REDIS"
NEEDS = {"postgres": POSTGRES, "redis_server": REDIS}

Found = Callable[..., Awaitable[Town]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs a server that is not given is left out; the summary names it."""
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(mark) and not os.environ.get(name) for mark, name in NEEDS.items())
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def servers_kind() -> str:
    """On what the town stands; tests choose others by `on`."""
    return "embedded"


@pytest.fixture
async def own(servers_kind: str, tmp_path: Path) -> AsyncIterator[OwnRedis | None]:
    """The separate Redis of the town, if it has one."""
    if servers_kind == "embedded":
        yield None
        return
    async with own_redis(tmp_path) as server:
        yield server


@pytest.fixture
async def town(servers_kind: str, own: OwnRedis | None, tmp_path: Path) -> AsyncIterator[Town]:
    """An empty town: nothing is started yet but the remote."""
    folder = tmp_path / "town"
    folder.mkdir()
    if own is None:
        async with Town(folder, {}, Database(f"sqlite+aiosqlite:///{folder}/tidegate.db")) as made:
            yield made
        await made.database.close()
        return
    url, schema = os.environ[POSTGRES], f"t_{uuid4().hex}"
    database = Database(url.replace("postgresql://", "postgresql+asyncpg://", 1), schema)
    settings = {
        "TIDEGATE_DATABASE_URL": url,
        "TIDEGATE_DATABASE_SCHEMA": schema,
        "TIDEGATE_REDIS_URL": own.url,
    }
    async with Town(folder, settings, database) as made:
        yield made
    await drop_schema(database, schema)
    await database.close()
