"""One connection: how it stands, what it has, what it did, and what happens to it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from api.connections import why
from api.problems import not_found
from api.ui import charts
from api.ui.counts import Counted, Known
from api.ui.front import Route, Visit
from api.ui.happened import all_told
from api.ui.overview import COUNTS, LATER, work_of
from store import connections, credentials, outbox, overview, particulars, projects, syncs
from store.connections import Connection
from store.database import clock
from store.health import Problem
from store.particulars import Reach
from store.schema import LIVE
from store.schema import syncs as syncs_table
from store.syncs import Receipt, Sync

SHOWN_SYNCS, LISTED_SYNCS, SHOWN_EVENTS = 60, 15, 12


class StreamShown(msgspec.Struct, frozen=True):
    """One stream of a connection. `receipt` is the last that a sync wrote of it, with that sync's id."""

    name: str
    counted: Counted | None
    reach: Reach | None
    receipt: Receipt | None
    sync_id: int | None
    quarantined: int
    chosen: bool


async def found(visit: Visit, connection: AsyncConnection) -> Connection:
    """The connection in the path. Raises 404 for what is not there or not for this key."""
    connection_id = visit.call(None, None).id("connection")
    one = await connections.get(connection, connection_id)
    if one is None or not visit.caller.sees(one.project_id):
        raise not_found("connection", connection_id)
    return one


async def head(connection: AsyncConnection, one: Connection) -> dict[str, Any]:
    """What stands above every page of a connection."""
    waiting = await particulars.quarantined(connection, one.id)
    return {"one": one, "now": await clock(connection), "quarantined": sum(waiting.values())}


async def show(visit: Visit) -> web.Response:
    """How a connection stands."""
    async with visit.context.database.read() as connection:
        position = await outbox.last_position(connection)
        one = await found(visit, connection)
        values = await head(connection, one)
        recent = await syncs.listed(connection, None, SHOWN_SYNCS, syncs_table.c.connection_id == one.id)
        live = [sync for sync in recent if sync.state in LIVE]
        expected = await overview.expected(connection, [sync.id for sync in live])
        streams = await _streams(visit, connection, one, recent)
        events = all_told(await particulars.happened(connection, one.id, SHOWN_EVENTS * 3))
        values |= await _names(connection, one)
    ended = [sync for sync in recent if sync.state not in LIVE]
    message, hint = why(one)
    return visit.page(
        "connection.html",
        **values,
        position=position,
        cause=Problem(one.cause or "", message or "", hint or "") if message else None,
        work=[work_of(sync, expected.get(sync.id), values["now"]) for sync in live],
        streams=streams,
        syncs=ended[:LISTED_SYNCS],
        more_syncs=len(ended) > LISTED_SYNCS,
        timeline=charts.timeline(recent),
        events=[one for one in events if one.kind != "progress"][:SHOWN_EVENTS],
    )


async def history(visit: Visit) -> web.Response:
    """All syncs of a connection, page by page."""
    before = visit.request.query.get("before", "")
    until = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
        values = await head(connection, one)
        recent = await syncs.listed(connection, until, 51, syncs_table.c.connection_id == one.id)
    return visit.page("history.html", **values, syncs=recent[:50], more=len(recent) > 50, until=until)


async def _names(connection: AsyncConnection, one: Connection) -> Mapping[str, Any]:
    credential = None if one.credential_id is None else await credentials.get(connection, one.credential_id)
    project = None if one.project_id is None else await projects.get(connection, one.project_id)
    return {"credential": credential, "project": project}


async def _streams(
    visit: Visit, connection: AsyncConnection, one: Connection, recent: Sequence[Sync]
) -> list[StreamShown]:
    """The streams that are read, and those that were."""
    adapter = visit.context.remotes.adapters.get(one.system)
    if adapter is None:
        return []
    reach = await particulars.reach(connection, one.id)
    waiting = await particulars.quarantined(connection, one.id)
    known = await counted(visit, connection, one)
    shown = []
    for feed in adapter.feeds:
        for stream in feed.streams:
            chosen = one.streams is None or stream.name in one.streams
            count = known.streams.get(stream.name) if known is not None else None
            if not chosen and not (count and count.records):
                continue
            receipt, sync_id = next(_receipts(recent, stream.name), (None, None))
            quarantined = waiting.get(stream.name, 0)
            shown.append(
                StreamShown(stream.name, count, reach.get(feed.name), receipt, sync_id, quarantined, chosen)
            )
    return shown


def _receipts(recent: Sequence[Sync], stream: str) -> Iterator[tuple[Receipt, int]]:
    for sync in recent:
        receipt = (sync.receipt or {}).get(stream)
        if receipt is not None and sync.lane == "bulk":
            yield receipt, sync.id


async def counted(visit: Visit, connection: AsyncConnection, one: Connection) -> Known | None:
    """How many records it has, as far as that was counted."""
    [line] = await overview.lines(connection, [one.id])
    wanted = [(one.id, one.system, line.change_sequence)]
    return (await visit.request.app[COUNTS].of(visit.context, wanted, LATER)).get(one.id)


ROUTES = (
    Route(method="GET", path="/connections/{id}", view=show, by_project=True),
    Route(method="GET", path="/connections/{id}/syncs", view=history, by_project=True),
)
