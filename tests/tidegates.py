"""Tidegate as its users run it: real processes of the command line, and what they leave behind."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0  # seconds; the machines of CI are slow
_URL = re.compile(r'"url": "(http://[^"]+)"')


class Ended(msgspec.Struct, frozen=True):
    """A command that has ended."""

    code: int
    out: str
    err: str


def environ(data_dir: Path, more: Mapping[str, str]) -> dict[str, str]:
    """No setting of the caller's; loopback allowed, any free port."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    ours = {
        "TIDEGATE_DATA_DIR": str(data_dir),
        "TIDEGATE_PORT": "0",
        "TIDEGATE_ALLOW_NETWORKS": "127.0.0.1/32",
        "PYTHONPATH": str(ROOT),
    }
    return {**plain, **ours, **more}


async def spawn(data_dir: Path, *args: str, **more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidegate",
        *args,
        env=environ(data_dir, more),
        cwd=data_dir.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(data_dir: Path, *args: str, **more: str) -> Ended:
    """Run a command to its end."""
    process = await spawn(data_dir, *args, **more)
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def left_of(data_dir: Path) -> list[str]:
    """The command lines of all processes that were started for a data folder and still run."""
    mark = f"TIDEGATE_DATA_DIR={data_dir}\0".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit():
                continue
            # The server overwrites its environment with its title, and works in its own folder.
            works_there = (folder / "cwd").readlink().is_relative_to(data_dir)
            if works_there or mark in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile
    return [line for line in found if line]


def redis_pid(data_dir: Path) -> int:
    return int((data_dir / "redis.pid").read_text())


async def until_left(data_dir: Path, count: int) -> None:
    """Wait until no more processes than so many run for a data folder."""
    async with asyncio.timeout(20):
        while len(left_of(data_dir)) > count:  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.05)


class Up:
    """A running process of a role. `err` is what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process, data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.err = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.err += line.decode()

    async def says(self, word: str, times: int = 1) -> None:
        """Wait until its log holds a word so many times."""
        async with asyncio.timeout(PATIENCE):
            while self.err.count(word) < times:
                if self.process.returncode is not None:
                    raise AssertionError(f"ended with {self.process.returncode}: {self.err}")
                await asyncio.sleep(0.02)

    @property
    def url(self) -> str:
        found = _URL.search(self.err)
        assert found is not None
        return found[1]

    def pids(self, event: str) -> list[int]:
        """The pids that a log event names, in order."""
        lines = (line for line in self.err.splitlines() if f'"event": "{event}"' in line)
        return [msgspec.json.decode(line)["pid"] for line in lines]

    @property
    def admin_key(self) -> str:
        return (self.data_dir / "admin.key").read_text().strip()

    async def ready(self) -> None:
        """Wait until `/readyz` says so."""
        await self.says("api.ready")
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{self.url}/readyz") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.05)

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer of the API."""
        headers = {"X-API-Key": self.admin_key}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.url + path, json=body) as response,
        ):
            assert response.status < 300, await response.text()
            return await response.json()

    async def synced(self, connection_id: int) -> Any:
        """Ask for a sync of a connection and wait for its end."""
        sync = await self.call("POST", f"/v1/connections/{connection_id}/sync", {})
        return await self.ended(sync["id"])

    async def ended(self, sync_id: int) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                sync = await self.call("GET", f"/v1/syncs/{sync_id}")
                if sync["finished_at"]:
                    return sync
                await asyncio.sleep(0.05)

    async def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Its exit code, within the time that is promised."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
        await self._reading
        return code

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running(data_dir: Path, role: str = "up", **more: str) -> AsyncIterator[Up]:
    """A role at work; ended in order unless the test did so."""
    up = Up(await spawn(data_dir, role, **more), data_dir)
    try:
        yield up
        await up.stop()
    finally:
        if up.process.returncode is None:
            await up.kill()
        up._reading.cancel()
