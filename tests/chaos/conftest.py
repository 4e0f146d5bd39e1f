"""Which servers the towns stand on: embedded ones always, others where they are given."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos.servers import OwnRedis, own_redis
from tests.chaos.standing import town_on
from tests.chaos.town import Town

SEED = "CHAOS_SEED"
#: A file to which what was measured is added, each line with the test's name.
FIGURES = "CHAOS_FIGURES"


def pytest_report_header() -> str:
    return f"{SEED}={_seed()}"


def _seed() -> int:
    return int(os.environ.get(SEED) or 1)


@pytest.fixture
def seed() -> int:
    """What all that is left to chance begins with: the same seed, the same faults."""
    return _seed()


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """What a long run has measured: printed when it has ended, however it ended, and kept in the file that
    CHAOS_FIGURES names."""
    lines: list[str] = []
    yield lines
    if path := os.environ.get(FIGURES):
        # Opened to append, so that tests that run beside each other can share it.
        with Path(path).open("a", encoding="utf-8") as kept:
            kept.write("".join(f"{request.node.nodeid}: {line}\n" for line in lines))
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        sys.stdout.write("".join(f"\n  {line}" for line in lines) + "\n")


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
