"""Live events: server-sent, from the database by position, so that a reader can go on where it was."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import or_, select
from sqlalchemy.sql import ColumnElement

from api.access import Caller
from api.context import Context
from api.problems import STARTED, FieldError, ProblemError, invalid
from api.routing import Call, Header, Route, authenticated
from api.shapes import Id, Nothing, Position
from events.envelope import dressed
from store import outbox
from store.outbox import Event
from store.outgoing import subscriptions
from store.schema import outbox as table

MEDIA = "text/event-stream"
#: What one reader holds at most: hundreds that catch up at once must fit into memory.
BATCH = 50
RECONNECT_MS = 2000
#: A key that was revoked, or a client that left, is noticed within so many seconds where nothing happens.
LOOK_ROUND_SECONDS = 1.0

#: Says who listens, again and again. Raises for a key that was revoked meanwhile, which ends the stream.
Who = Callable[[], Awaitable[Caller]]


EventId = Annotated[str, Meta(pattern=r"^[0-9]{1,18}$")]


class EventQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events: of one connection, after a position. `Last-Event-ID` wins over `after`."""

    connection_id: Id | None = None
    after: Position | None = None


async def follow(call: Call[Nothing, EventQuery]) -> web.StreamResponse:
    """Events as they happen, from now on or after a position, until the client leaves."""
    context, request = call.context, call.request

    async def who() -> Caller:
        return await authenticated(context, request)

    return await stream(context, request, call.query, who)


async def stream(context: Context, request: web.Request, query: EventQuery, who: Who) -> web.StreamResponse:
    """The same for whoever knows in another way who listens."""
    if context.listeners.locked():
        full = "Too many are listening; take the events from the Redis stream, or try again."
        raise ProblemError(429, full, headers={"Retry-After": "10"})
    async with context.listeners:
        position = _resume(request, query)
        if position is None:
            position = await _newest(context)
        headers = {"Content-Type": MEDIA, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        request[STARTED] = response
        # The client left, or takes nothing: it resumes with Last-Event-ID.
        with suppress(ConnectionResetError):
            try:
                await _follow(context, request, response, query.connection_id, position, who)
            except TimeoutError:
                # An end in good order would wait for the client to take what it does not take.
                if request.transport is not None:
                    request.transport.abort()
        return response


async def _follow(
    context: Context,
    request: web.Request,
    response: web.StreamResponse,
    connection_id: int | None,
    position: int,
    who: Who,
) -> None:
    loop = asyncio.get_running_loop()
    await _write(context, response, f"retry: {RECONNECT_MS}\n\n".encode())
    silent_since = loop.time()
    while not context.stopping.is_set() and not _left(request):
        caller = await who()
        newest = await _beyond(context, position)
        events = await _after(context, position, connection_id, caller) if newest > position else []
        if events:
            position = events[-1].position or position
            await _write(context, response, b"".join(map(_message, events)))
            silent_since = loop.time()
            continue
        # What others see is not looked through again each time.
        position = max(position, newest)
        if loop.time() - silent_since >= context.ping_seconds:
            await _write(context, response, b": ping\n\n")
            silent_since = loop.time()


async def _newest(context: Context) -> int:
    async with context.database.read() as connection:
        return await outbox.last_position(connection)


async def _beyond(context: Context, position: int) -> int:
    """The newest position, once there is one beyond this; else this, after a short while."""

    async def look() -> int:
        return await _newest(context)

    patience = min(LOOK_ROUND_SECONDS, context.ping_seconds)
    return await context.pulse.beyond(position, look, context.poll_seconds, context.stopping, patience)


async def _after(context: Context, position: int, connection_id: int | None, caller: Caller) -> list[Event]:
    async with context.database.read() as connection:
        return await outbox.after(connection, position, BATCH, connection_id, _seen_by(caller))


def _seen_by(caller: Caller) -> Sequence[ColumnElement[bool]]:
    """What happened to connections and subscriptions of the caller's projects."""
    mine = caller.limits_connection(table.c.connection_id)
    if not mine:
        return ()
    of = select(subscriptions.c.id).where(*caller.limits(subscriptions.c.project_id))
    return (or_(*mine, table.c.subscription_id.in_(of)),)


async def _write(context: Context, response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(context.write_seconds):
        await response.write(data)


def _left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _message(event: Event) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (event.position or 0, dressed(event))


def _resume(request: web.Request, query: EventQuery) -> int | None:
    """The position to go on after; None for from now on. Raises 422 for what is none."""
    last = request.headers.get("Last-Event-ID", "").strip()
    if not last:
        return query.after
    if not (last.isascii() and last.isdigit() and len(last) < 19):
        raise invalid(FieldError("Last-Event-ID", "This must be the id of an event."))
    return int(last)


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/v1/events",
        summary="Follow events as they happen",
        permission="read",
        by_project=True,
        handler=follow,
        body=Nothing,
        query=EventQuery,
        media=(MEDIA,),
        headers=(Header("Last-Event-ID", "The id of the last event that was seen.", EventId),),
    ),
)
