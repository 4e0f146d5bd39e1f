"""Where the roles of Tidegate run apart: a database of either kind, a Redis, and watched processes."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from bench.still import Still
from config.secret import Secret
from config.vault import Vault
from store.database import Database
from store.migrate import migrate
from store.streams import StreamTables
from tidegate.redis_server import RedisServer
from tidegate.registry import adapters

POSTGRES = "TIDEGATE_TEST_POSTGRES"
SECRET_KEY = "a key for benchmarks only"
WORKER = ("-m", "tidegate", "worker")
SCHEDULER = ("-m", "tidegate", "scheduler")
STILL_WORKER = ("-m", "bench.still")
END_SECONDS = 20
_TICKS = os.sysconf("SC_CLK_TCK")


def kinds() -> list[str]:
    """The databases that can be measured here."""
    return ["sqlite", *(["postgres"] if os.environ.get(POSTGRES) else [])]


class Spent(NamedTuple):
    """What a process came to: seconds of a core, and MB of memory now."""

    cpu: float
    resident: float


class Role:
    """A process of Tidegate."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    def spent(self) -> Spent:
        """As Linux counts it."""
        proc = Path(f"/proc/{self._child.pid}")
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        pages = int((proc / "statm").read_text().split()[1])
        return Spent((int(fields[11]) + int(fields[12])) / _TICKS, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    async def end(self) -> None:
        if self._child.returncode is None:
            self._child.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await self._child.wait()


class Stage:
    """An empty, migrated database and a Redis, with the settings that lead to them."""

    def __init__(self, database: Database, redis_url: str, environ: Mapping[str, str]) -> None:
        self.database = database
        self.redis_url = redis_url
        self.environ = environ
        self.vault = Vault([Secret(SECRET_KEY)])

    @asynccontextmanager
    async def role(self, command: tuple[str, ...], **settings: str) -> AsyncIterator[Role]:
        """One more process, until the end of the context."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, *command, env={**self.environ, **settings}, stdin=asyncio.subprocess.DEVNULL
        )
        role = Role(child)
        try:
            yield role
        finally:
            await role.end()


@asynccontextmanager
async def open_stage(kind: str) -> AsyncIterator[Stage]:
    """A stage on a database of this kind, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        tables = StreamTables([*adapters().values(), Still])
        async with RedisServer(folder) as redis, _database(kind, folder) as (database, environ):
            await migrate(database, tables)
            told = {
                **{name: text for name, text in os.environ.items() if not name.startswith("TIDEGATE_")},
                "TIDEGATE_DATA_DIR": name,
                "TIDEGATE_SECRET_KEY": SECRET_KEY,
                "TIDEGATE_REDIS_URL": redis.url,
                "TIDEGATE_ALLOW_NETWORKS": "127.0.0.1/32",
                "TIDEGATE_LOG_LEVEL": "warning",
                **environ,
            }
            yield Stage(database, redis.url, told)


@asynccontextmanager
async def _database(kind: str, folder: Path) -> AsyncIterator[tuple[Database, Mapping[str, str]]]:
    """The database, and the settings that name it."""
    if kind == "sqlite":
        database = Database(f"sqlite+aiosqlite:///{folder}/tidegate.db")
        yield database, {}
        await database.close()
        return
    schema, url = f"bench_{uuid4().hex}", os.environ[POSTGRES]
    database = Database(url.replace("postgresql://", "postgresql+asyncpg://", 1), schema, idle_seconds=600)
    try:
        yield database, {"TIDEGATE_DATABASE_URL": url, "TIDEGATE_DATABASE_SCHEMA": schema}
    finally:
        async with database.write() as connection:
            await connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        await database.close()
