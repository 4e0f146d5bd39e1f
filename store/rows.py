"""A page's rows of one stream: what is new, what changed, what may not overwrite what is known."""

from collections.abc import Callable, Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec
from sqlalchemy import Dialect, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Record, Rejected, Stream, newer
from store.database import to_moment, to_text
from store.digest import digest
from store.streams import COMMON, StreamTable

LOOK_FIRST = timedelta(minutes=1)
LOOK_LAST = timedelta(days=1)
_INT64 = 1 << 63


class Known(msgspec.Struct, frozen=True):
    """What the database holds of a record, as far as deciding needs it."""

    hash: bytes
    version: str | None
    observed_at: datetime
    gone: bool
    look_step: int
    looking: bool


class Written(msgspec.Struct, frozen=True):
    """What a page came to. `change` is the connection's counter after it."""

    change: int
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: Sequence[Rejected] = ()
    #: How many distinct keys of the page are alive in the database now.
    stored: int = 0
    #: When the earliest unfinished record of this page wants to be looked at again.
    look_at: datetime | None = None
    #: Keys of which something newer is known.
    older: frozenset[str] = frozenset()
    #: Keys that were not known before.
    fresh: frozenset[str] = frozenset()


class Ready(msgspec.Struct, frozen=True):
    """A record whose text and hash are made, outside of any transaction."""

    record: Record
    text: str
    hash: bytes


def prepare(record: Record, stream: Stream) -> Ready | Rejected:
    """Hash the body without its volatile members. What no database can hold is rejected."""
    try:
        text = record.body.decode()
        for name in ("key", "parent", "version"):
            if "\x00" in (getattr(record, name) or ""):
                raise ValueError(f"the {name} holds a NUL character")
        return Ready(record, text, digest(record.body, stream.volatile))
    except (ValueError, msgspec.DecodeError) as e:
        return Rejected(record.stream, record.key.replace("\x00", ""), str(e), record.body)


async def write(
    connection: AsyncConnection,
    table: StreamTable,
    connection_id: int,
    ready: Sequence[Ready],
    observed_at: datetime,
    now: datetime,
    change: int,
    *,
    looking: bool = False,
    lag: timedelta = timedelta(0),
) -> Written:
    """Write what `ready` adds to what is known. All of one stream; the connection's row is locked.

    An observation with a lower version, or with an equal or no version and an earlier request time, does
    not overwrite. `looking`: these were read because they were unfinished, so the next look is later.
    """
    latest = _latest(ready)
    known = await _known(connection, table, connection_id, list(latest))
    made = _Rows(table, connection_id, observed_at, now, connection.dialect.name)
    rows: list[tuple[object, ...]] = []
    looks: list[tuple[object, ...]] = []
    changed = unchanged = gone = 0
    fresh: set[str] = set()
    older: set[str] = set()
    earliest: datetime | None = None
    for key, item in latest.items():
        before = known.get(key)
        look: datetime | None = None
        if before is None:
            fresh.add(key)
        elif _older(item.record, observed_at, before, lag):
            unchanged += 1
            gone += before.gone
            older.add(key)
            continue
        elif before.hash == item.hash and not before.gone:
            unchanged += 1
            if before.looking and (looking or item.record.final):
                step = before.look_step + 1
                look = None if item.record.final else next_look(observed_at, step)
                looks.append((look, step, connection_id, key))
                earliest = _sooner(earliest, look)
            continue
        else:
            changed += 1
        look = None if item.record.final else next_look(observed_at, 0)
        earliest = _sooner(earliest, look)
        change += 1
        rows.append(made.row(item, change, look))
    await _upsert(connection, table, rows)
    await _postpone(connection, table, looks)
    stored = len(latest) - gone
    return Written(
        change, len(fresh), changed, unchanged, (), stored, earliest, frozenset(older), frozenset(fresh)
    )


