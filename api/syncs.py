"""Syncs: opened by hand, looked at, cancelled."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import Caller
from api.connections import named
from api.context import Context
from api.paging import ById, Page, after_id, cut
from api.problems import FieldError, ProblemError, invalid, not_found
from api.routing import Call, Route
from api.shapes import Id, Key, Moment, Nothing, Text
from api.wanted import stream_names
from config.failpoints import Step, passed
from scheduler.dispatch import ClosedError, Request, open_sync
from store import audit, claims, connections, syncs
from store.connections import Connection, locked
from store.database import clock
from store.health import Problem
from store.schema import syncs as table
from store.syncs import Counts, Receipt, Scope, Sync
from worker.remote import Adapters

SCOPES: tuple[Scope, ...] = ("incremental", "full", "census", "records")


class NewSync(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sync that is asked for. `stream` and `keys` belong to the scope `records`; `accept_loss` to
    `census` and `full`: most records may be found gone.
    """

    scope: Annotated[str, Meta(extra_json_schema={"enum": list(SCOPES)})] = "incremental"
    stream: Text | None = None
    keys: Annotated[list[Key], Meta(max_length=10_000)] | None = None
    accept_loss: bool = False


class SyncAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A sync. `waited` is in ms; `joined` counts the triggers that it answers besides the first.

    `stream` and `keys` are those of the scope `records`; with keys of several streams, `stream` is null
    and `keys` is by stream.
    """

    id: int
    connection_id: int
    lane: str
    trigger: str
    scope: str
    stream: str | UnsetType | None = UNSET
    keys: list[str] | dict[str, list[str]] | UnsetType = UNSET
    state: str
    resume_at: str | None
    counters: dict[str, Counts]
    receipt: dict[str, Receipt]
    error: Problem | None
    requests: int
    bytes: int
    waited: int
    joined: int
    queued_at: str
    started_at: str | None
    finished_at: str | None


class Syncs(msgspec.Struct, frozen=True):
    """Some syncs, newest first."""

    syncs: Sequence[SyncAnswer]
    next: str | None


class SyncQuery(Page, frozen=True, kw_only=True):
    """Which syncs. `since` and `until` say when they were queued; the second is not among them."""

    state: syncs.State | None = None
    lane: syncs.Lane | None = None
    trigger: syncs.Trigger | None = None
    scope: Scope | None = None
    since: Moment | None = None
    until: Moment | None = None


class AllSyncsQuery(SyncQuery, frozen=True, kw_only=True):
    """Which syncs, of which connection."""

    connection_id: Id | None = None


async def start(call: Call[NewSync, Nothing]) -> SyncAnswer:
    """Open a sync, or join the queued one. 409 for a draft or a disabled connection."""
    context = call.context
    async with context.database.write() as connection:
        found = await named(call, connection)
        request = _request(context.remotes.adapters, found, call.body)
        try:
            opened = await open_sync(connection, found.id, request, await clock(connection))
            await audit.write(connection, call.caller.actor, "sync", "connection", found.id, name=found.name)
        except ClosedError as e:
            raise ProblemError(409, str(e)) from None
        passed(Step.ASKED_WRITTEN)
    passed(Step.ASKED_COMMITTED)
    if opened.ring is not None:
        await context.bell.ring([opened.ring])
    return answer(opened.sync)


async def cancel(call: Call[Nothing, Nothing]) -> SyncAnswer:
    """Cancel a sync; what it committed stays. 409 if it has ended."""
    return answer(await stop(call.context, call.id("sync")))


async def stop(context: Context, sync_id: int) -> Sync:
    """Cancel a sync; what it committed stays. Raises 404, or 409 if it has ended."""
    async with context.database.write() as connection:
        found = await _found(connection, sync_id, context.caller)
        await locked(connection, found.connection_id)
        if not await syncs.cancel(connection, found, await clock(connection)):
            raise ProblemError(409, f"Sync {sync_id} has ended already.")
        await audit.write(connection, context.caller.actor, "cancel", "sync", sync_id)
        after = await syncs.get(connection, sync_id)
        ring = await claims.next_in_lane(connection, found.connection_id, found.lane)
    if ring is not None:
        await context.bell.ring([ring])
    assert after is not None
    return after


async def get(call: Call[Nothing, Nothing]) -> SyncAnswer:
    """A sync, with what it has done so far."""
    async with call.context.database.read() as connection:
        return answer(await _found(connection, call.id("sync"), call.caller))


async def listed(call: Call[Nothing, AllSyncsQuery]) -> Syncs:
    """Syncs of all connections, newest first."""
    return await _listed(call, call.query.connection_id)


async def of_connection(call: Call[Nothing, SyncQuery]) -> Syncs:
    """Syncs of a connection, newest first."""
    async with call.context.database.read() as connection:
        found = await named(call, connection)
    return await _listed(call, found.id)


async def _listed(call: Call[Any, Any], connection_id: int | None) -> Syncs:
    query = call.query
    asked = {name: getattr(query, name) for name in ("state", "lane", "trigger", "scope")}
    asked["connection_id"] = connection_id
    filters = [table.c[name] == value for name, value in asked.items() if value is not None]
    filters += call.caller.limits_connection(table.c.connection_id)
    if (since := time_in("since", query.since)) is not None:
        filters.append(table.c.queued_at >= since)
    if (until := time_in("until", query.until)) is not None:
        filters.append(table.c.queued_at < until)
    async with call.context.database.read() as connection:
        before = after_id(call.request, query)
        found = await syncs.listed(connection, before, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Syncs([answer(one) for one in page.items], page.next)


def time_in(name: str, text: str | None) -> datetime | None:
    """A time among the parameters of a query. Raises 422 for one that is in no calendar."""
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(FieldError(name, "There is no such time.")) from None


async def _found(connection: AsyncConnection, sync_id: int, caller: Caller) -> Sync:
    found = await syncs.get(connection, sync_id)
    if found is not None and caller.projects is not None:
        of = await connections.get(connection, found.connection_id, deleted=True)
        found = found if of is not None and caller.sees(of.project_id) else None
    if found is None:
        raise not_found("sync", sync_id)
    return found


def _request(adapters: Adapters, connection: Connection, body: NewSync) -> Request:
    """What the door is asked for. Raises 422."""
    scope = next((one for one in SCOPES if one == body.scope), None)
    if scope is None:
        raise invalid(FieldError("scope", f"{body.scope} is not one of {', '.join(SCOPES)}."))
    if scope != "records":
        given = [name for name in ("stream", "keys") if getattr(body, name) is not None]
        if given:
            raise invalid(*(FieldError(name, "This belongs to the scope records.") for name in given))
        if body.accept_loss and scope == "incremental":
            raise invalid(FieldError("accept_loss", "This belongs to the scopes census and full."))
        return Request("api", scope, accept_loss=body.accept_loss)
    wrong = [
        FieldError(n, "The scope records needs this.") for n in ("stream", "keys") if not getattr(body, n)
    ]
    if wrong or body.stream is None or body.keys is None:
        raise invalid(*wrong)
    adapter = adapters.get(connection.system)
    known = connection.streams or (stream_names(adapter) if adapter is not None else [])
    # A draft has no streams yet; the door says what is the matter with it.
    if known and body.stream not in known:
        message = f"There is no stream {body.stream}; this connection has {', '.join(known)}."
        raise invalid(FieldError("stream", message))
    return Request("api", scope, {body.stream: body.keys})


def answer(sync: Sync) -> SyncAnswer:
    """A sync as the API shows it."""
    told = syncs.status_of(sync)
    names = [name for name in SyncAnswer.__struct_fields__ if name not in ("stream", "keys", "receipt")]
    keys: Mapping[str, Any] = {}
    if sync.scope == "records":
        keys = {"stream": None, "keys": sync.keys}
        if len(sync.keys) == 1:
            [(stream, named_keys)] = sync.keys.items()
            keys = {"stream": stream, "keys": named_keys}
    values = {name: getattr(told, name) for name in names}
    return SyncAnswer(**values, **keys, receipt=sync.receipt or {})


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/v1/connections/{id}/sync",
        summary="Sync a connection",
        permission="write",
        by_project=True,
        handler=start,
        body=NewSync,
        query=Nothing,
        answer=SyncAnswer,
        status=202,
        idempotent=True,
        made="/v1/syncs",
        problems={409: "The connection is a draft, or disabled."},
        example={"scope": "incremental"},
    ),
    Route(
        method="GET",
        path="/v1/connections/{id}/syncs",
        summary="List the syncs of a connection",
        permission="read",
        by_project=True,
        handler=of_connection,
        body=Nothing,
        query=SyncQuery,
        answer=Syncs,
    ),
    Route(
        method="GET",
        path="/v1/syncs",
        summary="List syncs",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=AllSyncsQuery,
        answer=Syncs,
    ),
    Route(
        method="GET",
        path="/v1/syncs/{id}",
        summary="Get a sync",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=SyncAnswer,
    ),
    Route(
        method="POST",
        path="/v1/syncs/{id}/cancel",
        summary="Cancel a sync",
        permission="write",
        by_project=True,
        handler=cancel,
        body=Nothing,
        query=Nothing,
        answer=SyncAnswer,
        problems={409: "The sync has ended already."},
    ),
)
