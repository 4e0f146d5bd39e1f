"""SD Elements: integrations of all projects or of one, to be looked up."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from api.dialects.issue_tracker_params import shown
from api.dialects.issue_tracker_rows import Filters, Row, listed
from api.dialects.issue_tracker_words import NAME, Refusal, word
from api.problems import FieldError, invalid, not_found
from api.routing import Call, Dialect, Route
from api.shapes import Id, Nothing, Word
from config.frequency import FrequencyError, parse_frequency
from store import projects
from store.schema import connections

DIALECT = Dialect(name="sd_elements", word=word, problem=Refusal, statuses={422: 400})

#: What clients call the systems whose name is more than a word.
_NAMES = {"azure": "Azure DevOps", "github_issues": "GitHub Issues", "servicenow": "ServiceNow"}
_TRACKER = "ALM"
#: Of systems that are no issue trackers.
_TYPES = {"jenkins": "Build System"}

#: How the newer document of this product begins the names of parameters, and this one.
_RENAMED = ("issue_tracker_", "alm_")


class SdeProjectIntegration(msgspec.Struct, frozen=True, kw_only=True):
    """An integration of a project that is known. `params` are there if asked for, for keys with `write`."""

    id: int
    system: str
    alias: str
    frequency: str
    command: str
    params: dict[str, Any] | UnsetType = UNSET
    type: str


class SdeIntegration(msgspec.Struct, frozen=True, kw_only=True):
    """An integration with its project. `params` are there if asked for, for keys with `write`."""

    id: int
    project_id: int
    system: str
    alias: str
    frequency: str
    command: str
    params: dict[str, Any] | UnsetType = UNSET
    type: str


class SdeIntegrations(msgspec.Struct, frozen=True):
    """Integrations, ascending by id."""

    results: Sequence[SdeIntegration]


class SdeProjectIntegrations(msgspec.Struct, frozen=True):
    """Integrations of one project, ascending by id."""

    results: Sequence[SdeProjectIntegration]


class _Brief(msgspec.Struct, frozen=True):
    """As much of a connection as is shown without its parameters."""

    id: int
    name: str
    system: str
    frequency: str
    project_id: int | None


class SdeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which integrations; what is empty is not looked at. `include=params` adds the parameters.

    `system` is its name here or in Tidegate, in upper or lower case; `alias`, `frequency` and `type` are
    exact.
    """

    alias: Word = ""
    frequency: Word = ""
    system: Word = ""
    type: Word = ""
    include: Word = ""


async def everywhere(call: Call[Nothing, SdeQuery]) -> SdeIntegrations:
    """Integrations of all projects; what belongs to no project is not among them."""
    async with call.context.database.read() as connection:
        rows = await _rows(call, connection, call.caller.limits(connections.c.project_id))
    return SdeIntegrations(
        [
            SdeIntegration(project_id=row.project_id, **_shown(call, row))
            for row in rows
            if row.project_id is not None
        ]
    )


async def of_project(call: Call[Nothing, SdeQuery]) -> SdeProjectIntegrations:
    """Integrations of a project."""
    project_id = call.id("project")
    async with call.context.database.read() as connection:
        if not call.caller.sees(project_id) or await projects.get(connection, project_id) is None:
            raise not_found("project", project_id)
        rows = await _rows(call, connection, [connections.c.project_id == project_id])
    return SdeProjectIntegrations([SdeProjectIntegration(**_shown(call, row)) for row in rows])


async def _rows(
    call: Call[Nothing, SdeQuery], connection: AsyncConnection, filters: Filters
) -> Sequence[Row | _Brief]:
    """The connections that are asked for, in the same few statements for however many."""
    c, query = connections.c, call.query
    filters = [*filters, *_filters(query)]
    found: Sequence[Row | _Brief]
    if _with_params(call):
        found = await listed(connection, filters)
    else:
        columns = [c[name] for name in _Brief.__struct_fields__]
        brief = select(*columns).where(c.deleted_at.is_(None), *filters).order_by(c.id)
        found = [_Brief(*row) for row in await connection.execute(brief)]
    wanted = query.system.lower()
    return [
        row
        for row in found
        if wanted in ("", row.system, _system(row.system).lower()) and query.type in ("", _type(row.system))
    ]


def _filters(query: SdeQuery) -> Iterator[ColumnElement[bool]]:
    if query.alias:
        yield connections.c.name == query.alias
    if query.frequency:
        try:
            yield connections.c.frequency == parse_frequency(query.frequency).text
        except FrequencyError as e:
            raise invalid(FieldError("frequency", e.message)) from None


def _with_params(call: Call[Nothing, SdeQuery]) -> bool:
    asked = [word.strip() for word in call.query.include.split(",")]
    return "params" in asked and call.caller.may("write")


def _shown(call: Call[Nothing, SdeQuery], row: Row | _Brief) -> dict[str, Any]:
    params: dict[str, Any] | UnsetType = UNSET
    if isinstance(row, Row):
        params = {_renamed(name): value for name, value in shown(row, call.context.remotes.adapters).items()}
        if params["conflict_policy"] == NAME:
            params["conflict_policy"] = "alm"
    return {
        "id": row.id,
        "system": _system(row.system),
        "alias": row.name,
        "frequency": row.frequency,
        "command": f"sync_{row.system.replace('-', '_')}",
        "params": params,
        "type": _type(row.system),
    }


def _renamed(name: str) -> str:
    return name.replace(*_RENAMED, 1) if name.startswith(_RENAMED[0]) else name


def _system(name: str) -> str:
    return _NAMES.get(name) or name.replace("_", " ").replace("-", " ").title()


def _type(system: str) -> str:
    return _TYPES.get(system, _TRACKER)


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/api/v2/integrations/",
        summary="List the integrations of all projects",
        permission="read",
        by_project=True,
        handler=everywhere,
        body=Nothing,
        query=SdeQuery,
        answer=SdeIntegrations,
        problems={400: "The frequency is none."},
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/v2/projects/{id}/integrations/",
        summary="List the integrations of one project",
        permission="read",
        by_project=True,
        handler=of_project,
        body=Nothing,
        query=SdeQuery,
        answer=SdeProjectIntegrations,
        names={"id": Id},
        problems={400: "The frequency is none."},
        dialect=DIALECT,
    ),
)
