"""What happens everywhere, as it happens."""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from api.ui.front import Route, Visit
from api.ui.happened import Told, told
from store import outbox, overview, particulars
from store.database import clock
from store.health import CONNECTION_STATUS
from store.schema import connections, projects
from store.schema import outbox as table

PAGE = 60
#: Events are looked through in batches, for what they say is not in a column; so many at most.
BATCH, BATCHES = 300, 10
TROUBLE = ("failed", "partial", "stale", "rate_limited", "waiting")
WHAT: Mapping[str, tuple[str, Callable[[Told], bool]]] = {
    "news": ("All but progress", lambda one: one.kind != "progress"),
    "health": ("Changes of health", lambda one: one.kind == "health"),
    "trouble": ("Trouble", lambda one: one.look in TROUBLE),
    "webhook": ("By webhooks", lambda one: one.kind == "webhook"),
    "everything": ("Everything", lambda _: True),
}


async def activity(visit: Visit) -> web.Response:
    """The newest events that fit."""
    query = visit.request.query
    what = query.get("what", "news") if query.get("what") in WHAT else "news"
    before = _number(query.get("before", ""))
    text, system = query.get("q", "").strip()[:200], query.get("system", "")
    one = _number(query.get("connection", ""))
    async with visit.context.database.read() as connection:
        position = await outbox.last_position(connection)
        now = await clock(connection)
        filters = _filters(visit, text, system, one)
        if what == "health":
            filters.append(table.c.type == CONNECTION_STATUS)
        events, older = await _found(connection, before, WHAT[what][1], filters)
        names = await _names(connection, {event.connection_id for event in events})
    return visit.page(
        "activity.html",
        events=events,
        names=names,
        now=now,
        position=position,
        what=what,
        whats={name: label for name, (label, _) in WHAT.items()},
        text=text,
        system=system,
        systems=sorted(visit.context.remotes.adapters),
        connection=one,
        before=before,
        older=older,
    )


async def _found(
    connection: AsyncConnection,
    before: int | None,
    fits: Callable[[Told], bool],
    filters: list[ColumnElement[bool]],
) -> tuple[list[Told], int | None]:
    """A page of events, and the position to go on before; None at the end."""
    found: list[Told] = []
    for _ in range(BATCHES):
        batch = await particulars.happened_anywhere(connection, before, BATCH, *filters)
        for event in batch:
            one = told(event)
            if fits(one):
                found.append(one)
            if len(found) == PAGE:
                return found, event.position
        if len(batch) < BATCH:
            return found, None
        before = batch[-1].position
    return found, before


def _filters(visit: Visit, text: str, system: str, one: int | None) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = list(visit.caller.limits_connection(table.c.connection_id))
    if one is not None:
        filters.append(table.c.connection_id == one)
    if text or system:
        of = select(connections.c.id)
        of = of.where(overview.matching(text)) if text else of
        of = of.where(connections.c.system == system) if system else of
        filters.append(table.c.connection_id.in_(of))
    return filters


async def _names(connection: AsyncConnection, ids: set[int]) -> Mapping[int, Any]:
    """Name and project of connections, removed ones too."""
    c = connections.c
    query = select(c.id, c.name, c.deleted_at, projects.c.name.label("project")).where(c.id.in_(ids))
    joined = query.select_from(connections.outerjoin(projects, projects.c.id == c.project_id))
    return {row.id: row for row in await connection.execute(joined)}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


ROUTES = (Route(method="GET", path="/activity", view=activity, by_project=True),)
