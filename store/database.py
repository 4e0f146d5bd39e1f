"""The connection to SQLite or PostgreSQL: transactions, the database's clock, times and JSON as columns."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from socket import gaierror
from typing import Any

import msgspec
from sqlalchemy import Dialect, Text, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    PendingRollbackError,
    ResourceClosedError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator, TypeEngine

from store.sqlite import BEGIN_WRITING, BUSY_SECONDS, in_one_trip

#: Connections to PostgreSQL that are kept for leases and the like, and as many more when these are busy.
ASIDE = 1
#: Classes of SQLSTATE that are about the values of a statement: data, integrity, cardinality, not supported.
_OF_VALUES = ("0A", "21", "22", "23")


def to_text(moment: datetime) -> str:
    """The one text form of a time, everywhere: `2026-01-02T03:04:05.000Z`."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:23] + "Z"


def to_moment(value: datetime | str) -> datetime:
    """A time as either driver gives it."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz` on PostgreSQL, text of fixed width on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return to_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else to_moment(value)


class Json(TypeDecorator[Any]):
    """JSON as text, by msgspec: builtin values in, builtin values out."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class now(ColumnElement[datetime]):  # noqa: N801 - reads like the SQL function it is
    """The database's clock, `plus` seconds. Leases and due times are only ever compared with this."""

    # A statement that names it is compiled once, for each `plus`.
    inherit_cache = True
    _traverse_internals = [("plus", InternalTraversal.dp_plain_obj)]  # noqa: RUF012 - SQLAlchemy's own list
    type = UtcTime()

    def __init__(self, plus: float = 0.0) -> None:
        self.plus = plus


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001 - the interface
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{element.plus:+.3f} seconds')"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001 - the interface
    return f"(date_trunc('milliseconds', clock_timestamp()) + interval '{element.plus:.3f} seconds')"


async def clock(connection: AsyncConnection) -> datetime:
    """The database's clock, now and not at the beginning of the transaction."""
    return to_moment((await connection.execute(select(now()))).scalar_one())


class DatabaseLostError(SQLAlchemyError, OSError):
    """The line to the database broke or could not be made. Who waits for a server expects either."""


def is_trouble(error: SQLAlchemyError) -> bool:
    """Whether an error is the database's own: not of the values that it was given, so that it passes."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, DatabaseLostError | PoolTimeout | PendingRollbackError | ResourceClosedError)
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state)[:2] not in _OF_VALUES
    # What the driver could not even send.
    of_values = isinstance(error.orig.__cause__, ValueError) if error.orig is not None else False
    return not of_values and not isinstance(error, DataError | IntegrityError)


@contextmanager
def _line() -> Iterator[None]:
    """Drivers let errors of the line through as they are; who sees one elsewhere is to know whose it was."""
    try:
        yield
    except (ConnectionError, TimeoutError, gaierror) as e:
        raise DatabaseLostError(*e.args) from e
    except OSError as e:
        if type(e) is not OSError:
            raise
        raise DatabaseLostError(*e.args) from e


class Database:
    """One per process. `read` and `write` give a connection inside a transaction."""

    def __init__(self, url: str, schema: str = "tidegate", pool: int = 8, idle_seconds: int = 10) -> None:
        """`url` is SQLAlchemy's, with an async driver. The rest is PostgreSQL's and ignored by SQLite.

        A process that is frozen in a transaction for `idle_seconds` loses its locks, as it loses its leases.
        """
        self.is_sqlite = url.startswith("sqlite")
        self.schema = schema
        self.engine = _sqlite(url) if self.is_sqlite else _postgresql(url, schema, pool, idle_seconds)
        # Connections of its own: leases are renewed also while all others are taken, or waited for.
        self.aside = _sqlite(url) if self.is_sqlite else _postgresql(url, schema, ASIDE, idle_seconds)
        # One writer per process: SQLite has one writer anyway, and waiting here is fair and cheap.
        self._writing: asyncio.Lock | None = asyncio.Lock() if self.is_sqlite else None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        with _line():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes: committed at the end, rolled back by any exception."""
        if self._writing is None:
            with _line():
                async with self.engine.begin() as connection:
                    yield connection
            return
        async with self._writing, self.engine.execution_options(writing=True).begin() as connection:
            yield connection

    @asynccontextmanager
    async def rebuild(self) -> AsyncIterator[AsyncConnection]:
        """A writing transaction in which a table may be made anew while others refer to it.

        SQLite can change most of a table only so, and dropping the old one must not take along, or be kept
        from by, the rows that refer to it.
        """
        if self._writing is None:
            async with self.write() as connection:
                yield connection
            return
        try:
            options = self.engine.execution_options(writing=True, rebuilding=True)
            async with self._writing, options.begin() as connection:
                yield connection
                broken = await connection.exec_driver_sql("PRAGMA foreign_key_check")
                if broken.first() is not None:
                    raise RuntimeError("rows refer to others that are not there: nothing was changed")
        finally:
            await self.engine.dispose()  # its connections do not look at references any more

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[AsyncConnection]:
        """A short writing transaction that does not queue behind this process's pages: leases.

        It has connections of its own, for there may be more slices at work than connections.
        """
        with _line():
            async with self.aside.execution_options(writing=True).begin() as connection:
                yield connection

    async def time(self) -> datetime:
        """The database's clock."""
        async with self.read() as connection:
            return await clock(connection)

    async def close(self) -> None:
        await self.engine.dispose()
        await self.aside.dispose()


class Joined(Database):
    """A database within one transaction that is open already: all that is done with it is part of that."""

    def __init__(self, whole: Database, connection: AsyncConnection) -> None:
        self.is_sqlite, self.schema, self.engine = whole.is_sqlite, whole.schema, whole.engine
        self._connection = connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        yield self._connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        yield self._connection

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[AsyncConnection]:
        yield self._connection


def _sqlite(url: str) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})
    in_one_trip(engine.sync_engine)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions of its own: we say BEGIN or BEGIN IMMEDIATE below.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A read that turns into a write deep in a transaction cannot wait and fails at once.
        options = connection.get_execution_options()
        immediate = options.get("writing", False)
        if options.get("rebuilding", False):
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # cannot be said within a transaction
        connection.exec_driver_sql(BEGIN_WRITING if immediate else "BEGIN")

    return engine


def _postgresql(url: str, schema: str, pool: int, idle_seconds: int) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=pool,
        max_overflow=pool,
        pool_pre_ping=True,
        connect_args={
            "server_settings": {
                "search_path": schema,
                "application_name": "tidegate",
                "jit": "off",
                "idle_in_transaction_session_timeout": f"{idle_seconds}s",
            },
            "command_timeout": 60,
            "timeout": 10,
        },
    )