async def miss(
    connection: AsyncConnection,
    table: StreamTable,
    connection_id: int,
    keys: Sequence[str],
    observed_at: datetime,
) -> None:
    """Unfinished records that were asked for and are not there: they stay as known, and are asked later."""
    known = await _known(connection, table, connection_id, list(keys))
    looks = [
        (next_look(observed_at, before.look_step + 1), before.look_step + 1, connection_id, key)
        for key, before in known.items()
        if before.looking
    ]
    await _postpone(connection, table, looks)


async def unfinished(
    connection: AsyncConnection,
    table: StreamTable,
    connection_id: int,
    after: str,
    limit: int,
    due: datetime | None = None,
) -> list[str]:
    """Keys of records that can still change, by key; with `due`, those whose time has come."""
    c = table.table.c
    query = (
        select(c.key)
        .where(c.connection_id == connection_id, c.look_again_at.is_not(None), c.key > after)
        .order_by(c.key)
        .limit(limit)
    )
    if due is not None:
        query = query.where(c.look_again_at <= due)
    return list((await connection.execute(query)).scalars())


async def earliest_look(
    connection: AsyncConnection, tables: Sequence[StreamTable], connection_id: int
) -> datetime | None:
    """When the first unfinished record of a connection wants to be looked at again."""
    found = None
    for table in tables:
        c = table.table.c
        query = select(func.min(c.look_again_at)).where(
            c.connection_id == connection_id, c.look_again_at.is_not(None)
        )
        first = (await connection.execute(query)).scalar()
        found = _sooner(found, to_moment(first) if first else None)
    return found


def next_look(observed_at: datetime, step: int) -> datetime:
    """When an unfinished record is read again: after a minute, then in doubling steps up to a day."""
    return observed_at + min(LOOK_FIRST * (1 << min(step, 11)), LOOK_LAST)


def _sooner(a: datetime | None, b: datetime | None) -> datetime | None:
    return min(a, b) if a and b else a or b


def _latest(ready: Sequence[Ready]) -> dict[str, Ready]:
    """Of a key that stands twice in a page, the higher version; where versions do not tell, the last."""
    latest: dict[str, Ready] = {}
    for item in ready:
        other = latest.get(item.record.key)
        if other is None or newer(other.record.version, item.record.version) is not True:
            latest[item.record.key] = item
    return latest


def _older(record: Record, observed_at: datetime, before: Known, lag: timedelta) -> bool:
    """What a list that may lag still shows does not bring back what was proven gone since."""
    ahead = newer(record.version, before.version)
    if ahead is not None:
        return not ahead
    return observed_at < before.observed_at + (lag if before.gone else timedelta(0))


class _Rows:
    """Makes the rows of a page as the driver takes them: times are text on SQLite."""

    def __init__(
        self, table: StreamTable, connection_id: int, observed_at: datetime, now: datetime, dialect: str
    ) -> None:
        self._connection_id = connection_id
        self._stamp: Callable[[object], object] = _time_text if dialect == "sqlite" else _time
        fits = {**_FITS, "time": self._stamp}
        self._fits = [fits[column.type] for column in table.stream.columns]
        self._observed_at, self._now = self._stamp(observed_at), self._stamp(now)

    def row(self, item: Ready, change: int, look: datetime | None) -> tuple[object, ...]:
        record = item.record
        # Null and text are most of the values, and seen to fit without a call.
        typed = [
            value
            if value is None or (fit is _text and type(value) is str and "\x00" not in value)
            else fit(value)
            for value, fit in zip(record.columns, self._fits, strict=True)
        ]
        return (
            self._connection_id,
            record.key,
            record.parent,
            self._stamp(record.updated_at),
            record.version,
            self._observed_at,
            self._now,
            item.hash,
            change,
            self._stamp(look),
            0,
            None,
            None,
            *typed,
            item.text,
        )


def _text(value: object) -> object:
    return value if isinstance(value, str) and "\x00" not in value else None


def _integer(value: object) -> object:
    # A bool is an int to Python alone.
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _number(value: object) -> object:
    if isinstance(value, float):
        return value if isfinite(value) else None
    return _integer(value)


