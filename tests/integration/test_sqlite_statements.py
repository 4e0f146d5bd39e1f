"""SQLite as this process uses it: what a statement gives back, and that nobody starves for the lock."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from store.database import Database, now


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite+aiosqlite:///{tmp_path}/one.db")
    async with made.write() as connection:
        await connection.execute(text("CREATE TABLE books (n INTEGER PRIMARY KEY, title TEXT)"))
    yield made
    await made.close()


async def test_rows_counts_and_new_ids_are_what_the_driver_says(shelf: Database) -> None:
    async with shelf.write() as connection:
        added = await connection.execute(text("INSERT INTO books (title) VALUES ('a') RETURNING n"))
        assert added.scalar_one() == 1
        many = [{"n": n, "title": "b"} for n in range(2, 12)]
        assert (await connection.execute(text("INSERT INTO books VALUES (:n, :title)"), many)).rowcount == 10
        changed = await connection.execute(text("UPDATE books SET title = 'c' WHERE n > 6"))
        assert changed.rowcount == 5
        found = await connection.execute(text("SELECT n, title FROM books WHERE n < 3 ORDER BY n"))
        assert list(found.keys()) == ["n", "title"]
        assert found.all() == [(1, "a"), (2, "b")]


async def test_an_error_is_raised_and_the_transaction_undone(shelf: Database) -> None:
    async def twice() -> None:
        async with shelf.write() as connection:
            await connection.execute(text("INSERT INTO books VALUES (1, 'a')"))
            await connection.execute(text("INSERT INTO books VALUES (1, 'again')"))

    with pytest.raises(IntegrityError):
        await twice()
    async with shelf.read() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM books"))).scalar_one() == 0


async def test_a_stream_of_rows_comes_piece_by_piece(shelf: Database) -> None:
    async with shelf.write() as connection:
        many = [{"n": n} for n in range(1, 501)]
        await connection.execute(text("INSERT INTO books VALUES (:n, 'x')"), many)
    async with shelf.read() as connection:
        rows = await connection.stream(text("SELECT n FROM books ORDER BY n"))
        assert [row.n async for row in rows] == list(range(1, 501))


async def test_times_of_the_database_with_different_leads_are_different(shelf: Database) -> None:
    async with shelf.read() as connection:
        early = (await connection.execute(select(now(-60)))).scalar_one()
        late = (await connection.execute(select(now(60)))).scalar_one()
    assert 119 < (late - early).total_seconds() < 121


async def test_who_waits_for_the_lock_gets_it_soon_after_it_is_free(shelf: Database, tmp_path: Path) -> None:
    """Another process holds it for long enough that SQLite's own tries would be far apart."""
    other = sqlite3.connect(tmp_path / "one.db", isolation_level=None, check_same_thread=False)
    waits = []
    for _ in range(8):
        other.execute("BEGIN IMMEDIATE")

        async def writes() -> float:
            async with shelf.write():
                return time.monotonic()

        writing = asyncio.create_task(writes())
        await asyncio.sleep(0.24)
        assert not writing.done()
        other.execute("COMMIT")
        released = time.monotonic()
        waits.append(await writing - released)
    other.close()
    # SQLite itself would try again after 0.23 s and then after 0.33 s.
    assert sorted(waits)[3] < 0.03
