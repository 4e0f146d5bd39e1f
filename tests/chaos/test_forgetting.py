"""Forgetting a great deal while syncs write their pages. How many rows of each kind is CHAOS_FORGOTTEN."""

import asyncio
import os
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select, text, update

from scheduler.upkeep import Kept, forget
from store.database import Database, clock
from store.schema import audit, connections, debug_log, deliveries, outbox, quarantine, syncs
from tests.house import House, open_house
from tests.shelf import Shelf

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.alone, pytest.mark.timeout(1800)]

ROWS = int(os.environ.get("CHAOS_FORGOTTEN", "200000"))
#: Seconds that a page, or a lease, may wait to be written.
PATIENCE = 1.0
KEPT = Kept(tombstones=timedelta(days=30))


async def fill(house: House, connection_id: int, old: datetime) -> dict[str, Table]:
    """So many rows of each kind, all past keeping."""
    books = house.deps.tables.get("shelf", "books").table
    of: dict[str, Any] = {"connection_id": connection_id}
    sync: dict[str, Any] = {
        "lane": "bulk",
        "trigger": "schedule",
        "scope": "incremental",
        "state": "succeeded",
    }
    sync |= {"queued_at": old, "run_at": old, "finished_at": old, "counters": {}}
    record: dict[str, Any] = {
        "body": "{}",
        "version": "1",
        "observed_at": old,
        "stored_at": old,
        "hash": b"h",
        "change": 1,
    }
    record |= {"look_again_step": 0, "gone_at": old, "gone_reason": "deleted"}
    event = {"type": "status", "at": old, "data": "{}"}
    entry = {"at": old, "actor": "me", "action": "create", "subject": "key", "detail": {}}
    held = {"stream": "books", "reason": "r", "body": "b", "sync_id": 1, "at": old}
    kinds: dict[Table, Any] = {
        syncs: lambda _: of | sync,
        outbox: lambda n: of | event | {"sequence": -n, "uid": f"u{n}", "position": n},
        deliveries: lambda n: of | {"uid": f"u{n}", "at": old},
        audit: lambda _: entry,
        debug_log: lambda _: of | {"sync_id": 1, "at": old, "event": "page", "detail": {}},
        quarantine: lambda n: of | held | {"key": f"old{n}"},
        books: lambda n: of | record | {"key": f"old{n}"},
    }
    for table, row in kinds.items():
        for start in range(1, ROWS + 1, 2000):
            rows = [row(n) for n in range(start, min(start + 2000, ROWS + 1))]
            async with house.database.write() as connection:
                await connection.execute(insert(table), rows)
    async with house.database.write() as connection:
        await connection.execute(text("ANALYZE"))
    return {table.name: table for table in kinds}


async def writes(database: Database, connection_id: int, waits: list[float], stop: asyncio.Event) -> None:
    """Write to the row that every page locks, again and again, and note how long each took."""
    while not stop.is_set():
        began = time.perf_counter()
        async with database.write() as connection:
            c = connections.c
            await connection.execute(update(connections).where(c.id == connection_id).values(remembered=0))
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.02)


async def syncs_on(house: House, connection_id: int, slices: list[float], stop: asyncio.Event) -> None:
    """Sync again and again."""
    while not stop.is_set():
        began = time.perf_counter()
        sync = await house.sync(connection_id)
        slices.append(time.perf_counter() - began)
        assert sync.state == "succeeded"


async def test_forgetting_much_keeps_no_writer_waiting(database: Database, figures: list[str]) -> None:
    async with open_house(database, {"shelf": Shelf}) as house:
        made = [await house.connection("shelf", f"shelf.example/{n}", callback_token=f"t{n}") for n in (7, 8)]
        async with database.read() as connection:
            old = await clock(connection) - timedelta(days=500)
        tables = await fill(house, made[0].id, old)
        await house.sync(made[0].id)
        # Who forgets is another process than who works.
        other = Database(database.engine.url.render_as_string(hide_password=False), database.schema)
        waits: list[float] = []
        slices: list[float] = []
        stop = asyncio.Event()
        work = [
            asyncio.create_task(writes(database, made[1].id, waits, stop)),
            asyncio.create_task(syncs_on(house, made[1].id, slices, stop)),
        ]
        began = time.perf_counter()
        await forget(other, house.deps.tables, KEPT)
        took = time.perf_counter() - began
        stop.set()
        await asyncio.gather(*work)
        await other.close()
        kind = "SQLite" if database.is_sqlite else "PostgreSQL"
        beside = f"of {len(waits)} writes beside it the slowest took {1000 * max(waits):.0f} ms"
        beside += f", of {len(slices)} syncs {1000 * max(slices):.0f} ms"
        figures.append(f"forgetting {len(tables)} x {ROWS} rows on {kind} took {took:.0f} s; {beside}")
        async with database.read() as connection:
            for name in ("outbox", "deliveries", "audit", "debug_log"):
                table = tables[name]
                left = select(func.count()).select_from(table).where(table.c.at <= old)
                assert (await connection.execute(left)).scalar_one() == 0, name
            left = select(func.count()).select_from(syncs).where(syncs.c.finished_at <= old)
            assert (await connection.execute(left)).scalar_one() == 0
            books = house.deps.tables.get("shelf", "books").table
            left = select(func.count()).select_from(books).where(books.c.gone_at <= old)
            assert (await connection.execute(left)).scalar_one() == 0
            left = select(func.count()).select_from(quarantine)
            assert (await connection.execute(left)).scalar_one() == 0
        assert max(waits) < PATIENCE
