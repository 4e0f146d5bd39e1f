"""The page with 5,000 connections, and with 50 people looking at it."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import StreamReader
from sqlalchemy import insert

from store import connections, outbox
from store.database import Database
from store.outbox import RELAY
from store.schema import connections as table
from store.schema import syncs as syncs_table
from tests.api_server import Api
from tests.chromium import chromium, window
from tests.databases import make_tables
from tests.page import browsing, serving_page

MANY = 5_000
#: Seconds; the goal is 1 s on a machine that does nothing else, which those of CI are not.
FIRST_PAINT = 2.0
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAILURE = {"kind": "auth", "message": "The remote does not know this token.", "hint": "Make a new one."}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/tidegate.db")
    await make_tables(database)
    async with serving_page(database) as served:
        await fill(served)
        yield served
    await database.close()


async def fill(api: Api) -> None:
    """So many connections with the syncs of their last day; every hundredth has failed."""
    async with api.context.database.write() as connection:
        rows = [row(number) for number in range(1, MANY + 1)]
        await connection.execute(insert(table), rows)
        syncs = [sync(number, i) for number in range(1, MANY + 1) for i in range(24)]
        await connection.execute(insert(syncs_table), syncs)


def row(number: int) -> dict[str, object]:
    failed = number % 100 == 0
    return {
        "id": number,
        "name": f"Team {number % 97} board {number}",
        "system": "shelf",
        "url": f"shelf.example/{number}",
        "canonical": f"https://shelf.example/{number}",
        "frequency": "hourly",
        "timezone": "UTC",
        "params": {},
        "enabled": True,
        "callback_token": f"token-{number}",
        "created_at": BEGAN,
        "updated_at": BEGAN,
        "since": BEGAN,
        "health": "failed" if failed else "healthy",
        "cause": "auth" if failed else None,
        "failure": FAILURE if failed else None,
        "last_success_at": BEGAN,
        "next_due_at": BEGAN + timedelta(hours=1),
    }


def sync(number: int, i: int) -> dict[str, object]:
    at = BEGAN + timedelta(hours=i)
    return {
        "connection_id": number,
        "lane": "bulk",
        "trigger": "schedule",
        "scope": "incremental",
        "state": "failed" if (number + i) % 29 == 0 else "succeeded",
        "queued_at": at,
        "started_at": at,
        "finished_at": at + timedelta(seconds=1 + (number * i) % 90),
        "run_at": at,
        "counters": {},
    }


async def happen(api: Api, connection_id: int, failure: object) -> None:
    """The health of a connection changes, and its event is published."""
    async with api.context.database.write() as connection:
        await connections.locked(connection, connection_id)
        await connections.change(connection, connection_id, BEGAN + timedelta(days=1), {"failure": failure})
        fence = await outbox.take_duty(connection, RELAY, "test", 60)
        assert fence is not None
        await outbox.give_positions(connection, fence)


async def test_the_overview_of_five_thousand_is_sent_within_a_second(api: Api) -> None:
    async with browsing(api) as browser:
        await browser.get("/")  # what is read once, is read
        began = time.perf_counter()
        shown = await browser.get("/")
        took = time.perf_counter() - began
        assert shown.text.count("data-id=") == 100
        assert shown.text.index("Team 3 board 100") < shown.text.index("Healthy</b>")
        assert took < 1.0, took
        for query in (
            "q=board+4999",
            "sort=name&page=50",
            "group=system&sort=last_success",
            "show=attention",
        ):
            began = time.perf_counter()
            assert (await browser.get(f"/?{query}")).status == 200
            assert time.perf_counter() - began < 1.0, query


async def test_fifty_people_looking_cost_no_memory_that_grows(api: Api) -> None:
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(browsing(api))
        position = 0
        readers = []
        for _ in range(50):
            answer = await stack.enter_async_context(
                browser.http.get(f"{api.url}/ui/events?after={position}", timeout=None)
            )
            readers.append(asyncio.create_task(count(answer.content)))
        await burst(api, 50)
        tracemalloc.start()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await burst(api, 150)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        assert after - before < 4 * 2**20, f"{(after - before) / 2**20:.1f} MiB more"


async def count(content: StreamReader) -> None:
    async for _ in content:
        pass


async def burst(api: Api, events: int) -> None:
    for i in range(events):
        await happen(api, 1 + i % 7, FAILURE if (i // 7) % 2 == 0 else None)
    await asyncio.sleep(0.5)


@pytest.mark.browser
async def test_five_thousand_are_painted_at_once_and_an_event_moves_its_row_at_once(api: Api) -> None:
    async with chromium() as browser, window(browser, api.url) as seen:
        page = await seen.sign_in("the key of the tests")
        await page.reload()
        paint = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        painted = await (await page.wait_for_function(paint)).json_value() / 1000
        assert painted < FIRST_PAINT
        await page.wait_for_selector("body[data-line='open']")
        await page.wait_for_selector(".row[data-id='100']")
        last = page.locator(".row.r-failed").last
        number = 5  # healthy, and far below the first screen
        watch = f"""() => new Promise((done) => new MutationObserver(() => {{
            const row = document.querySelector(".row[data-id='{number}']");
            if (row?.matches(".r-failed")) done(performance.timeOrigin + performance.now());
        }}).observe(document.getElementById("rows"), {{ childList: true, subtree: true }}))"""
        assert await last.count() == 1
        times = []
        for _ in range(5):
            watching = asyncio.create_task(page.evaluate(watch))
            await asyncio.sleep(0.3)
            await happen(api, number, FAILURE)
            published = time.time() * 1000
            times.append(await watching - published)
            await happen(api, number, None)
            await page.wait_for_selector(f".row[data-id='{number}'].r-failed", state="detached")
        assert sorted(times)[2] < 300, times
        seen.clean()
