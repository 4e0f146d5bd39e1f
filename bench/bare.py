"""The bare pipeline: fetch, split, hash, one transaction a page. No receipts, no events, no fence.

It asks for the next page before it works on this one, and writes in a thread: as quick as plain code gets.
"""

import asyncio
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import msgspec

from bench.remote import EMAIL, TOKEN

_INSERT = (
    "INSERT INTO issues VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
    "issue_key = excluded.issue_key, updated = excluded.updated, hash = excluded.hash, body = excluded.body"
)
_TABLE = "CREATE TABLE issues (id text PRIMARY KEY, issue_key text, updated text, hash {blob}, body {text})"

Row = tuple[str, str, str, bytes, str]


class _Fields(msgspec.Struct):
    updated: str


class _Issue(msgspec.Struct):
    id: str
    key: str
    fields: _Fields


class _Page(msgspec.Struct):
    issues: list[msgspec.Raw]
    nextPageToken: str | None = None  # noqa: N815 - Jira's name


_PAGE = msgspec.json.Decoder(_Page)
_ISSUE = msgspec.json.Decoder(_Issue)


class Sink(Protocol):
    """Where pages go, one transaction each."""

    async def write(self, rows: list[Row]) -> None: ...

    async def close(self) -> None: ...


class Nowhere:
    async def write(self, rows: list[Row]) -> None:
        """Fetching and hashing alone."""

    async def close(self) -> None:
        """Nothing to close."""


class Sqlite:
    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_TABLE.format(blob="blob", text="text"))

    async def write(self, rows: list[Row]) -> None:
        await asyncio.to_thread(self._write, rows)

    def _write(self, rows: list[Row]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(_INSERT, rows)
        self._database.execute("COMMIT")

    async def close(self) -> None:
        self._database.close()


class Postgres:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._insert = _INSERT
        for number in range(1, 6):
            self._insert = self._insert.replace("?", f"${number}", 1)

    @classmethod
    async def open(cls, url: str) -> "Postgres":
        connection = await asyncpg.connect(url)
        await connection.execute("DROP TABLE IF EXISTS issues")
        await connection.execute(_TABLE.format(blob="bytea", text="json COMPRESSION lz4"))
        return cls(connection)

    async def write(self, rows: list[Row]) -> None:
        async with self._connection.transaction():
            await self._connection.executemany(self._insert, rows)

    async def close(self) -> None:
        await self._connection.execute("DROP TABLE issues")
        await self._connection.close()


async def run(url: str, sink: Sink) -> int:
    """Read all issues of the filter into the sink. How many."""
    count = 0
    async for page in _pages(url):
        rows = [_row(raw) for raw in page.issues]
        await sink.write(rows)
        count += len(rows)
    return count


def _row(raw: msgspec.Raw) -> Row:
    body = bytes(raw)
    issue = _ISSUE.decode(raw)
    return issue.id, issue.key, issue.fields.updated, blake2b(body, digest_size=16).digest(), body.decode()


async def _pages(url: str) -> AsyncIterator[_Page]:
    parts = urlsplit(url)
    jql = f"filter = {parse_qs(parts.query)['filter'][0]} ORDER BY created ASC"
    endpoint = f"{parts.scheme}://{parts.netloc}/rest/api/3/search/jql"
    credential = b64encode(f"{EMAIL}:{TOKEN}".encode()).decode()
    headers = {"Authorization": f"Basic {credential}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(token: str | None) -> bytes:
            body = {"jql": jql, "maxResults": 100, "fields": ["*all"]} | (
                {"nextPageToken": token} if token else {}
            )
            async with session.post(endpoint, json=body) as answer:
                return await answer.read()

        asking: asyncio.Task[bytes] | None = asyncio.create_task(ask(None))
        while asking is not None:
            page = _PAGE.decode(await asking)
            asking = asyncio.create_task(ask(page.nextPageToken)) if page.nextPageToken else None
            await asyncio.sleep(0)
            yield page
