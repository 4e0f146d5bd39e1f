"""Connections: what is kept in step, how often, and how it stands."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from api import edits
from api.access import Caller
from api.etags import Versioned
from api.problems import not_found
from api.routing import Call, Route
from api.shapes import Discreet, Id, Name, Nothing, System, Text, moment
from api.wanted import Wanted
from store import connections
from store.connections import Connection
from store.listing import Listed

Health = Literal["disabled", "failed", "rate_limited", "processing", "partial", "stale", "pending", "healthy"]
Streams = Annotated[list[Name], Meta(max_length=100)]


class NewConnection(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A connection to be made. Without a URL, or for a system without an adapter, it is a draft."""

    name: Name
    system: System
    url: Text | None = None
    credential_id: Id | None = None
    project_id: Id | None = None
    frequency: Text = "hourly"
    timezone: Text = "UTC"
    streams: Streams | None = None
    params: dict[str, object] = msgspec.field(default_factory=dict)
    enabled: bool = True
    debug: bool = False
    webhook_secret: Text | None = None


class ConnectionChange(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different. `params` and `streams` are replaced whole; `********` keeps a secret."""

    name: Name | UnsetType = UNSET
    url: Text | UnsetType | None = UNSET
    credential_id: Id | UnsetType | None = UNSET
    project_id: Id | UnsetType | None = UNSET
    frequency: Text | UnsetType = UNSET
    timezone: Text | UnsetType = UNSET
    streams: Streams | UnsetType | None = UNSET
    params: dict[str, object] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    debug: bool | UnsetType = UNSET
    webhook_secret: Text | UnsetType | None = UNSET


class ConnectionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A connection. `params` and `callback_token` are for keys with `write` only.

    `message` and `hint` say more about the cause, where there is something to say. `webhook_missed_at` is
    since when polling finds changes that no webhook told of, though there have been webhooks; null while all
    is well.
    """

    id: int
    name: str
    system: str
    url: str | None
    credential_id: int | None
    project_id: int | None
    frequency: str
    timezone: str
    streams: list[str] | None
    params: dict[str, Any] | UnsetType = UNSET
    enabled: bool
    debug: bool
    has_webhook_secret: bool
    callback_token: str | None
    health: str
    cause: str | None
    message: str | None
    hint: str | None
    since: str | None
    next_due_at: str | None
    last_sync_at: str | None
    last_success_at: str | None
    last_error_at: str | None
    last_webhook_at: str | None
    webhook_missed_at: str | None
    created_at: str | None
    updated_at: str | None


class Connections(msgspec.Struct, frozen=True):
    """Some connections, ascending by id."""

    connections: Sequence[ConnectionAnswer]
    next: str | None


class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection stands."""

    health: str
    cause: str | None
    message: str | None
    hint: str | None
    since: str | None
    last_success_at: str | None
    next_due_at: str | None


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of the records of a connection that is removed: they stay, unless deleted too."""

    records: Literal["keep", "delete"] = "keep"


async def create(call: Call[NewConnection, Nothing]) -> Versioned:
    """Make a connection. It is answered before its first sync."""
    made = await edits.make(call.context, wanted_of(call.body), call.body.webhook_secret)
    return _versioned(made, call.caller)


async def change(call: Call[ConnectionChange, Nothing]) -> Versioned:
    """Change a connection. What is read being another cancels its syncs and reads anew.

    A URL at another server than the credential is for leaves the connection without a credential, unless the
    key has `admin`.
    """
    given = {name: getattr(call.body, name, UNSET) for name in Wanted.__struct_fields__}
    news = {name: value for name, value in given.items() if value is not UNSET}

    def merged(stored: Wanted) -> Wanted:
        return msgspec.structs.replace(stored, **news)

    connection_id, secret = call.id("connection"), call.body.webhook_secret
    drops = call.body.credential_id is UNSET
    changed = await edits.edit(call.context, connection_id, merged, secret, call.precondition, drops=drops)
    return _versioned(changed, call.caller)


async def remove(call: Call[Nothing, Removal]) -> None:
    """Remove a connection and cancel its syncs."""
    purge = call.query.records == "delete"
    await edits.remove(call.context, call.id("connection"), purge=purge, precondition=call.precondition)


async def get(call: Call[Nothing, Nothing]) -> Versioned:
    """A connection."""
    async with call.context.database.read() as connection:
        return _versioned(await named(call, connection), call.caller)


async def status(call: Call[Nothing, Nothing]) -> ConnectionStatus:
    """How a connection stands, and why."""
    async with call.context.database.read() as connection:
        found = await named(call, connection)
    message, hint = why(found)
    return ConnectionStatus(
        health=found.health,
        cause=found.cause,
        message=message,
        hint=hint,
        since=moment(found.since),
        last_success_at=moment(found.last_success_at),
        next_due_at=moment(found.next_due_at),
    )


async def named(call: Call[Any, Any], connection: AsyncConnection) -> Connection:
    """The connection in the path. Raises 404. Everything below a connection comes through here."""
    connection_id = call.id("connection")
    found = await connections.get(connection, connection_id)
    if found is None or not call.caller.sees(found.project_id):
        raise not_found("connection", connection_id)
    return found


def wanted_of(body: NewConnection) -> Wanted:
    return Wanted(**{name: getattr(body, name) for name in Wanted.__struct_fields__ if name != "attributes"})


def _versioned(connection: Connection, caller: Caller) -> Versioned:
    return Versioned(answer(connection, caller), edits.version(connection))


def answer(connection: Connection, caller: Caller) -> ConnectionAnswer:
    """A connection as this caller may see it."""
    writes = caller.may("write")
    message, hint = why(connection)
    same: Mapping[str, Any] = {name: getattr(connection, name) for name in _SAME}
    times: Mapping[str, Any] = {name: moment(getattr(connection, name)) for name in _TIMES}
    return ConnectionAnswer(
        **same,
        **times,
        params=connection.params if writes else UNSET,
        callback_token=connection.callback_token if writes else None,
        message=message,
        hint=hint,
    )


_TIMES = [name for name in ConnectionAnswer.__struct_fields__ if name == "since" or name.endswith("_at")]
_SAME = [
    name
    for name in ConnectionAnswer.__struct_fields__
    if name not in ("params", "callback_token", "message", "hint", *_TIMES)
]


def why(connection: Connection | Listed) -> tuple[str | None, str | None]:
    """Message and hint of the present cause."""
    if connection.cause is None:
        return None, None
    if connection.cause == "incomplete":
        if connection.url is None:
            return "It has no URL yet.", "Give it a URL."
        return f"There is no adapter for {connection.system}.", "Install one, or remove this connection."
    for problem in (connection.failure, connection.partial):
        if problem is not None and problem.kind == connection.cause:
            return problem.message, problem.hint
    return None, None


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/v1/connections",
        summary="Make a connection",
        permission="write",
        by_project=True,
        handler=create,
        body=NewConnection,
        query=Nothing,
        answer=ConnectionAnswer,
        status=201,
        idempotent=True,
        made="/v1/connections",
        tagged=True,
        example={
            "name": "Open bugs",
            "system": "jira",
            "url": "https://your-company.atlassian.net/issues/?filter=12345",
            "credential_id": 1,
            "frequency": "every 15m",
        },
    ),
    Route(
        method="GET",
        path="/v1/connections/{id}",
        summary="Get a connection",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=ConnectionAnswer,
        tagged=True,
    ),
    Route(
        method="PATCH",
        path="/v1/connections/{id}",
        summary="Change a connection",
        permission="write",
        by_project=True,
        handler=change,
        body=ConnectionChange,
        query=Nothing,
        answer=ConnectionAnswer,
        tagged=True,
        example={"frequency": "daily at 02:30", "timezone": "Europe/Berlin"},
    ),
    Route(
        method="DELETE",
        path="/v1/connections/{id}",
        summary="Remove a connection",
        permission="write",
        by_project=True,
        handler=remove,
        body=Nothing,
        query=Removal,
        status=204,
        tagged=True,
    ),
    Route(
        method="GET",
        path="/v1/connections/{id}/status",
        summary="How a connection stands",
        permission="read",
        by_project=True,
        handler=status,
        body=Nothing,
        query=Nothing,
        answer=ConnectionStatus,
    ),
)
