"""What a look at the metrics costs where there are many connections. Their number is CHAOS_SCRAPED."""

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Table, insert, text, update

from api.scrapes import Scrapes
from store.database import Database, clock
from store.schema import connections, duties, outbox, quarantine, syncs
from tests.api_server import serving_api

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.alone, pytest.mark.timeout(1800)]

SIZES = [int(size) for size in os.environ.get("CHAOS_SCRAPED", "5000,100000").split(",")]
#: Seconds for a scrape of 5,000 connections, of which a machine of its own takes a third; and of more, which
#: must be over before Prometheus gives up.
QUICK, AT_MOST = 0.75, 8.0
SCRAPES = 7
_STATUS = (
    '{"id":1,"connection_id":1,"lane":"bulk","trigger":"schedule","scope":"incremental","state":"%s",'
    '"resume_at":null,"counters":{"issues":{"read":9,"new":1,"changed":2,"unchanged":6,"deleted":0,'
    '"rejected":0}},"requests":3,"bytes":9000,"waited":12,"receipt":null,"error":null,'
    '"queued_at":"2026-01-02T03:04:05.000Z","started_at":"2026-01-02T03:04:05.000Z","finished_at":%s,"joined":0}'
)


async def fill(database: Database, size: int) -> None:
    """Connections of many frequencies, of each a sync that ended and of some one that has not, the events of
    the last seconds, and a quarantine.
    """
    async with database.read() as connection:
        at = await clock(connection)
    every = ("hourly", "daily", "every 15m", "daily at 02:30", "*/20 6-18 * * 1-5")
    made, ended, queued, running, held, told = [], [], [], [], [], []
    for n in range(1, size + 1):
        one = {"id": n, "name": f"c{n}", "system": "shelf", "url": "shelf.example/3", "canonical": f"c{n}"}
        one |= {"frequency": every[n % 5], "timezone": "UTC", "params": {}, "enabled": True}
        one |= {"callback_token": f"t{n}", "created_at": at, "updated_at": at, "since": at}
        one |= {"health": "failed" if n % 50 == 0 else "healthy", "cause": "auth" if n % 50 == 0 else None}
        made.append(one | {"last_success_at": at - timedelta(minutes=n % 300)})
        sync = {"connection_id": n, "lane": "bulk", "trigger": "schedule", "scope": "incremental"}
        sync |= {"queued_at": at, "run_at": at, "counters": {}}
        ended.append(sync | {"state": "succeeded", "finished_at": at})
        if n % 10 == 0:
            queued.append(sync | {"state": "queued"})
        if n % 25 == 0:
            work = {"state": "running", "lease_owner": "me", "lease_until": at + timedelta(hours=1)}
            counters = {"issues": {"read": 900, "new": 900}}
            running.append(sync | work | {"counters": counters, "requests": 9})
        if n % 5 == 0:
            row = {"connection_id": n, "stream": "books", "key": "1", "reason": "r", "body": "{}"}
            held.append(row | {"sync_id": 1, "at": at})
        data = _STATUS % (("succeeded", '"2026-01-02T03:04:09.000Z"') if n % 4 == 0 else ("running", "null"))
        event = {"connection_id": n, "sequence": 1, "uid": f"u{n}", "type": "status", "at": at}
        told.append(event | {"data": data, "position": n})
    tables: Sequence[tuple[Table, Sequence[dict[str, Any]]]] = (
        (connections, made),
        (syncs, ended),
        (syncs, queued),
        (syncs, running),
        (quarantine, held),
        (outbox, told[: 5 * 200]),  # of five seconds, which are not counted yet
    )
    for table, rows in tables:
        for start in range(0, len(rows), 2000):
            async with database.write() as connection:
                await connection.execute(insert(table), list(rows[start : start + 2000]))
    async with database.write() as connection:
        await connection.execute(update(duties).values(counter=len(told)))
        await connection.execute(text("ANALYZE"))


@pytest.mark.parametrize("size", SIZES)
async def test_a_scrape_of_thousands_of_connections_is_quick(
    database: Database, size: int, figures: list[str]
) -> None:
    async with serving_api(database, scrapes=Scrapes(kept_seconds=0)) as api:
        await fill(database, size)
        took, body, worst = [], b"", 0.0
        for _ in range(SCRAPES):
            pauses = asyncio.create_task(longest_pause())
            began = time.perf_counter()
            async with api.http.get(f"{api.url}/metrics") as answer:
                body = await answer.read()
            took.append(time.perf_counter() - began)
            pauses.cancel()
            worst = max(worst, await pauses)
        kind = "SQLite" if database.is_sqlite else "PostgreSQL"
        ms = f"{1000 * median(took):.0f} ms (median), {1000 * max(took):.0f} ms (most)"
        figures.append(
            f"scrape of {size} connections on {kind}: {ms}, {len(body) // 1024} KiB, "
            f"others waited {1000 * worst:.0f} ms at most"
        )
        assert b"tidegate_staleness_ratio_max" in body
        assert median(took) < (QUICK if size <= 5000 else AT_MOST)


async def longest_pause() -> float:
    """For how long the loop served nobody else, until cancelled."""
    longest = 0.0
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)
    except asyncio.CancelledError:
        return longest
