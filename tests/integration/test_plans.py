"""What is asked again and again is answered by indexes: it costs what is to be done, not what there is."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.relay import LEASE_SECONDS
from scheduler.due import anything_due, open_due, open_looks
from scheduler.upkeep import checks_due, forget, reap, settle_stale
from store import outbox
from store.database import Database, clock
from store.schema import connections, duties, syncs
from store.schema import outbox as outbox_table

#: Tables that grow with the installation. None of them is read from one end to the other.
GROWING = ("connections", "syncs", "outbox")
#: Indexes that hold only what is to be done: reading one of them costs no more than that.
WORK = ("outbox_unsent", "syncs_to_run")
MANY = 3_000


@pytest.fixture
async def crowded(database: Database) -> Database:
    """Connections that are not due, each with a sync that is over, one that waits for long, and an event."""
    async with database.write() as connection:
        at = await clock(connection)
        later = at + timedelta(days=1)
        rows: list[dict[str, Any]] = [
            {
                "id": number,
                "name": f"connection {number}",
                "system": "double",
                "url": "http://double",
                "canonical": "http://double",
                "frequency": "hourly",
                "timezone": "UTC",
                "params": {},
                "enabled": True,
                "callback_token": f"token {number}",
                "created_at": at,
                "updated_at": at,
                "since": at,
                "health": "healthy",
                "next_due_at": later,
                "next_look_at": later,
                "next_check_at": later,
                "stale_at": later,
                "limited_until": later,
            }
            for number in range(1, MANY + 1)
        ]
        await connection.execute(insert(connections), rows)
        over: dict[str, Any] = {"lane": "bulk", "trigger": "schedule", "scope": "incremental", "counters": {}}
        over |= {"state": "succeeded", "queued_at": at, "finished_at": at, "run_at": at}
        await connection.execute(insert(syncs), [{"connection_id": row["id"], **over} for row in rows])
        waiting = over | {"state": "waiting", "finished_at": None, "run_at": later}
        await connection.execute(insert(syncs), [{"connection_id": row["id"], **waiting} for row in rows])
        told: dict[str, Any] = {"sequence": 1, "type": "status", "at": at, "data": "{}"}
        events = [
            {"connection_id": row["id"], "uid": str(row["id"]), "position": row["id"], **told} for row in rows
        ]
        await connection.execute(insert(outbox_table), events)
        await connection.execute(insert(duties).values(name=outbox.RELAY))
        if not database.is_sqlite:
            for table in ("connections", "syncs", "outbox"):
                await connection.execute(text(f"ANALYZE {table}"))
    return database


class Asked:
    """Every statement that was run, with its parameters as the driver got them."""

    def __init__(self) -> None:
        self.statements: dict[str, Any] = {}

    @asynccontextmanager
    async def listening(self, database: Database) -> AsyncIterator[None]:
        engine = database.engine.sync_engine

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
                self.statements[statement] = parameters

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", note)


async def plan(connection: AsyncConnection, statement: str, parameters: Any) -> str:
    """How the database would answer a statement."""
    how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = (await connection.exec_driver_sql(f"{how} {statement}", parameters)).all()
    return "\n".join(str(row[-1]) for row in rows)


def whole_tables(found: str) -> list[str]:
    """The growing tables that a plan reads from one end to the other, with or without an index."""
    return [
        table
        for table in GROWING
        for line in found.splitlines()
        if (line.strip().startswith(f"SCAN {table}") or f"Seq Scan on {table}" in line)
        and not line.endswith(WORK)
    ]


async def read_whole(database: Database, asked: Asked) -> Sequence[tuple[str, str]]:
    """The statements that read a growing table as a whole, with their plans."""
    found = []
    async with database.read() as connection:
        for statement, parameters in asked.statements.items():
            how = await plan(connection, statement, parameters)
            if whole_tables(how):
                found.append((statement, how))
    return found


async def test_the_due_query_is_answered_by_its_index(crowded: Database) -> None:
    asked = Asked()
    async with asked.listening(crowded):
        await open_due(crowded)
    [(statement, parameters)] = [
        one for one in asked.statements.items() if "next_due_at <=" in one[0] and "SELECT" in one[0]
    ]
    async with crowded.read() as connection:
        how = await plan(connection, statement, parameters)
    assert "connections_due" in how
    assert "TEMP B-TREE" not in how
    assert "Sort" not in how
    assert whole_tables(how) == []


async def test_the_reaper_does_not_look_at_syncs_that_wait_for_a_later_time(crowded: Database) -> None:
    asked = Asked()
    async with asked.listening(crowded):
        await reap(crowded)
    [(statement, parameters)] = [one for one in asked.statements.items() if "FROM syncs" in one[0]]
    async with crowded.read() as connection:
        how = await plan(connection, statement, parameters)
    looked_up = ("syncs_to_run (run_at<?)", "Index Cond: (run_at <=")
    assert any(part in how for part in looked_up), how


async def test_no_tick_of_the_scheduler_reads_a_growing_table_as_a_whole(crowded: Database) -> None:
    asked = Asked()
    async with asked.listening(crowded):
        assert not await anything_due(crowded)
        await open_due(crowded)
        await open_looks(crowded)
        await reap(crowded)
        await settle_stale(crowded)
        await checks_due(crowded)
    assert len(asked.statements) >= 6
    assert await read_whole(crowded, asked) == []


async def test_nothing_that_the_relay_asks_reads_a_growing_table_as_a_whole(crowded: Database) -> None:
    asked = Asked()
    async with asked.listening(crowded), crowded.write() as connection:
        fence = await outbox.take_duty(connection, outbox.RELAY, "test", LEASE_SECONDS)
        assert fence is not None
        await outbox.has_unsent(connection)
        await outbox.give_positions(connection, fence)
        await outbox.after(connection, MANY)
        await outbox.last_position(connection)
        await outbox.position_before(connection, await clock(connection) - timedelta(hours=24))
        await outbox.oldest_unsent(connection)
    assert len(asked.statements) >= 6
    assert await read_whole(crowded, asked) == []


async def test_what_is_past_keeping_is_found_without_reading_what_is_kept(crowded: Database) -> None:
    asked = Asked()
    async with asked.listening(crowded):
        await forget(crowded)
    assert len(asked.statements) >= 6
    assert await read_whole(crowded, asked) == []
