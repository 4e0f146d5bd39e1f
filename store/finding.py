"""Records as people look for them: by key, or by what they are called."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Text, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.reading import Stored
from store.streams import StreamTable, kept

#: Typed columns that tell people which record it is, the most telling first.
TELLING = tuple(
    "issue_key title summary name display_name job number type status state result author fields".split()
)
#: Those of them in which any part may be looked for.
TITLES = ("title", "summary", "name", "display_name")
SHOWN = 4


class Seen(msgspec.Struct, frozen=True):
    """A record in a list, without its body. `telling` says which it is."""

    key: str
    parent: str | None
    updated_at: datetime | None
    gone_reason: str | None
    gone_at: datetime | None
    telling: Sequence[str]


def telling(table: StreamTable) -> list[str]:
    """The columns of a stream that say which record it is."""
    there = {column.name for column in table.stream.columns}
    return [name for name in TELLING if name in there][:SHOWN]


async def find(
    connection: AsyncConnection,
    table: StreamTable,
    connection_id: int,
    text: str,
    after: str | None,
    limit: int,
    *,
    gone: bool,
) -> list[Seen]:
    """Records with a higher key than `after`, ascending, that begin with or are called by a text."""
    c = table.table.c
    names = telling(table)
    columns = [c[name] for name in ("key", "parent", "updated_at", "gone_reason", "gone_at")]
    query = select(*columns, *(c[name] for name in names)).where(c.connection_id == connection_id)
    if text:
        query = query.where(or_(*_called(table, text)))
    if after is not None:
        query = query.where(c.key > after)
    if not gone:
        query = query.where(kept(table.table))
    found = []
    for row in await connection.execute(query.order_by(c.key).limit(limit)):
        key, parent, updated_at, gone_reason, gone_at, *named = row
        said = [str(value) for value in named if value not in (None, "")]
        found.append(Seen(key, parent, updated_at, gone_reason, gone_at, said))
    return found


def _called(table: StreamTable, text: str) -> list[ColumnElement[bool]]:
    c = table.table.c
    there = {column.name for column in table.stream.columns}
    called = [c.key.startswith(text, autoescape=True), c.parent == text]
    if "issue_key" in there:
        called.append(c.issue_key.istartswith(text, autoescape=True))
    return [*called, *(c[name].icontains(text, autoescape=True) for name in TITLES if name in there)]


async def one(connection: AsyncConnection, table: StreamTable, connection_id: int, key: str) -> Stored | None:
    """A record with its body, or its tombstone; None where it was never stored."""
    c = table.table.c
    names = ("key", "parent", "updated_at", "version", "change", "gone_reason", "gone_at")
    query = select(*(c[name] for name in names), cast(c.body, Text).label("body"))
    query = query.where(c.connection_id == connection_id, c.key == key)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Stored(stream=table.stream.name, **row)
