"""Servers that a test may stop and restart: a Redis without persistence, and a PostgreSQL of its own."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

START_SECONDS = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnRedis:
    """A `redis-server` that forgets everything when it ends."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self._folder = folder
        self._password = password
        self._port = free_port()
        self._child: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        account = f":{self._password}@" if self._password else ""
        return f"redis://{account}127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Return when it answers."""
        self._child = await asyncio.create_subprocess_exec(
            *("redis-server", "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            *(("--requirepass", self._password) if self._password else ()),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_SECONDS), Redis.from_url(self.url) as client:
            while True:
                try:
                    await client.ping()
                    return
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            await self._child.wait()
            self._child = None


class OwnPostgres:
    """A cluster of its own, run by somebody other than root, as PostgreSQL demands."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self._folder = folder
        self._data = folder / "data"
        self._port = free_port()
        self._bin = _postgres_programs()
        # Root may not run a server; the owner of nothing may.
        self._user = "nobody" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://tidegate@127.0.0.1:{self._port}/postgres"

    async def make(self) -> None:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        made = ("--username", "tidegate", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--no-locale")
        await self._run("initdb", "--pgdata", str(self._data), *made)

    async def start(self) -> None:
        flags = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=100"
        await self._control("start", "--options", flags, "--log", str(self._folder / "log"))

    async def restart_as_after_a_crash(self) -> None:
        """No session is ended in order; the write-ahead log is replayed."""
        await self._control("restart", "--mode", "immediate", "--log", str(self._folder / "log"))

    async def stop(self) -> None:
        await self._control("stop", "--mode", "immediate")

    async def _control(self, *arguments: str) -> None:
        await self._run("pg_ctl", "--wait", "--pgdata", str(self._data), *arguments)

    async def _run(self, program: str, *arguments: str) -> None:
        group = pwd.getpwnam(self._user).pw_gid if self._user else None
        child = await asyncio.create_subprocess_exec(
            *(str(self._bin / program), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            user=self._user,
            group=group,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
        )
        code = await child.wait()
        assert code == 0, f"{program} {' '.join(arguments)} ended with {code}"


@asynccontextmanager
async def own_redis(folder: Path, password: str | None = None) -> AsyncIterator[OwnRedis]:
    server = OwnRedis(folder, password)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def own_postgres() -> AsyncIterator[OwnPostgres]:
    """In a folder that other users can reach: those of the tests are closed to them."""
    with tempfile.TemporaryDirectory(prefix="tidegate-postgres-") as name:
        server = OwnPostgres(Path(name))
        await server.make()
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


def _postgres_programs() -> Path:
    """Where `initdb` is: Debian keeps it off the PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    stated = (
        subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        if shutil.which("pg_config")
        else None
    )
    if stated is not None and (Path(stated.stdout.strip()) / "initdb").exists():
        return Path(stated.stdout.strip())
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert known, "PostgreSQL's initdb is not found"
    return known[-1].parent
