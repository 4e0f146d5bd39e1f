"""Many connections and many records: what is answered costs what is asked for, not what there is.

Costs are processor time and memory of the process that answers; the time on the wall is the machine's.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.tree import ROOT

pytestmark = pytest.mark.timeout(240)

MEBIBYTE = 1024 * 1024


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


def series(database: Database, first: int, last: int) -> tuple[str, str]:
    """What comes before and after SELECT, so that it has these numbers as `n`."""
    if database.is_sqlite:
        rows = f"SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}"
        return f"WITH RECURSIVE s(n) AS ({rows}) ", "FROM s"
    return "", f"FROM generate_series({first}, {last}) AS s(n)"


async def fill_connections(database: Database, first: int, last: int) -> None:
    before, after = series(database, first, last)
    at = "'2030-01-02T03:04:05.000Z'"
    columns = (
        "name, system, url, canonical, frequency, timezone, params, enabled, callback_token, created_at,"
        " updated_at, health, since, next_due_at, last_success_at"
    )
    values = (
        f"'connection ' || n, 'shelf', 'shelf.example/3', 'shelf.example/3', 'hourly', 'UTC', '{{\"a\": 1}}',"
        f" true, 'token ' || n, {at}, {at}, 'healthy', {at}, {at}, {at}"
    )
    async with database.write() as connection:
        await connection.exec_driver_sql(
            f"INSERT INTO connections ({columns}) {before}SELECT {values} {after}"
        )
        await connection.exec_driver_sql("ANALYZE connections")


async def cost(api: Api, path: str, times: int = 15) -> float:
    """Processor seconds of the middle one of some requests, of asking and of answering together."""
    costs = []
    for _ in range(times):
        began = time.process_time()
        async with api.http.get(api.url + path) as answer:
            assert answer.status == 200
            assert len(await answer.read()) > 50_000
        costs.append(time.process_time() - began)
    return sorted(costs)[times // 2]


async def test_a_thousand_connections_are_listed_in_less_than_50_ms(api: Api) -> None:
    await fill_connections(api.context.database, 1, 1000)
    assert await cost(api, "/v1/connections?limit=1000") < 0.05


async def test_the_first_page_of_a_hundred_thousand_costs_no_more_than_that_of_a_thousand(api: Api) -> None:
    database = api.context.database
    await fill_connections(database, 1, 1000)
    few = await cost(api, "/v1/connections")
    await fill_connections(database, 1001, 100_000)
    many = await cost(api, "/v1/connections")
    assert many < max(2 * few, 0.02)


SERVER = """
import asyncio, sys
from store.database import Database
from tests.api_server import serving_api

async def main():
    database = Database(*sys.argv[1:])
    async with serving_api(database) as api:
        print(api.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await database.close()

asyncio.run(main())
"""


@asynccontextmanager
async def process_serving(database: Database) -> AsyncIterator[tuple[str, int]]:
    """The API over a database in a process of its own: its URL and process id."""
    url = database.engine.url.render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        url,
        database.schema,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    yield (await process.stdout.readline()).decode().strip(), process.pid
    process.stdin.close()
    assert await process.wait() == 0


async def fill_records(api: Api, connection_id: int, count: int) -> None:
    before, after = series(api.context.database, 1, count)
    at = "'2030-01-02T03:04:05.000Z'"
    body = f'\'{{"text": "{"x" * 400}", "n": \' || n || \'}}\''
    hashed = "x'00'" if api.context.database.is_sqlite else "'\\x00'::bytea"
    as_json = body if api.context.database.is_sqlite else f"({body})::json"
    table = api.context.tables.get("shelf", "books").table.name
    columns = "connection_id, key, observed_at, stored_at, hash, change, look_again_step, body"
    values = f"{connection_id}, 'b' || n, {at}, {at}, {hashed}, n, 0, {as_json}"
    async with api.context.database.write() as connection:
        await connection.exec_driver_sql(f"INSERT INTO {table} ({columns}) {before}SELECT {values} {after}")


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("query", "records"), [("stream=books", 200_000), ("changed_after=0", 80_000)])
async def test_two_hundred_thousand_records_stream_out_with_flat_memory(
    api: Api, query: str, records: int
) -> None:
    made = await api.shelf()
    await fill_records(api, made["id"], records)
    async with process_serving(api.context.database) as (url, pid), aiohttp.ClientSession() as http:
        path = f"{url}/v1/connections/{made['id']}/records?{query}"
        headers = {"X-API-Key": ADMIN_KEY, "Accept": "application/x-ndjson"}
        async with http.get(f"{path}&limit=1000", headers=headers) as warm:
            assert len((await warm.read()).splitlines()) == 1000
        before, most, lines, size = resident(pid), 0, 0, 0
        async with http.get(path, headers=headers) as answer:
            async for chunk in answer.content.iter_any():
                lines += chunk.count(b"\n")
                size += len(chunk)
                most = max(most, resident(pid))
    assert lines == records
    assert size > 38 * MEBIBYTE
    assert most - before < 16 * MEBIBYTE
