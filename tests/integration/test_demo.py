"""The demo as a newcomer runs it: one command in an empty folder, and Ctrl-C."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from events.envelope import STREAM
from store.database import Database
from tests.chaos.servers import free_port
from tests.tidegates import ROOT, left_of
from tidegate.redis_server import socket_of

pytestmark = pytest.mark.timeout(240)

HEALTHY = "All connections are healthy"
#: The build that runs while the first sync reads it.
BUILD = "harbour/lock-gate#1@%"


class Demo:
    """A running demo. `out` is what it has shown so far."""

    def __init__(self, folder: Path, child: asyncio.subprocess.Process) -> None:
        self.data_dir = folder / ".demo"
        self.child = child
        self.out = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.child.stdout is not None
        while line := await self.child.stdout.readline():
            self.out += line.decode()

    async def ended(self, within: float) -> int:
        async with asyncio.timeout(within):
            code = await self.child.wait()
            await self._reading
        return code

    async def shows(self, words: str, within: float) -> None:
        async with asyncio.timeout(within):
            while words not in self.out:
                assert self.child.returncode is None, self.out
                await asyncio.sleep(0.05)


@asynccontextmanager
async def demo(folder: Path, *arguments: str, port: int | None = None) -> AsyncIterator[Demo]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate", "demo", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Only the port is said, as another demo may run on this machine.
        env={**plain, "PYTHONPATH": str(ROOT), "TIDEGATE_PORT": str(port or free_port())},
        cwd=folder,
    )
    running = Demo(folder, child)
    try:
        yield running
    finally:
        if child.returncode is None:
            child.terminate()
            await running.ended(20)


async def build(data_dir: Path) -> tuple[bool, str | None] | None:
    """Whether the build runs, and its result, as the copy has it; None before it is there."""
    database = Database(f"sqlite+aiosqlite:///{data_dir}/tidegate.db")
    query = text("SELECT building, result FROM jenkins_builds WHERE key LIKE :key")
    try:
        async with database.read() as connection:
            row = (await connection.execute(query, {"key": BUILD})).first()
            return None if row is None else (bool(row.building), row.result)
    finally:
        await database.close()


async def events(data_dir: Path) -> int:
    async with Redis.from_url(f"unix://{socket_of(data_dir)}") as redis:
        return int(await redis.xlen(STREAM))


async def test_all_of_it_is_healthy_within_60_seconds_and_it_ends_leaving_nothing(tmp_path: Path) -> None:
    async with demo(tmp_path, "--until-healthy") as shown:
        assert await shown.ended(within=80) == 0
    assert HEALTHY in shown.out
    seconds = float(shown.out.partition(f"{HEALTHY} after ")[2].partition(" s")[0])
    assert seconds < 60
    assert left_of(shown.data_dir) == []


async def test_it_does_not_take_another_server_for_its_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with demo(tmp_path, port=taken.getsockname()[1]) as shown:
            assert await shown.ended(within=60) == 1
    assert "TIDEGATE_PORT" in shown.out
    assert "Traceback" not in shown.out


async def test_a_limit_is_waited_out_and_an_expired_token_is_renewed_without_anyone(tmp_path: Path) -> None:
    async with demo(tmp_path) as shown:
        await shown.shows(HEALTHY, within=80)
        await shown.shows("healthy -> rate_limited", within=60)
        await shown.shows("rate_limited -> healthy", within=90)
        await shown.shows("healthy -> failed: auth", within=60)
        await shown.shows("Nothing was lost", within=60)


async def test_it_lives_until_ctrl_c_and_can_be_started_again(tmp_path: Path) -> None:
    async with demo(tmp_path) as shown:
        await shown.shows(HEALTHY, within=80)
        # It runs, unless this machine was so slow that it has ended meanwhile.
        assert await build(shown.data_dir) in [(True, None), (False, "SUCCESS")]
        told = await events(shown.data_dir)
        assert told > 0
        async with asyncio.timeout(60):
            while await build(shown.data_dir) != (False, "SUCCESS"):  # noqa: ASYNC110 - as seen from outside
                await asyncio.sleep(0.3)
        assert await events(shown.data_dir) > told
        await shown.shows("ms later, by webhook", within=20)
        shown.child.send_signal(signal.SIGINT)
        assert await shown.ended(within=20) == 0
    assert left_of(shown.data_dir) == []
    async with demo(tmp_path, "--until-healthy") as again:
        assert await again.ended(within=80) == 0
    assert left_of(shown.data_dir) == []
