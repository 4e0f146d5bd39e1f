"""The state of the database server itself: room, connections, integrity, and whether it takes writes."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import Database
from tidegate.doctor.finding import Finding, fail, ok, warn

#: PostgreSQL's own minor versions do not matter, its major ones from here on are what is tested.
OLDEST = 13
#: Connections that should be left for another process, and that must be.
FEW, TOO_FEW = 20, 3
#: A file larger than this takes too long to be looked through in passing.
LARGEST = 1024**3
#: A log that grew so far is not written back: some reader never ends.
LONG_LOG = 512 * 1024**2
BUSY_SECONDS = 3


async def postgresql(connection: AsyncConnection) -> Sequence[Finding]:
    """Version and connections left."""
    version = int((await connection.execute(text("SHOW server_version_num"))).scalar_one()) // 10000
    found = []
    if version < OLDEST:
        advice = f"Upgrade it: {OLDEST} or newer is needed."
        found.append(fail("database version", f"This is PostgreSQL {version}.", advice))
    most = int((await connection.execute(text("SHOW max_connections"))).scalar_one())
    most -= int((await connection.execute(text("SHOW superuser_reserved_connections"))).scalar_one())
    used = int((await connection.execute(text("SELECT count(*) FROM pg_stat_activity"))).scalar_one())
    return [*found, connections_left(most, used)]


def connections_left(most: int, used: int) -> Finding:
    said = f"{max(0, most - used)} of {most} connections to the database are left."
    advice = "Raise max_connections, or put a pooler before it: a process of Tidegate takes up to 18."
    if most - used < TOO_FEW:
        return fail("database connections", said, advice)
    if most - used < FEW:
        return warn("database connections", said, advice)
    return ok("database connections", said)


async def sqlite(connection: AsyncConnection) -> Sequence[Finding]:
    """Whether the file is sound, and its log of a sane length."""
    found = []
    mode = str((await connection.execute(text("PRAGMA journal_mode"))).scalar_one())
    if mode != "wal":
        advice = "Put it on a local disk: readers and writers get in each other's way."
        found.append(warn("database log", f"The journal mode is {mode}, not wal.", advice))
    rows = (await connection.execute(text("PRAGMA database_list"))).all()
    size, length = _sizes(Path(str(rows[0][2])))
    if length > LONG_LOG:
        said = f"The write-ahead log has {length / 1024**2:.0f} MiB."
        found.append(warn("database log", said, "End whatever reads the database for hours, such as a copy."))
    if size > LARGEST:
        said = f"It has {size / 1024**3:.1f} GiB and was not looked through."
        return [*found, ok("database integrity", said)]
    wrong = str((await connection.execute(text("PRAGMA quick_check(1)"))).scalar_one())
    if wrong != "ok":
        said = f"The file is damaged: {wrong.splitlines()[-1][:200]}"
        return [*found, fail("database integrity", said, "Stop all processes and restore a backup.")]
    return [*found, ok("database integrity", "The file is sound.")]


def _sizes(file: Path) -> tuple[int, int]:
    """Of the database and of its log, in bytes."""
    log = file.with_name(f"{file.name}-wal")
    return file.stat().st_size, log.stat().st_size if log.is_file() else 0


async def writable(database: Database) -> Finding:
    """Whether a write would be taken. None is made."""
    advice = "Check that its user may write, that it is no standby, and that its disk is not full."
    try:
        if database.is_sqlite:
            await asyncio.to_thread(_take_lock, str(database.engine.url.database))
        elif await _read_only(database):
            return fail("database writes", "It takes no writes: it is a standby, or read only.", advice)
    except sqlite3.OperationalError as e:
        return fail("database writes", f"It took no write within {BUSY_SECONDS} s: {e}.", advice)
    return ok("database writes", "It takes writes.")


async def _read_only(database: Database) -> bool:
    async with database.read() as connection:
        return bool((await connection.execute(text("SHOW transaction_read_only"))).scalar_one() == "on")


def _take_lock(path: str) -> None:
    """The lock of a writer, for a moment. Who looks does not wait for it for as long as who works."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()
