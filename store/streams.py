"""The streams' own tables and views, made from what the adapters declare. Only ever adds.

Each stream has a table `records_{system}_{stream}`: the common columns, the adapter's typed columns as
real columns, and the body exactly as the remote sent it. A view `{system}_{stream}` shows what is alive.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    inspect,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy import column as plain_column
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateColumn
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from adapters.base import Adapter, Stream
from adapters.base import Column as TypedColumn
from store.database import Database, UtcTime
from store.schema import Id, instance

#: In every stream's table, before the typed columns.
COMMON = (
    "connection_id",
    "key",
    "parent",
    "updated_at",
    "version",
    "observed_at",
    "stored_at",
    "hash",
    "change",
    "look_again_at",
    "look_again_step",
    "gone_reason",
    "gone_at",
)
#: The reason of a record that is gone at the remote and kept here on purpose.
ROTATED = "rotated"
_VIEW_FIRST = ("connection_id", "key", "parent", "updated_at", "version")
# An arbitrary number that all processes share: one at a time makes tables on PostgreSQL.
_MAKING = 7_420_001


class Body(TypeDecorator[str]):
    """JSON text kept as it is: `json` on PostgreSQL, which does not rewrite it; text on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(_PlainJson() if dialect.name == "postgresql" else Text())


class _PlainJson(UserDefinedType[str]):
    """PostgreSQL's `json`, with text on our side: SQLAlchemy's own type would take it apart."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "JSON"


class StreamTable(msgspec.Struct, frozen=True):
    """A stream with its table. `name` is also the name of the view."""

    system: str
    stream: Stream
    table: Table

    @property
    def name(self) -> str:
        return f"{self.system}_{self.stream.name}"


class StreamTables:
    """The tables of all streams of all systems, by (system, stream)."""

    def __init__(self, adapters: Iterable[type[Adapter]]) -> None:
        self._metadata = MetaData()
        self._tables: Mapping[tuple[str, str], StreamTable] = {
            (adapter.system, stream.name): self._declare(adapter.system, stream)
            for adapter in adapters
            for feed in adapter.feeds
            for stream in feed.streams
        }

    def get(self, system: str, stream: str) -> StreamTable:
        return self._tables[system, stream]

    def all(self) -> Sequence[StreamTable]:
        """All streams of all systems, in the order of their names."""
        return [table for _, table in sorted(self._tables.items())]

    def of(self, system: str) -> Sequence[StreamTable]:
        """All streams of a system, in the order of their names; none for a system without an adapter."""
        return [table for (name, _), table in sorted(self._tables.items()) if name == system]

    def _declare(self, system: str, stream: Stream) -> StreamTable:
        name = f"records_{system}_{stream.name}"
        table = Table(
            name,
            self._metadata,
            Column("connection_id", Id, primary_key=True),
            Column("key", Text, primary_key=True),
            Column("parent", Text),
            Column("updated_at", UtcTime),
            Column("version", Text),
            Column("observed_at", UtcTime, nullable=False),
            Column("stored_at", UtcTime, nullable=False),
            Column("hash", LargeBinary, nullable=False),
            Column("change", BigInteger, nullable=False),
            Column("look_again_at", UtcTime),
            Column("look_again_step", SmallInteger, nullable=False),
            Column("gone_reason", Text),
            Column("gone_at", UtcTime),
            *(Column(column.name, _column_type(column)) for column in stream.columns),
            Column("body", Body, nullable=False),
            Index(f"{name}_change", "connection_id", "change"),
            Index(
                f"{name}_unfinished",
                "connection_id",
                "look_again_at",
                sqlite_where=text("look_again_at IS NOT NULL"),
                postgresql_where=text("look_again_at IS NOT NULL"),
            ),
        )
        if stream.parent is not None:
            Index(f"{name}_parent", table.c.connection_id, table.c.parent)
        return StreamTable(system, stream, table)

    async def ensure(self, database: Database) -> None:
        """Make the tables and columns that are missing, and the views anew where they changed."""
        async with database.write() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MAKING})
            for stream in self._tables.values():
                await connection.run_sync(_ensure_table, stream)
                await connection.run_sync(_ensure_view, stream)


def kept(table: Table) -> ColumnElement[bool]:
    """What readers are shown: all that is there, and what the remote's own housekeeping discarded, as history
    must not shrink with it.
    """
    return or_(table.c.gone_at.is_(None), table.c.gone_reason == ROTATED)


async def analyse(database: Database, table: StreamTable) -> None:
    """Tell PostgreSQL what a table that grew holds: without it, looking keys up is up to 20 times slower."""
    if not database.is_sqlite:
        async with database.write() as connection:
            await connection.exec_driver_sql(f'ANALYZE "{table.table.name}"')


def _column_type(column: TypedColumn) -> TypeEngine[Any]:
    match column.type:
        case "integer":
            return BigInteger()
        case "number":
            return Double()
        case "boolean":
            return Boolean()
        case "time":
            return UtcTime()
        case _:
            return Text()


def _ensure_table(connection: Connection, stream: StreamTable) -> None:
    found = inspect(connection)
    if not found.has_table(stream.table.name):
        stream.table.create(connection)
        if connection.dialect.name == "postgresql":
            _compress(connection, stream.table)
        return
    there = {column["name"] for column in found.get_columns(stream.table.name)}
    for column in stream.table.columns:
        if column.name not in there:
            made = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f'ALTER TABLE "{stream.table.name}" ADD COLUMN {made}')


def _compress(connection: Connection, table: Table) -> None:
    """lz4 halves the time of a write against the default compression; not every server has it."""
    offered = connection.exec_driver_sql(
        "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    ).scalar()
    if offered:
        connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ALTER COLUMN body SET COMPRESSION lz4')


def _ensure_view(connection: Connection, stream: StreamTable) -> None:
    typed = [column.name for column in stream.stream.columns]
    # What people join and search by stands first.
    lead = [name for name in ("issue_key",) if name in typed]
    names = [*_VIEW_FIRST, *lead, *(name for name in typed if name not in lead), "body"]
    kept = f"view {stream.name}"
    before = connection.execute(select(instance.c.value).where(instance.c.name == literal(kept))).scalar()
    exists = stream.name in inspect(connection).get_view_names()
    if exists:
        if before == _view(connection, stream, names):
            return
        # Users' own views may stand on this one: it only ever gains columns, after those it has.
        there = [found["name"] for found in inspect(connection).get_columns(stream.name)]
        names = [*there, *(name for name in names if name not in there)]
    sql = _view(connection, stream, names)
    if exists and before == sql:
        return
    _make_view(connection, stream.name, sql)
    connection.execute(instance.delete().where(instance.c.name == kept))
    connection.execute(instance.insert().values(name=kept, value=sql))


def _view(connection: Connection, stream: StreamTable, names: Sequence[str]) -> str:
    """What the view shows. A column that is declared no more is still one of the table."""
    table = stream.table
    shown = [table.c[name] if name in table.c else plain_column(name) for name in names]
    query = select(*shown).where(kept(table)).select_from(table)
    return str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))


def _make_view(connection: Connection, name: str, sql: str) -> None:
    if connection.dialect.name == "sqlite":
        # SQLite looks a view up when it is read, so that others that stand on it are not hurt.
        connection.exec_driver_sql(f'DROP VIEW IF EXISTS "{name}"')
        connection.exec_driver_sql(f'CREATE VIEW "{name}" AS {sql}')
    else:
        connection.exec_driver_sql(f'CREATE OR REPLACE VIEW "{name}" AS {sql}')
