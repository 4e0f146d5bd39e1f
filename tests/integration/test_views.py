"""The copy as users query it: stable views with real columns, of what is alive."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import inspect, text, update

from store.database import Database
from store.migrate import migrate
from store.streams import StreamTables
from tests.adapter_double import SYSTEM, Script, thing
from tests.engine import connect
from tests.house import ADAPTERS, House

FIRST = ["connection_id", "key", "parent", "updated_at", "version"]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: What the types of typed columns are to users, on SQLite and on PostgreSQL.
TYPES = {
    "text": ("TEXT", "TEXT"),
    "integer": ("BIGINT", "BIGINT"),
    "number": ("DOUBLE", "DOUBLE PRECISION"),
    "boolean": ("BOOLEAN", "BOOLEAN"),
    "time": ("TEXT", "TIMESTAMP"),
}
VIEWS = [("jira", "issues"), ("jenkins", "builds"), ("azure", "work_items")]


async def columns(database: Database, name: str) -> dict[str, str]:
    async with database.read() as connection:
        found = await connection.run_sync(lambda c: inspect(c).get_columns(name))
    return {column["name"]: str(column["type"]) for column in found}


async def test_a_view_has_the_common_columns_first_then_the_typed_ones_then_the_body(
    database: Database,
) -> None:
    tables = StreamTables(ADAPTERS.values())
    await migrate(database, tables)
    for system, stream in VIEWS:
        declared = {column.name: column.type for column in tables.get(system, stream).stream.columns}
        found = await columns(database, f"{system}_{stream}")
        lead = [*FIRST, "issue_key"] if system == "jira" else FIRST
        assert list(found)[: len(lead)] == lead
        assert list(found)[-1] == "body"
        assert set(found) == {*FIRST, *declared, "body"}
        for name, kind in declared.items():
            assert found[name] == TYPES[kind][0 if database.is_sqlite else 1], name


async def test_no_view_parses_json(database: Database) -> None:
    tables = StreamTables(ADAPTERS.values())
    await migrate(database, tables)
    where = "sqlite_master WHERE type = 'view'" if database.is_sqlite else "pg_views WHERE schemaname = :s"
    what = "sql" if database.is_sqlite else "definition"
    async with database.read() as connection:
        values = {} if database.is_sqlite else {"s": database.schema}
        made = (await connection.execute(text(f"SELECT {what} FROM {where}"), values)).scalars().all()
    assert len(made) == sum(len(tables.of(system)) for system in ADAPTERS)
    for sql in made:
        assert "json" not in sql.lower()
        assert "->" not in sql
        assert "gone_at IS NULL" in sql


@pytest.fixture
async def filled(engine: House, script: Script) -> House:
    """Two living records and one that is gone."""
    values = ("one", 7, 0.5, True, AT)
    script.add("all", [thing("1", parent="p", version="3", columns=values), thing("2"), thing("3")])
    await engine.sync((await connect(engine)).id)
    table = engine.deps.tables.get(SYSTEM, "things").table
    async with engine.database.write() as connection:
        await connection.execute(update(table).where(table.c.key == "3").values(gone_at=AT))
    return engine


QUERY = "SELECT key, parent, version, name, size, ratio, done, seen_at, body FROM {} ORDER BY key"
NOTHING = (None,) * 7


async def test_any_client_reads_the_living_records_with_real_values(filled: House, tmp_path: Path) -> None:
    """With nothing of ours: the plain driver of each database."""
    rows: Sequence[tuple[object, ...]]
    if filled.database.is_sqlite:
        rows = await asyncio.to_thread(_plain_sqlite, tmp_path / "tidegate.db")
        seen_at: object = "2026-01-02T03:04:05.000Z"
    else:
        plain = await asyncpg.connect(os.environ["TIDEGATE_TEST_POSTGRES"])
        query = QUERY.format(f'"{filled.database.schema}".double_things')
        rows = [tuple(row) for row in await plain.fetch(query)]
        await plain.close()
        seen_at = AT
    assert rows == [
        ("1", "p", "3", "one", 7, 0.5, True, seen_at, '{"key":"1"}'),
        ("2", *NOTHING, '{"key":"2"}'),
    ]


def _plain_sqlite(path: Path) -> Sequence[tuple[object, ...]]:
    plain = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return plain.execute(QUERY.format("double_things")).fetchall()
    finally:
        plain.close()


async def test_a_body_is_kept_as_it_was_sent(engine: House, script: Script) -> None:
    sent = b'{ "key" : "1",  "b":1.00, "a":"\\u00fc",\n"b":2 }'
    record = thing("1")
    script.add("all", [type(record)("things", "1", sent, columns=(None,) * 5)])
    await engine.sync((await connect(engine)).id)
    async with engine.database.read() as connection:
        body = (await connection.execute(text("SELECT CAST(body AS TEXT) FROM double_things"))).scalar_one()
    assert body.encode() == sent
