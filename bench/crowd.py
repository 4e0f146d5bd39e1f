"""Very many connections, written in bulk, that fall due as real ones would."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, insert, select, text, update

from bench.stage import Stage
from bench.still import SYSTEM
from config.frequency import parse_frequency
from store.database import Database, clock
from store.schema import connections

_CHUNK = 2_000
_SET_DUE = update(connections).where(connections.c.id == bindparam("of")).values(next_due_at=bindparam("at"))


async def add_crowd(stage: Stage, count: int, **values: object) -> None:
    """So many connections, which are never due before they are told when."""
    async with stage.database.write() as connection:
        now = await clock(connection)
        there = int((await connection.execute(select(func.count()).select_from(connections))).scalar_one())
    for first in range(there, there + count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, there + count))
        rows = [{**_row(number, now), **values} for number in numbers]
        async with stage.database.write() as connection:
            await connection.execute(insert(connections), rows)
    await analyse(stage.database)


def _row(number: int, now: datetime) -> dict[str, object]:
    return {
        "name": f"connection {number}",
        "system": SYSTEM,
        "url": f"https://still.example/{number}",
        "canonical": f"https://still.example/{number}",
        "frequency": "hourly",
        "timezone": "UTC",
        "params": {},
        "enabled": True,
        "callback_token": f"token {number}",
        "created_at": now,
        "updated_at": now,
        "since": now,
        "health": "healthy",
        "last_success_at": now,
        "next_due_at": now + timedelta(days=300),
        "stale_at": now + timedelta(days=300),
        "census_at": now + timedelta(days=300),
    }


async def spread(database: Database, begin: datetime) -> None:
    """Each connection falls due at its own place in the hour after `begin`, which it has for good."""
    hourly = parse_frequency("hourly")
    async with database.read() as connection:
        ids = (await connection.execute(select(connections.c.id))).scalars().all()
    await set_due(database, [(one, hourly.next_after(begin, one)) for one in ids])


async def set_due(database: Database, due: Sequence[tuple[int, datetime | None]]) -> None:
    """Let connections fall due at these times."""
    for first in range(0, len(due), _CHUNK):
        rows = [{"of": one, "at": at} for one, at in due[first : first + _CHUNK]]
        async with database.write() as connection:
            await connection.execute(_SET_DUE, rows)


async def analyse(database: Database) -> None:
    """What PostgreSQL does by itself before long; SQLite has to do without."""
    if not database.is_sqlite:
        async with database.write() as connection:
            for table in ("connections", "syncs", "outbox"):
                await connection.execute(text(f"ANALYZE {table}"))
