"""Issue tracker connections, at the paths and in the words of that product's document."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from api import edits
from api.context import Context
from api.dialects import issue_tracker_params as params_of
from api.dialects import issue_tracker_writes as writes
from api.dialects.issue_tracker_credentials import discard_own
from api.dialects.issue_tracker_rows import Job, Row, count, listed, one
from api.dialects.issue_tracker_words import CONNECTIONS, TrackerSystem, primary_key, system_of
from api.dialects.issue_tracker_writes import connector_named, frequency_named
from api.problems import FieldError, invalid, not_found
from api.routing import JSON, Call, Route
from api.shapes import Discreet, Id, Name, Nothing, Word
from api.wanted import Wanted
from store import connections, projects
from store.database import Joined
from store.schema import connections as table

PATH = "/api/v2/connections/issue-tracker/"
#: Connections of a page whose size is not said.
PAGE = 100
Params = dict[str, object]


class NewTrackerConnection(Discreet, frozen=True, kw_only=True):
    """A connection to be made. `connector` is the credential; user and secret among `params` outdo it."""

    alias: Name
    connector: int | str
    project: int | str
    params: Params
    frequency: str = "manually"
    debug_mode: bool = False


class TrackerConnectionChange(Discreet, frozen=True, kw_only=True):
    """What is to be different. Of `params`, too, what is left out stays; null takes one away."""

    alias: Name | UnsetType = UNSET
    connector: int | str | UnsetType = UNSET
    project: int | str | UnsetType = UNSET
    params: Params | UnsetType = UNSET
    frequency: str | UnsetType = UNSET
    debug_mode: bool | UnsetType = UNSET


class TrackerConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection. `params` are for keys that may write. `last_job` is there where it was asked for."""

    id: int
    alias: str
    system: TrackerSystem
    frequency: str
    command: str
    debug_mode: bool
    params: dict[str, Any] | UnsetType = UNSET
    inaccessible: bool
    last_job: Job | UnsetType | None = UNSET
    in_progress: bool
    connector: int | None
    project: int | None


class TrackerConnections(msgspec.Struct, frozen=True, kw_only=True):
    """The connections of all projects; `count` and the pages beside this one where pages were asked for."""

    count: int | UnsetType = UNSET
    next: str | UnsetType | None = UNSET
    previous: str | UnsetType | None = UNSET
    results: Sequence[TrackerConnection]


class Included(msgspec.Struct, frozen=True, kw_only=True):
    """`include=last_job` adds the last sync of each."""

    include: Word = ""


class ListQuery(Included, frozen=True, kw_only=True):
    """Which connections: of one `project`, or of all. All at once, unless pages are asked for."""

    project: Word = ""
    page: Annotated[int, Meta(ge=1, le=10_000_000)] = 1
    page_size: Annotated[int, Meta(ge=0, le=1000, description="0 is all, or 100 a page.")] = 0


async def every(call: Call[Nothing, ListQuery]) -> TrackerConnections:
    """The connections of all projects, ascending by id."""
    query = call.query
    filters = [table.c.project_id.is_not(None), *call.caller.limits(table.c.project_id)]
    async with call.context.database.read() as connection:
        if query.project:
            filters.append(table.c.project_id == await _choice(call, connection, query.project))
        if not query.page_size and "page" not in call.request.query:
            rows = await listed(connection, filters, jobs=_with_jobs(query))
            return TrackerConnections(results=await _answers(call, rows))
        page, size = query.page, query.page_size or PAGE
        total = await count(connection, filters)
        if (page - 1) * size >= total and page > 1:
            raise not_found("page", page)
        jobs, offset = _with_jobs(query), (page - 1) * size
        rows = await listed(connection, filters, jobs=jobs, limit=size, offset=offset)
    return TrackerConnections(
        count=total,
        next=_page(call, page + 1) if page * size < total else None,
        previous=_page(call, page - 1) if page > 1 else None,
        results=await _answers(call, rows),
    )


async def _answers(call: Call[Nothing, ListQuery], rows: Sequence[Row]) -> Sequence[TrackerConnection]:
    """The same of many; others get their turn meanwhile."""
    told = []
    for number, row in enumerate(rows):
        if number % PAGE == 0:
            await asyncio.sleep(0)
        told.append(answer(call.context, row, call.query))
    return told


async def get(call: Call[Nothing, Included]) -> TrackerConnection:
    """A connection."""
    async with call.context.database.read() as connection:
        return answer(call.context, await named(call, connection), call.query)


async def create(call: Call[NewTrackerConnection, Included]) -> TrackerConnection:
    """Make a connection. Where no URL can be made of what is given, it is a draft."""
    body = call.body
    asked = Wanted(
        name=body.alias,
        system="",
        project_id=primary_key(body.project, "project"),
        frequency=frequency_named(body.frequency),
        debug=body.debug_mode,
    )
    async with call.context.database.write() as connection:
        connector = await connector_named(connection, body.connector)
        made = await writes.add(call.context, connection, asked, connector, body.params)
        return await _after(call, connection, made)


