"""How statements get to SQLite: in one trip to its thread, and to the lock for writing without starving.

The driver alone makes four trips for a statement, and each waits for its turn of the loop.
"""

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor

BUSY_SECONDS = 30
TRY_SECONDS = 0.002
BEGIN_WRITING = "BEGIN IMMEDIATE"


class _Statement:
    """What SQLAlchemy takes for the driver's cursor: a statement is run, read and closed in one go."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def execute(self, operation: Any, parameters: Any = ()) -> None:
        await self._connection._execute(self._run, "execute", operation, parameters)

    async def executemany(self, operation: Any, parameters: Any) -> None:
        await self._connection._execute(self._run, "executemany", operation, parameters)

    async def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """It is closed already."""

    def _run(self, how: str, operation: Any, parameters: Any) -> None:
        """In the thread."""
        cursor = self._connection._conn.cursor()
        try:
            if operation == BEGIN_WRITING:
                _begin(cursor)
            else:
                getattr(cursor, how)(operation, parameters)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else ()
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


def _begin(cursor: sqlite3.Cursor) -> None:
    """Take the lock for writing, by trying often.

    SQLite's own way waits longer and longer between its tries, up to a tenth of a second, so that who comes
    late gets it and who waits starves while another process writes one page after the other.
    """
    until = time.monotonic() + BUSY_SECONDS
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                cursor.execute(BEGIN_WRITING)
                return
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(TRY_SECONDS)
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()

    def _make_new_cursor(self, connection: Any) -> Any:
        return _Statement(connection)

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = _Cursor


def in_one_trip(engine: Engine) -> None:
    """Have the connections that this engine makes run each statement in one trip."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, named: Any) -> _Connection:
        made = dialect.connect(*arguments, **named)
        return _Connection(dialect.loaded_dbapi, made._connection)
