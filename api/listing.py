"""Connections in a list: which, and in which order, a thousand of them at once."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.sql import ColumnElement

from api.connections import ConnectionAnswer, Connections, Health, why
from api.paging import ById, Page, cut, read_cursor
from api.routing import Call, Route
from api.shapes import Flag, Id, Nothing, Part, Position, Word
from store.listing import After, By, Listed, Order, connections_by
from store.schema import connections as table

Sort = Literal[
    "id", "-id", "name", "-name", "last_success_at", "-last_success_at", "next_due_at", "-next_due_at"
]


class ConnectionQuery(Page, frozen=True, kw_only=True):
    """Which connections, in which order. `q` is a part of the name.

    `project_id=null` are those of the account. `-` before what it is sorted by turns the order round; what
    has no such time comes last in either.
    """

    system: Word | None = None
    health: Health | None = None
    cause: Word | None = None
    enabled: Flag | None = None
    name: Word | None = None
    q: Part | None = None
    credential_id: Id | None = None
    project_id: Id | UnsetType | None = UNSET
    sort: Sort = "id"


class ByName(msgspec.Struct, frozen=True, array_like=True):
    """The position in a list that goes by names."""

    id: Position
    value: str


class ByTime(msgspec.Struct, frozen=True, array_like=True):
    """The position in a list that goes by times, the database's to the microsecond."""

    id: Position
    value: datetime | None


async def connections(call: Call[Nothing, ConnectionQuery]) -> Connections:
    """Connections, ascending by id unless another order is asked for."""
    query = call.query
    order = _order(query.sort)
    after = None
    if query.cursor is not None:
        last = read_cursor(call.request, query.cursor, _POSITIONS[order.by])
        after = After(last.id, getattr(last, "value", None))
    filters = [*_filters(query), *call.caller.limits(table.c.project_id)]
    async with call.context.database.read() as connection:
        found = await connections_by(connection, order, after, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, _position)
    writes = call.caller.may("write")
    return Connections([_answer(one, writes=writes) for one in page.items], page.next)


def _order(sort: Sort) -> Order:
    return Order(msgspec.convert(sort.lstrip("-"), By), sort.startswith("-"))


_POSITIONS: Mapping[By, type[ById] | type[ByName] | type[ByTime]] = {
    "id": ById,
    "name": ByName,
    "last_success_at": ByTime,
    "next_due_at": ByTime,
}


def _position(last: Listed) -> ById | ByName | ByTime:
    match last.place:
        case str(name):
            return ByName(last.id, name)
        case datetime() | None as at:
            return ByTime(last.id, at)
        case _:
            return ById(last.id)


def _filters(query: ConnectionQuery) -> Iterator[ColumnElement[bool]]:
    c = table.c
    for name in ("system", "health", "cause", "name", "credential_id"):
        value = getattr(query, name)
        if value is not None:
            yield c[name] == value
    if query.enabled is not None:
        yield c.enabled.is_(query.enabled == "true")
    if query.q is not None:
        yield c.name.icontains(query.q, autoescape=True)
    if query.project_id is None:
        yield c.project_id.is_(None)
    elif query.project_id is not UNSET:
        yield c.project_id == query.project_id


def _answer(one: Listed, *, writes: bool) -> ConnectionAnswer:
    """The same as an `answer`, of a connection in a list."""
    message, hint = why(one)
    # JSON as it is stored goes out as it is: taking it apart and putting it together takes longest.
    streams: Any = None if one.streams is None else msgspec.Raw(one.streams.encode())
    params: Any = msgspec.Raw(one.params.encode()) if writes else UNSET
    return ConnectionAnswer(
        id=one.id,
        name=one.name,
        system=one.system,
        url=one.url,
        credential_id=one.credential_id,
        project_id=one.project_id,
        frequency=one.frequency,
        timezone=one.timezone,
        streams=streams,
        params=params,
        enabled=one.enabled,
        debug=one.debug,
        has_webhook_secret=one.has_webhook_secret,
        callback_token=one.callback_token if writes else None,
        health=one.health,
        cause=one.cause,
        message=message,
        hint=hint,
        since=one.since,
        next_due_at=one.next_due_at,
        last_sync_at=one.last_sync_at,
        last_success_at=one.last_success_at,
        last_error_at=one.last_error_at,
        last_webhook_at=one.last_webhook_at,
        webhook_missed_at=one.webhook_missed_at,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/v1/connections",
        summary="List connections",
        permission="read",
        by_project=True,
        handler=connections,
        body=Nothing,
        query=ConnectionQuery,
        answer=Connections,
    ),
)
