"""Which servers the towns stand on: embedded ones always, others where they are given."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.marks import REDIS
from tests.chaos.servers import OwnRedis, own_redis
from tests.chaos.standing import town_on
from tests.chaos.town import Town
from tests.conftest import POSTGRES

NEEDS = {"postgres": POSTGRES, "redis_server": REDIS}


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
    """On what the town stands; tests that run on others say so with a mark."""
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
async def town(own: OwnRedis | None, tmp_path: Path) -> AsyncIterator[Town]:
    """An empty town: nothing is started yet but the remote."""
    async with town_on(tmp_path / "town", own) as made:
        yield made
