"""Settings: projects, what connections are grouped under."""

from typing import Any

from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api import projects as api_projects
from api.problems import FieldError, ProblemError
from api.projects import NewProject, ProjectChange
from api.routing import converted
from api.shapes import Nothing
from api.ui import form
from api.ui.form import Filled
from api.ui.front import Route, Visit, go
from store import projects
from store.schema import connections as connection_table


async def all_projects(visit: Visit) -> web.Response:
    """Each with how many connections are in it, and the ways to change that."""
    return await _projects(visit)


async def make(visit: Visit) -> web.Response:
    given = await form.filled(visit.request)
    try:
        await api_projects.create(visit.call(converted(_body(given), NewProject), Nothing()))
    except ProblemError as e:
        return await _projects(visit, e, given=given)
    return go(visit, "settings/projects")


async def change(visit: Visit) -> web.Response:
    """Give it another name or key; what is in it stays in it."""
    given = await form.filled(visit.request)
    try:
        await api_projects.change(visit.call(converted(_body(given), ProjectChange), Nothing()))
    except ProblemError as e:
        if e.status == 404:
            raise
        return await _projects(visit, e, changing=_id(visit), given=given)
    return go(visit, "settings/projects")


async def remove(visit: Visit) -> web.Response:
    """Only where nothing uses it; what does is named."""
    try:
        await api_projects.remove(visit.call(Nothing(), Nothing()))
    except ProblemError as e:
        if e.status == 404:
            raise
        return await _projects(visit, e, changing=_id(visit))
    return go(visit, "settings/projects")


def _body(given: Filled) -> dict[str, str]:
    return {name: given.get(name).strip() for name in ("name", "key")}


def _id(visit: Visit) -> int:
    return visit.call(None, None).id("project")


async def _projects(
    visit: Visit, error: ProblemError | None = None, changing: int | None = None, given: Filled | None = None
) -> web.Response:
    async with visit.context.database.read() as connection:
        known = await projects.listed(connection, 0, 1000)
        used = await _used(connection)
    errors = [] if error is None else error.errors or [FieldError("project", error.detail)]
    return visit.page(
        "projects.html", status=200 if error is None else error.status, here="Projects",
        projects=known, used=used, changing=changing, given=(given or Filled({})).values, errors=errors,
    )  # fmt: skip


async def _used(connection: AsyncConnection) -> dict[int, int]:
    """How many connections are in each project."""
    c = connection_table.c
    query = select(c.project_id, func.count()).where(c.deleted_at.is_(None), c.project_id.is_not(None))
    return {row[0]: row[1] for row in await connection.execute(query.group_by(c.project_id))}


def _route(method: str, path: str, view: Any, permission: Any) -> Route:
    return Route(method=method, path=f"/settings/projects{path}", view=view, permission=permission)


ROUTES = (
    _route("GET", "", all_projects, "read"),
    _route("POST", "", make, "write"),
    _route("POST", "/{id}", change, "write"),
    _route("POST", "/{id}/remove", remove, "write"),
)
