"""The copied records of a connection, in pages or as a stream of lines."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

import msgspec
from aiohttp import web

from api.connections import named
from api.context import Context
from api.paging import ById, Page, after_id, cut, make_cursor, read_cursor
from api.problems import STARTED, FieldError, invalid
from api.routing import JSON, Call, Route
from api.shapes import Cursor, Key, Limit, Nothing, Position, Word, moment
from store import reading
from store.connections import Connection
from store.reading import Quarantined, Stored
from store.streams import StreamTable

NDJSON = "application/x-ndjson"
#: So many records are read in one short transaction.
BATCH = 200
#: A page of JSON ends early beyond so many bytes.
PAGE_BYTES = 16 * 1024 * 1024


class RecordQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records. With `changed_after` all that changed since that number, tombstones included.

    `parent` is the key of what they belong to. A page of JSON has 100 without `limit`; a stream of lines
    has all.
    """

    stream: Word | None = None
    parent: Key | None = None
    limit: Limit | None = None
    cursor: Cursor | None = None
    changed_after: Position | None = None
    deleted: Literal["include"] | None = None


class Gone(msgspec.Struct, frozen=True):
    """Why a record is gone, and since when."""

    reason: str
    at: str | None


class RecordAnswer(msgspec.Struct, frozen=True):
    """A record. `data` is the remote's own JSON, byte for byte."""

    stream: str
    key: str
    parent: str | None
    updated_at: str | None
    version: str | None
    change: int
    deleted: Gone | None
    data: msgspec.Raw


class Records(msgspec.Struct, frozen=True):
    """Some records, by stream and key, or by change."""

    records: Sequence[RecordAnswer]
    next: str | None


class ByKey(msgspec.Struct, frozen=True, array_like=True):
    """The position in a walk by stream and key."""

    stream: str
    key: str


class ByChange(msgspec.Struct, frozen=True, array_like=True):
    """The position in a walk by change."""

    change: Position


class QuarantinedAnswer(msgspec.Struct, frozen=True):
    """A record that could not be read. `body` is what the remote sent, as text."""

    id: int
    stream: str
    key: str
    reason: str
    body: str
    sync_id: int
    at: str | None


class Quarantine(msgspec.Struct, frozen=True):
    """Some records that could not be read, ascending by id."""

    quarantine: Sequence[QuarantinedAnswer]
    next: str | None


async def listed(call: Call[Nothing, RecordQuery]) -> Records | web.StreamResponse:
    """A page of records as JSON, or all of them as lines where `application/x-ndjson` is accepted."""
    async with call.context.database.read() as connection:
        found = await named(call, connection)
    walk = _walk(call, found)
    if NDJSON in call.request.headers.get("Accept", ""):
        return await _streamed(call, walk)
    return await _page(call, walk)


async def quarantine(call: Call[Nothing, Page]) -> Quarantine:
    """What could not be read, with the reasons."""
    async with call.context.database.read() as connection:
        found = await named(call, connection)
        after = after_id(call.request, call.query) or 0
        rows = await reading.quarantined(connection, found.id, after, call.query.limit + 1)
    page = cut(call.request, rows, call.query.limit, lambda one: ById(one.id))
    return Quarantine([_quarantined(one) for one in page.items], page.next)


class Walk(msgspec.Struct, frozen=True):
    """Records in their order, from a position on; read in short transactions, so that none stays open."""

    context: Context
    connection_id: int
    tables: Sequence[StreamTable]
    changed_after: int | None
    start: ByKey | None
    deleted: bool
    parent: str | None

    async def batches(self, size: int) -> AsyncGenerator[Sequence[Stored], None]:
        if self.changed_after is not None:
            async for batch in self._by_change(self.changed_after, size):
                yield batch
            return
        for table in self.tables:
            after = self.start.key if self.start and self.start.stream == table.stream.name else None
            if self.start and table.stream.name < self.start.stream:
                continue
            async for batch in self._by_key(table, after, size):
                yield batch

    async def _by_change(self, after: int, size: int) -> AsyncGenerator[Sequence[Stored], None]:
        while True:
            async with self.context.database.read() as connection:
                batch = await reading.by_change(
                    connection, self.tables, self.connection_id, after, size, self.parent
                )
            yield batch
            if len(batch) < size:
                return
            after = batch[-1].change

    async def _by_key(
        self, table: StreamTable, after: str | None, size: int
    ) -> AsyncGenerator[Sequence[Stored], None]:
        while True:
            async with self.context.database.read() as connection:
                batch = await reading.by_key(
                    connection,
                    table,
                    self.connection_id,
                    after,
                    size,
                    deleted=self.deleted,
                    parent=self.parent,
                )
            yield batch
            if len(batch) < size:
                return
            after = batch[-1].key


