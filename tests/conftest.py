"""Fixtures for all tests: a real database of either kind, made new for each test."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from store.database import Database
from tests.databases import drop_schema, make_tables

POSTGRES = "TIDEGATE_TEST_POSTGRES"
REDIS = "TIDEGATE_TEST_REDIS"
SOAK = "TIDEGATE_TEST_SOAK"
BROWSER = "TIDEGATE_TEST_BROWSER"
NEEDS = {"postgres": POSTGRES, "redis_server": REDIS, "soak": SOAK, "browser": BROWSER}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs a server that is not given is left out; the summary names it."""
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(mark) and not os.environ.get(name) for mark, name in NEEDS.items())
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with a database run on SQLite, and on PostgreSQL where one is given.

    Those that are marked `sqlite_does` ask nothing of the database that others do not: they run on
    PostgreSQL in long runs only.
    """
    if "database_kind" in metafunc.fixturenames:
        kinds = [pytest.param("sqlite", id="sqlite")]
        spared = metafunc.definition.get_closest_marker("sqlite_does") and not os.environ.get(SOAK)
        if os.environ.get(POSTGRES) and not spared:
            kinds.append(pytest.param("postgres", id="postgres", marks=pytest.mark.postgres))
        metafunc.parametrize("database_kind", kinds)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line that names what was not run, for want of what."""
    missing = [
        what
        for name, what in (
            (POSTGRES, "PostgreSQL (TIDEGATE_TEST_POSTGRES)"),
            ("TIDEGATE_TEST_PAYLOADS", "recorded payloads (TIDEGATE_TEST_PAYLOADS)"),
            (REDIS, "a separate redis-server (TIDEGATE_TEST_REDIS)"),
            (SOAK, "the long runs (make chaos)"),
            (BROWSER, "the page in Chromium (TIDEGATE_TEST_BROWSER)"),
        )
        if not os.environ.get(name)
    ]
    if "not install" in terminalreporter.config.option.markexpr:
        missing.append("the Dockerfile's install steps (.ci/run)")
    if missing:
        terminalreporter.write_line(f"Not run, as not asked for: {', '.join(missing)}.")


@pytest.fixture
async def database(empty_database: Database) -> Database:
    """A new database with the fixed tables, made from the code; test_migrate.py shows that it is no other."""
    await make_tables(empty_database)
    return empty_database


@pytest.fixture
async def empty_database(database_kind: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A new database without any table yet."""
    if database_kind == "sqlite":
        made = Database(f"sqlite+aiosqlite:///{tmp_path}/tidegate.db")
        yield made
        await made.close()
        return
    schema = f"t_{uuid4().hex}"
    url = os.environ[POSTGRES].replace("postgresql://", "postgresql+asyncpg://", 1)
    # The machine may be so busy that a test stands still for longer than a worker may.
    made = Database(url, schema, idle_seconds=60)
    yield made
    await drop_schema(made, schema)
    await made.close()
