"""Projects: what connections are grouped under."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from api.etags import Versioned, version_of
from api.paging import ById, Page, after_id, cut
from api.problems import FieldError, ProblemError, not_found
from api.routing import Call, Route
from api.shapes import Name, Nothing, Part, Word, moment
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


class ProjectChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is left out stays."""

    name: Name | UnsetType = UNSET
    key: Name | UnsetType = UNSET


class ProjectQuery(Page, frozen=True, kw_only=True):
    """Which projects; `q` is a part of the name."""

    key: Word | None = None
    q: Part | None = None


async def create(call: Call[NewProject, Nothing]) -> Versioned:
    """Make a project. 409 if its key is taken."""
    async with call.context.database.write() as connection:
        await _free(connection, call.body.key)
        made = await projects.add(connection, call.body.key, call.body.name, await clock(connection))
        await audit.write(connection, call.caller.actor, "create", "project", made, name=call.body.name)
        return _versioned(await _found(connection, made))


async def change(call: Call[ProjectChange, Nothing]) -> Versioned:
    """Change name or key of a project. 409 if the key is taken."""
    project_id = call.id("project")
    async with call.context.database.write() as connection:
        before = await _locked(connection, project_id)
        call.precondition.check(version_of(before))
        given = {name: getattr(call.body, name) for name in ProjectChange.__struct_fields__}
        news = {name: value for name, value in given.items() if value is not UNSET}
        wanted = replace(before, **news)
        if wanted.key != before.key:
            await _free(connection, wanted.key)
        await projects.change(connection, project_id, news, await clock(connection))
        fields = audit.changed(before, wanted)
        actor = call.caller.actor
        await audit.write(connection, actor, "update", "project", project_id, name=wanted.name, fields=fields)
        return _versioned(await _found(connection, project_id))


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Remove a project. 409 while a connection is in it, or a key or a subscription is limited to it."""
    project_id = call.id("project")
    async with call.context.database.write() as connection:
        before = await _locked(connection, project_id)
        call.precondition.check(version_of(before))
        users = [
            f"{len(ids)} {what}{'s' if len(ids) > 1 else ''} ({', '.join(map(str, ids[:5]))}"
            f"{', ...' if len(ids) > 5 else ''})"
            for what, ids in (await projects.users(connection, project_id)).items()
            if ids
        ]
        if users:
            raise ProblemError(409, f"This project is used by {' and '.join(users)}: change these first.")
        await projects.delete(connection, project_id)
        actor = call.caller.actor
        await audit.write(connection, actor, "delete", "project", project_id, name=before.name)


async def listed(call: Call[Nothing, ProjectQuery]) -> Projects:
    """Projects, ascending by id."""
    query, c = call.query, table.c
    filters = [*call.caller.limits(c.id)]
    if query.key is not None:
        filters.append(c.key == query.key)
    if query.q is not None:
        filters.append(c.name.icontains(query.q, autoescape=True))
    async with call.context.database.read() as connection:
        after = after_id(call.request, query) or 0
        found = await projects.listed(connection, after, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Projects([_answer(one) for one in page.items], page.next)


async def get(call: Call[Nothing, Nothing]) -> Versioned:
    """A project."""
    project_id = call.id("project")
    if not call.caller.sees(project_id):
        raise not_found("project", project_id)
    async with call.context.database.read() as connection:
        return _versioned(await _found(connection, project_id))


async def _free(connection: AsyncConnection, key: str) -> None:
    """Raises 409 if a project has this key."""
    if await projects.by_key(connection, key) is not None:
        taken = f"There is a project with the key {key} already."
        raise ProblemError(409, taken, [FieldError("key", taken)])


async def _locked(connection: AsyncConnection, project_id: int) -> Project:
    found = await projects.locked(connection, project_id)
    if found is None:
        raise not_found("project", project_id)
    return found


async def _found(connection: AsyncConnection, project_id: int) -> Project:
    found = await projects.get(connection, project_id)
    if found is None:
        raise not_found("project", project_id)
    return found


def _versioned(project: Project) -> Versioned:
    return Versioned(_answer(project), version_of(project))


def _answer(project: Project) -> ProjectAnswer:
    created, updated = moment(project.created_at), moment(project.updated_at)
    return ProjectAnswer(project.id, project.name, project.key, created, updated)


TAKEN = "Another project has this key."
EXAMPLE = {"name": "Web shop", "key": "WEB"}

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
        idempotent=True,
        made="/v1/projects",
        tagged=True,
        problems={409: TAKEN},
        example=EXAMPLE,
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
        tagged=True,
    ),
    Route(
        method="PATCH",
        path="/v1/projects/{id}",
        summary="Change a project",
        permission="write",
        handler=change,
        body=ProjectChange,
        query=Nothing,
        answer=ProjectAnswer,
        tagged=True,
        problems={409: TAKEN},
        example={"name": "Web shop, new"},
    ),
    Route(
        method="DELETE",
        path="/v1/projects/{id}",
        summary="Remove a project that nothing is in",
        permission="write",
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
        tagged=True,
        problems={409: "Connections are in it, or keys or subscriptions are limited to it; they are named."},
    ),
)