def _boolean(value: object) -> object:
    return value if isinstance(value, bool) else None


def _time(value: object) -> object:
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    # Vendors write the ends of the calendar for never; drivers take them for infinity, or overflow.
    return value if MINYEAR < value.year < MAXYEAR else None


def _time_text(value: object) -> object:
    fits = _time(value)
    return to_text(fits) if isinstance(fits, datetime) else None


# A typed value that its column cannot hold is null; it never breaks a page.
_FITS: Mapping[str, Callable[[object], object]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
}


async def _known(
    connection: AsyncConnection, table: StreamTable, connection_id: int, keys: list[str]
) -> dict[str, Known]:
    """What is known of these keys. One parameter for all of them: the statement stays the same."""
    name = table.table.name
    columns = "key, hash, version, observed_at, gone_at, look_again_step, look_again_at"
    if connection.dialect.name == "sqlite":
        wanted = "connection_id = ? AND key IN (SELECT value FROM json_each(?))"
        sql = f"SELECT {columns} FROM {name} WHERE {wanted}"  # noqa: S608 - the name is ours
        found = await connection.exec_driver_sql(sql, (connection_id, msgspec.json.encode(keys).decode()))
    else:
        sql = f"SELECT {columns} FROM {name} WHERE connection_id = $1 AND key = ANY($2::text[])"  # noqa: S608 - as above
        found = await connection.exec_driver_sql(sql, (connection_id, keys))
    return {
        row.key: Known(
            bytes(row.hash),
            row.version,
            to_moment(row.observed_at),
            row.gone_at is not None,
            row.look_again_step,
            row.look_again_at is not None,
        )
        for row in found
    }


async def _upsert(
    connection: AsyncConnection, table: StreamTable, rows: Sequence[tuple[object, ...]]
) -> None:
    """The driver's own bulk path: the statement is Core's, the values go to the driver as they are."""
    if not rows:
        return
    await connection.exec_driver_sql(_upsert_sql(table, connection.dialect), list(rows))


async def _postpone(
    connection: AsyncConnection, table: StreamTable, looks: Sequence[tuple[object, ...]]
) -> None:
    if looks:
        await connection.exec_driver_sql(
            _postpone_sql(table, connection.dialect), _driver_rows(looks, connection)
        )


def _driver_rows(rows: Sequence[tuple[object, ...]], connection: AsyncConnection) -> list[Any]:
    """PostgreSQL's driver takes times as they are; SQLite has text for them."""
    if connection.dialect.name != "sqlite":
        return list(rows)
    return [tuple([to_text(v) if type(v) is datetime else v for v in row]) for row in rows]


@lru_cache(maxsize=256)
def _upsert_sql(table: StreamTable, dialect: Dialect) -> str:
    insert = sqlite_insert if dialect.name == "sqlite" else postgresql_insert
    names = [*COMMON, *(column.name for column in table.stream.columns), "body"]
    made = insert(table.table).values({name: bindparam(name) for name in names})
    keep = {name: made.excluded[name] for name in names if name not in ("connection_id", "key")}
    return _sql(
        made.on_conflict_do_update(index_elements=["connection_id", "key"], set_=keep), names, dialect
    )


@lru_cache(maxsize=256)
def _postpone_sql(table: StreamTable, dialect: Dialect) -> str:
    c = table.table.c
    names = ["look", "step", "connection", "the_key"]
    made = (
        table.table.update()
        .where(c.connection_id == bindparam("connection"), c.key == bindparam("the_key"))
        .values(look_again_at=bindparam("look"), look_again_step=bindparam("step"))
    )
    return _sql(made, names, dialect)


def _sql(statement: Any, names: list[str], dialect: Dialect) -> str:
    compiled = statement.compile(dialect=dialect)
    if list(compiled.positiontup or ()) != names:
        raise RuntimeError(f"the parameters of {compiled} are not in the order of the rows")
    return str(compiled)
