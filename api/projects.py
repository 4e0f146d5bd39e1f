"""Projects: what connections are grouped under."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from api.paging import ById, Page, after_id, cut
from api.problems import FieldError, ProblemError, not_found
from api.routing import Call, Route
from api.shapes import Name, Nothing, Text, moment
from store import audit, projects
from store.database import clock
from store.projects import Project
from store.schema import projects as table


class NewProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project to be made. No two have the same key."""

    name: Name
    key: Name


class ProjectAnswer(msgspec.Struct, frozen=True):
    """A project."""

    id: int
    name: str
    key: str
    created_at: str | None
    updated_at: str | None


class Projects(msgspec.Struct, frozen=True):
    """Some projects, ascending by id."""

    projects: Sequence[ProjectAnswer]
    next: str | None


class ProjectQuery(Page, frozen=True):
    """Which projects."""

    key: Text | None = None


async def create(call: Call[NewProject, Nothing]) -> ProjectAnswer:
    """Make a project. 409 if its key is taken."""
    async with call.context.database.write() as connection:
        if await projects.by_key(connection, call.body.key) is not None:
            taken = f"There is a project with the key {call.body.key} already."
            raise ProblemError(409, taken, [FieldError("key", taken)])
        made = await projects.add(connection, call.body.key, call.body.name, await clock(connection))
        await audit.write(connection, call.caller.actor, "create", "project", made, name=call.body.name)
        return _answer(await _found(connection, made))


async def listed(call: Call[Nothing, ProjectQuery]) -> Projects:
    query = call.query
    filters = [*call.caller.limits(table.c.id)] + ([] if query.key is None else [table.c.key == query.key])
    async with call.context.database.read() as connection:
        after = after_id(call.request, query) or 0
        found = await projects.listed(connection, after, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Projects([_answer(one) for one in page.items], page.next)


async def get(call: Call[Nothing, Nothing]) -> ProjectAnswer:
    project_id = call.id("project")
    if not call.caller.sees(project_id):
        raise not_found("project", project_id)
    async with call.context.database.read() as connection:
        return _answer(await _found(connection, project_id))


async def _found(connection: AsyncConnection, project_id: int) -> Project:
    found = await projects.get(connection, project_id)
    if found is None:
        raise not_found("project", project_id)
    return found


def _answer(project: Project) -> ProjectAnswer:
    created, updated = moment(project.created_at), moment(project.updated_at)
    return ProjectAnswer(project.id, project.name, project.key, created, updated)


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/v1/projects",
        summary="Make a project",
        permission="write",
        handler=create,
        body=NewProject,
        query=Nothing,
        answer=ProjectAnswer,
        status=201,
    ),
    Route(
        method="GET",
        path="/v1/projects",
        summary="List projects",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=ProjectQuery,
        answer=Projects,
    ),
    Route(
        method="GET",
        path="/v1/projects/{id}",
        summary="Get a project",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=ProjectAnswer,
    ),
)
