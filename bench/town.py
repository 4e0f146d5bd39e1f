"""A whole Tidegate as its users run it: `tidegate up` in processes of its own, and a client beside it."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from redis.asyncio import Redis

from bench.remote import EMAIL, TOKEN
from events.envelope import STREAM
from tidegate.redis_server import socket_of

ADMIN_KEY = "the-administrator-of-the-bench"
POSTGRES = "TIDEGATE_TEST_POSTGRES"
START_SECONDS = 60


class Town:
    """Its API and its event stream."""

    def __init__(self, url: str, http: aiohttp.ClientSession, redis: Redis) -> None:
        self.url = url
        self.http = http
        self.redis = redis

    async def call(self, method: str, path: str, body: object = None) -> Any:
        async with self.http.request(method, self.url + path, json=body) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path} answered {answer.status}: {await answer.text()}")
            return await answer.json()

    async def connect(self, name: str, url: str, **values: object) -> Any:
        """A connection to a filter of the benchmark's Jira."""
        credential = {"name": name, "system": "jira", "kind": "basic", "username": EMAIL, "secret": TOKEN}
        made = await self.call("POST", "/v1/credentials", credential)
        common = {"name": name, "system": "jira", "url": url, "credential_id": made["id"]}
        return await self.call("POST", "/v1/connections", {"frequency": "manually", **common, **values})

    async def end(self) -> bytes:
        """Where the event stream ends now."""
        last = await self.redis.xrevrange(STREAM, count=1)
        return last[0][0] if last else b"0-0"

    async def events(self, after: bytes) -> AsyncIterator[Mapping[str, Any]]:
        """What is to be seen on the stream after a position, as it comes."""
        while True:
            answer = await self.redis.xread({STREAM: after}, block=1000, count=100)
            for _, entries in answer:
                for entry, fields in entries:
                    after = entry
                    yield msgspec.json.decode(fields[b"event"])

    async def ended(self, sync_id: int) -> Mapping[str, Any]:
        while True:
            sync: Mapping[str, Any] = await self.call("GET", f"/v1/syncs/{sync_id}")
            if sync["finished_at"]:
                return sync
            await asyncio.sleep(0.2)


@asynccontextmanager
async def open_town(kind: str, workers: int = 1) -> AsyncIterator[Town]:
    """`tidegate up` on an empty database of either kind, ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        port = _free_port()
        environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("TIDEGATE_")},
            "TIDEGATE_DATA_DIR": str(folder / "data"),
            "TIDEGATE_PORT": str(port),
            "TIDEGATE_ADMIN_KEY": ADMIN_KEY,
            "TIDEGATE_SECRET_KEY": "a key for benchmarks only",
            "TIDEGATE_ALLOW_NETWORKS": "127.0.0.1/32",
            "TIDEGATE_LOG_LEVEL": "warning",
            "TIDEGATE_WORKERS": str(workers),
        }
        async with _schema(kind, environ):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tidegate", "up"), env=environ, stdin=asyncio.subprocess.DEVNULL
            )
            try:
                async with _client(port, folder / "data") as town:
                    yield town
            finally:
                process.terminate()
                await process.wait()


@asynccontextmanager
async def _client(port: int, data: Path) -> AsyncIterator[Town]:
    url = f"http://127.0.0.1:{port}"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers={"X-API-Key": ADMIN_KEY}, connector=connector) as http:
        async with asyncio.timeout(START_SECONDS):
            while not await _ready(http, url):  # noqa: ASYNC110 - another process sets no event of ours
                await asyncio.sleep(0.1)
        redis = Redis.from_url(f"unix://{socket_of(data)}")
        try:
            yield Town(url, http, redis)
        finally:
            await redis.aclose()


async def _ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@asynccontextmanager
async def _schema(kind: str, environ: dict[str, str]) -> AsyncIterator[None]:
    """On PostgreSQL a schema of its own."""
    if kind == "sqlite":
        yield
        return
    import asyncpg  # noqa: PLC0415 - not needed for SQLite

    schema = f"bench_{uuid4().hex}"
    environ |= {"TIDEGATE_DATABASE_URL": os.environ[POSTGRES], "TIDEGATE_DATABASE_SCHEMA": schema}
    try:
        yield
    finally:
        connection = await asyncpg.connect(os.environ[POSTGRES])
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        await connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