def _walk(call: Call[Nothing, RecordQuery], connection: Connection) -> Walk:
    """What is asked for. Raises 422 for a stream that its system does not have."""
    query = call.query
    tables = sorted(call.context.tables.of(connection.system), key=lambda table: table.stream.name)
    if query.stream is not None:
        known = ", ".join(table.stream.name for table in tables) or "none"
        tables = [table for table in tables if table.stream.name == query.stream]
        if not tables:
            raise invalid(FieldError("stream", f"There is no stream {query.stream}; there are: {known}."))
    changed_after, start = query.changed_after, None
    if query.cursor is not None and changed_after is not None:
        changed_after = read_cursor(call.request, query.cursor, ByChange).change
    elif query.cursor is not None:
        start = read_cursor(call.request, query.cursor, ByKey)
    deleted = query.deleted is not None
    return Walk(call.context, connection.id, tables, changed_after, start, deleted, query.parent)


async def _page(call: Call[Nothing, RecordQuery], walk: Walk) -> Records:
    limit = call.query.limit or 100
    items: list[Stored] = []
    size = 0
    async with aclosing(walk.batches(min(BATCH, limit + 1))) as batches:
        async for batch in batches:
            for one in batch:
                if len(items) == limit or (items and size > PAGE_BYTES):
                    return Records([_answer(item) for item in items], _cursor(call, items[-1]))
                items.append(one)
                size += len(one.body)
    return Records([_answer(item) for item in items], None)


async def _streamed(call: Call[Nothing, RecordQuery], walk: Walk) -> web.StreamResponse:
    headers = {"Cache-Control": "no-store", "Content-Type": NDJSON}
    response = web.StreamResponse(headers=headers)
    left = call.query.limit
    async with aclosing(walk.batches(BATCH)) as batches:
        async for batch in batches:
            if not response.prepared:
                await response.prepare(call.request)
                call.request[STARTED] = response
            some = batch if left is None else batch[:left]
            await response.write(b"".join(map(line, some)))
            left = None if left is None else left - len(some)
            if left == 0:
                break
    if not response.prepared:
        await response.prepare(call.request)
    await response.write_eof()
    return response


def line(one: Stored) -> bytes:
    """The record as one line of JSON."""
    # Between the tokens of JSON a line break is a space; within its strings there is none.
    return msgspec.json.encode(_answer(one)).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


def _cursor(call: Call[Nothing, RecordQuery], last: Stored) -> str:
    position = ByKey(last.stream, last.key) if call.query.changed_after is None else ByChange(last.change)
    return make_cursor(call.request, position)


def _answer(one: Stored) -> RecordAnswer:
    return RecordAnswer(
        stream=one.stream,
        key=one.key,
        parent=one.parent,
        updated_at=moment(one.updated_at),
        version=one.version,
        change=one.change,
        deleted=None if one.gone_reason is None else Gone(one.gone_reason, moment(one.gone_at)),
        data=msgspec.Raw(one.body.encode()),
    )


def _quarantined(one: Quarantined) -> QuarantinedAnswer:
    return QuarantinedAnswer(one.id, one.stream, one.key, one.reason, one.body, one.sync_id, moment(one.at))


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/v1/connections/{id}/records",
        summary="Read the copied records of a connection",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=RecordQuery,
        answer=Records,
        media=(JSON, NDJSON),
    ),
    Route(
        method="GET",
        path="/v1/connections/{id}/quarantine",
        summary="List the records of a connection that could not be read",
        permission="read",
        by_project=True,
        handler=quarantine,
        body=Nothing,
        query=Page,
        answer=Quarantine,
    ),
)