async def change(call: Call[TrackerConnectionChange, Included]) -> TrackerConnection:
    """Change a connection. What is read being another cancels its syncs and reads anew."""
    body = call.body
    async with call.context.database.write() as connection:
        locked = await connections.locked(connection, call.id("connection"))
        before = await named(call, connection)
        assert locked is not None
        news = _news(body, before)
        connector = None
        if body.connector is not UNSET and str(body.connector) != str(before.connector):
            connector = await connector_named(connection, body.connector)
        params = {} if body.params is UNSET else body.params
        stored = connections.from_row(locked)
        await writes.alter(call.context, connection, stored, before, news, connector, params)
        return await _after(call, connection, before.id)


def _news(body: TrackerConnectionChange, before: Row) -> dict[str, object]:
    """What is to be different of all but connector and parameters. Raises 422."""
    news: dict[str, object] = {}
    if body.alias is not UNSET:
        news["name"] = body.alias
    if body.project is not UNSET:
        news["project_id"] = primary_key(body.project, "project")
    if body.frequency is not UNSET:
        news["frequency"] = frequency_named(body.frequency, before.frequency)
    if body.debug_mode is not UNSET:
        news["debug"] = body.debug_mode
    return news


async def _after(call: Call[Any, Included], connection: AsyncConnection, made: int) -> TrackerConnection:
    row = await one(connection, made, jobs=_with_jobs(call.query))
    assert row is not None
    return answer(call.context, row, call.query)


async def remove(call: Call[Nothing, Nothing]) -> web.Response:
    """Remove a connection, and the credential that was made for it alone. Its records stay."""
    async with call.context.database.write() as connection:
        await connections.locked(connection, call.id("connection"))
        before = await named(call, connection)
        context = replace(call.context, database=Joined(call.context.database, connection))
        await edits.remove(context, before.id, purge=False)
        if before.has_own:
            await discard_own(context, connection, before.credential_id)
    return web.Response(status=204, headers={"Content-Type": JSON, "Cache-Control": "no-store"})


async def named(call: Call[Any, Any], connection: AsyncConnection) -> Row:
    """The connection in the path. Raises 404."""
    connection_id = call.id("connection")
    found = await one(connection, connection_id, jobs=_with_jobs(call.query))
    if found is None or not call.caller.sees(found.project_id):
        raise not_found("connection", connection_id)
    return found


def answer(context: Context, row: Row, query: Included) -> TrackerConnection:
    """A connection as this caller may see it."""
    writes = context.caller.may("write")
    return TrackerConnection(
        id=row.id,
        alias=row.name,
        system=system_of(row.system),
        frequency=row.frequency,
        command=f"sync_{row.system}",
        debug_mode=row.debug,
        params=params_of.shown(row, context.remotes.adapters) if writes else UNSET,
        inaccessible=row.inaccessible,
        last_job=row.last_job if _with_jobs(query) else UNSET,
        in_progress=row.in_progress,
        connector=row.connector,
        project=row.project_id,
    )


async def _choice(call: Call[Any, Any], connection: AsyncConnection, text: str) -> int:
    """The project of a filter. Raises 422 for one that this caller cannot choose."""
    project_id = primary_key(text, "project")
    if not call.caller.sees(project_id) or await projects.get(connection, project_id) is None:
        message = f"Select a valid choice: there is no project {project_id}."
        raise invalid(FieldError("project", message))
    return project_id


def _with_jobs(query: object) -> bool:
    included = query.include if isinstance(query, Included) else ""
    return "last_job" in [name.strip() for name in included.split(",")]


def _page(call: Call[Nothing, ListQuery], number: int) -> str:
    """The address of another page, with all other parameters as they are."""
    base = call.context.public_url.rstrip("/") + PATH
    return str(URL(base).with_query(call.request.query).update_query(page=number))


_EXAMPLE = {
    "alias": "Payment bugs",
    "connector": 1,
    "project": 1,
    "frequency": "hourly",
    "params": {"issue_tracker_project": "PAY"},
}
ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path=PATH,
        summary="List issue tracker connections",
        permission="read",
        by_project=True,
        handler=every,
        body=Nothing,
        query=ListQuery,
        answer=TrackerConnections,
        problems={400: "A parameter does not fit.", 404: "There is no such page."},
        dialect=CONNECTIONS,
    ),
    Route(
        method="POST",
        path=PATH,
        summary="Make an issue tracker connection",
        permission="write",
        by_project=True,
        handler=create,
        body=NewTrackerConnection,
        query=Included,
        answer=TrackerConnection,
        status=201,
        example=_EXAMPLE,
        problems={422: "Something does not fit."},
        dialect=CONNECTIONS,
    ),
    Route(
        method="GET",
        path=PATH + "{id}/",
        summary="Get an issue tracker connection",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Included,
        answer=TrackerConnection,
        problems={422: "A parameter does not fit."},
        names={"id": Id},
        dialect=CONNECTIONS,
    ),
    Route(
        method="PATCH",
        path=PATH + "{id}/",
        summary="Change an issue tracker connection",
        permission="write",
        by_project=True,
        handler=change,
        body=TrackerConnectionChange,
        query=Included,
        answer=TrackerConnection,
        example={"frequency": "manually", "params": {"issue_tracker_project": "PAY"}},
        problems={422: "Something does not fit."},
        names={"id": Id},
        dialect=CONNECTIONS,
    ),
    Route(
        method="DELETE",
        path=PATH + "{id}/",
        summary="Remove an issue tracker connection",
        permission="write",
        by_project=True,
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
        names={"id": Id},
        dialect=CONNECTIONS,
    ),
)
