"""The shape of the database: made, upgraded by whoever comes first, and as the code has it."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy import Connection, inspect, text

from adapters.base import Column, Feed
from store import credentials
from store.database import Database, clock
from store.migrate import is_current, migrate
from store.outgoing import metadata
from store.streams import StreamTables
from store.upgrade import config_for
from tests.adapter_double import NOTES, SYSTEM, THINGS, Double, Script, thing
from tests.engine import connect
from tests.house import ADAPTERS, House, open_house

TABLES = StreamTables(ADAPTERS.values())


@pytest.fixture
def database(empty_database: Database) -> Database:
    """Without any table: these are the tests of how they are made."""
    return empty_database


async def shape(database: Database) -> set[str]:
    """All tables, columns and views."""

    def look(connection: Connection) -> set[str]:
        found = inspect(connection)
        views = found.get_view_names()
        return {
            f"{name}.{column['name']} {column['type']}"
            for name in [*found.get_table_names(), *views]
            for column in found.get_columns(name)
        }

    async with database.read() as connection:
        return await connection.run_sync(look)


async def test_a_migration_makes_everything_and_doing_it_again_changes_nothing(database: Database) -> None:
    assert not await is_current(database)
    await migrate(database, TABLES)
    assert await is_current(database)
    made = await shape(database)
    assert any(column.startswith("jira_issues.issue_key") for column in made)
    await migrate(database, TABLES)
    assert await shape(database) == made


async def test_several_processes_may_migrate_at_once(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    others = [Database(url, database.schema) for _ in range(3)]
    await asyncio.gather(*(migrate(one, TABLES) for one in (database, *others)))
    for one in others:
        await one.close()
    assert await is_current(database)


async def test_the_migrations_come_to_the_schema_of_the_code(database: Database) -> None:
    await migrate(database, TABLES)
    streams = tuple(f"records_{system}_" for system in ADAPTERS)

    def differences(connection: Connection) -> list[object]:
        def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
            table = str(name) if kind == "table" else ""
            return not table.startswith(streams) and table != "alembic_version"

        options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


#: A connection in the middle of a sync, as the second version kept it.
EARLIER = (
    "INSERT INTO credentials (id, name, system, kind, options, created_at, updated_at) "
    "VALUES (7, 'c', 'jira', 'pat', '{}', '2026-01-02T03:04:05.000Z', '2026-01-02T03:04:05.000Z')",
    "INSERT INTO connections (id, name, system, credential_id, url, canonical, frequency, timezone, params, "
    "enabled, callback_token, created_at, updated_at, health, since) VALUES (7, 'c', 'jira', 7, "
    "'jira.example:8443/x', 'https://jira.example:8443/x', 'hourly', 'UTC', '{}', true, 't', "
    "'2026-01-02T03:04:05.000Z', '2026-01-02T03:04:05.000Z', 'pending', '2026-01-02T03:04:05.000Z')",
    "INSERT INTO syncs (id, connection_id, lane, trigger, scope, state, queued_at, run_at, counters) VALUES "
    "(7, 7, 'bulk', 'api', 'full', 'running', '2026-01-02T03:04:05.000Z', '2026-01-02T03:04:05.000Z', '{}')",
    "INSERT INTO sync_parts (sync_id, feed, partition, mark, position, stored) "
    "VALUES (7, 'issues', 'all', '', 0, '{}')",
)


async def test_a_database_of_an_earlier_version_keeps_all_its_rows(database: Database) -> None:
    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.exec_driver_sql(f'CREATE SCHEMA "{database.schema}"')
        await connection.run_sync(lambda made: command.upgrade(config_for(made), "0002"))
        for statement in EARLIER:
            await connection.exec_driver_sql(statement)
    await migrate(database, TABLES)
    for table in ("credentials", "connections", "syncs"):
        assert await seen(database, f"SELECT id FROM {table}") == [(7,)]
    assert await seen(database, "SELECT sync_id FROM sync_parts") == [(7,)]
    # Where the credential was used it may be sent to.
    assert await seen(database, "SELECT origins FROM credentials") == [('["https://jira.example:8443"]',)]
    if database.is_sqlite:
        assert await seen(database, "PRAGMA foreign_keys") == [(1,)]


async def test_an_id_is_not_given_twice_by_a_database_that_was_migrated(database: Database) -> None:
    await migrate(database, TABLES)
    ids = []
    for _ in range(2):
        async with database.write() as connection:
            values = {"name": "c", "system": "jira", "kind": "pat"}
            ids.append(await credentials.add(connection, values, await clock(connection)))
            await credentials.delete(connection, ids[-1])
    assert ids == [1, 2]
    if database.is_sqlite:
        counting = {
            table.name
            for table in metadata.tables.values()
            if table.dialect_options["sqlite"]["autoincrement"]
        }
        made = await seen(database, "SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        assert {name for name, sql in made if "AUTOINCREMENT" in str(sql)} == counting


# --- an adapter that has learned more

MORE = replace(
    THINGS, columns=(Column("colour", "text", "colour"), *THINGS.columns, Column("due_at", "time", "due"))
)


class Learned(Double):
    """The double, with two more columns and a stream that was not there before."""

    feeds: ClassVar[tuple[Feed, ...]] = (
        Feed("things", (MORE, NOTES)),
        Feed("news", (replace(NOTES, name="news"),)),
    )


@pytest.fixture
async def before(database: Database) -> AsyncIterator[House]:
    """A house of the version before, with a record."""

    class First(Double):
        pass

    First.script = Script()
    First.script.add("all", [thing("1", columns=("one", 1, None, None, None))])
    async with open_house(database, {SYSTEM: First}) as house:
        await house.sync((await connect(house)).id)
        yield house


async def seen(database: Database, query: str) -> list[tuple[object, ...]]:
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def test_columns_that_an_adapter_declares_later_are_added_to_table_and_view(before: House) -> None:
    await migrate(before.database, StreamTables([Learned]))
    query = "SELECT key, name, size, colour, due_at FROM double_things"
    assert await seen(before.database, query) == [("1", "one", 1, None, None)]
    assert await seen(before.database, "SELECT * FROM double_news") == []


async def test_a_view_that_users_made_on_ours_outlives_an_upgrade(before: House) -> None:
    async with before.database.write() as connection:
        await connection.execute(text("CREATE VIEW mine AS SELECT key, name FROM double_things"))
    await migrate(before.database, StreamTables([Learned]))
    assert await seen(before.database, "SELECT * FROM mine") == [("1", "one")]
    assert await seen(before.database, "SELECT colour FROM double_things") == [(None,)]


async def test_a_column_that_is_not_declared_any_more_keeps_its_values(before: House) -> None:
    await migrate(before.database, StreamTables([Learned]))
    await migrate(before.database, before.deps.tables)
    query = "SELECT key, name, colour FROM records_double_things"
    assert await seen(before.database, query) == [("1", "one", None)]


async def test_a_view_that_was_dropped_is_made_again(before: House) -> None:
    async with before.database.write() as connection:
        await connection.execute(text("DROP VIEW double_things"))
    await migrate(before.database, before.deps.tables)
    assert await seen(before.database, "SELECT key FROM double_things") == [("1",)]
