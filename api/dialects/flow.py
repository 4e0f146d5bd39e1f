"""Integrations, as clients of Flow know them: what they bring, and how their data stand."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Adapter
from api.dialects import flow_sources as sources
from api.dialects.flow_people import Makers, Person, Time, makers, time_text
from api.dialects.flow_sources import REPO, SourceType, Status, Vendor
from api.problems import ProblemError, not_found
from api.routing import JSON, Call, Dialect, Route
from api.shapes import Id, Limit, Nothing, Position
from store import connections, credentials, syncs
from store.connections import Connection
from store.credentials import Credential
from store.health import Problem, problem
from store.schema import ENDED, cursors
from store.schema import connections as table
from store.schema import credentials as credentials_table
from store.schema import syncs as syncs_table

#: Where the hosted product has these paths; each is served with it, and without.
PREFIX = "/v3/customer/core"
#: The number of the organization: an installation of Tidegate is one.
ORG = 1


class EnabledSourceType(msgspec.Struct, frozen=True, kw_only=True):
    """A source type that an integration reads; its id is ten times the integration's and its number."""

    id: int
    status: str
    source_type_name: str
    integration: int
    source_type: int
    vendor_name: str
    created_by: str
    agent_enabled: bool = False


class FlowIntegration(msgspec.Struct, frozen=True, kw_only=True):
    """An integration: the connection between Tidegate and a vendor."""

    id: int
    name: str
    org: int = ORG
    vendor_type: str
    auth_type: str
    webhooks_enabled: bool
    auto_import_all_repo_groups_enabled: bool = False
    enabled_source_types: Sequence[EnabledSourceType]
    created_at: Time
    updated_at: Time
    created_by: Person
    updated_by: Person
    source_type_names: Sequence[str]
    username: str | None
    vendor_meta: Vendor
    has_repos: bool
    excluded_project_owners: Sequence[str] = ()
    url: str = ""
    api_url: str | None
    source_projects_last_updated: Time | None
    integration_type: int = 1
    processing_status: str
    connected_accounts_count: int
    deployment_source: str = "none"
    exclusion_rule_count: int = 0
    push_projects_enabled: bool = False
    agent_enabled: bool = False


class FlowIntegrations(msgspec.Struct, frozen=True):
    """Some integrations, ascending by id, how many there are, and the addresses of the pages around."""

    count: int
    next: str | None
    previous: str | None
    results: Sequence[FlowIntegration]


class SourceTypeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the data of one source type stand."""

    id: int
    source_type: int
    source_type_name: str
    status: Status
    cause: str | None
    message: str | None
    hint: str | None


class IntegrationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the data of an integration stand, since when and why; `hint` is what to do about it."""

    integration: int
    status: Status
    cause: str | None
    message: str | None
    hint: str | None
    since: Time
    source_projects_last_updated: Time | None
    source_types: Sequence[SourceTypeStatus]


class FlowError(msgspec.Struct, frozen=True):
    """What went wrong, and what to do."""

    detail: str


class FlowQuery(msgspec.Struct, frozen=True):
    """Which part of the list."""

    limit: Limit = 100
    offset: Position = 0


def word(problem: ProblemError) -> web.Response:
    status = DIALECT.statuses.get(problem.status, problem.status)
    body = msgspec.json.encode(FlowError(problem.detail))
    return web.Response(status=status, body=body, content_type=JSON, headers=problem.headers)


DIALECT = Dialect(name="Flow", word=word, problem=FlowError, statuses={422: 400})


async def listed(call: Call[Nothing, FlowQuery]) -> FlowIntegrations:
    """Integrations, ascending by id."""
    limit, offset = call.query.limit, call.query.offset
    c = table.c
    seen = (c.deleted_at.is_(None), *call.caller.limits(c.project_id))
    page = select(c.id).where(*seen).order_by(c.id).limit(limit).offset(offset)
    async with call.context.database.read() as connection:
        counting = select(func.count()).select_from(table).where(*seen)
        count = int((await connection.execute(counting)).scalar_one())
        found = await connections.listed(connection, 0, limit, c.id.in_(page))
        results = await _answers(call, connection, found)
    return FlowIntegrations(
        count=count,
        next=_page(call, offset + limit) if offset + limit < count else None,
        previous=_page(call, max(0, offset - limit)) if offset else None,
        results=results,
    )


async def get(call: Call[Nothing, Nothing]) -> FlowIntegration:
    """An integration."""
    async with call.context.database.read() as connection:
        [told] = await _answers(call, connection, [await _found(call, connection)])
    return told


async def status(call: Call[Nothing, Nothing]) -> IntegrationStatus:
    """How the data of an integration stand, as a whole and by source type."""
    async with call.context.database.read() as connection:
        found = await _found(call, connection)
        adapter = call.context.remotes.adapters.get(found.system)
        wrong = await _failing(connection, found, adapter) if found.health == "partial" else {}
    types = sources.source_types(adapter, found.streams)
    failing = [one for one in types if one.number in wrong]
    overall = sources.status_of(found.health, found.cause, failing)
    message, hint = sources.said_of(found)
    whole = Problem(found.cause or "", message or "", hint or "") if message else None
    return IntegrationStatus(
        integration=found.id,
        status=overall,
        cause=found.cause,
        message=message,
        hint=hint,
        since=time_text(found.since),
        source_projects_last_updated=_time(found),
        source_types=[_status(found, one, overall, whole, wrong) for one in types],
    )


def _status(
    of: Connection,
    one: SourceType,
    overall: Status,
    whole: Problem | None,
    wrong: Mapping[int, Problem | None],
) -> SourceTypeStatus:
    """How one source type stands: like the whole, unless it is known which of them fail."""
    status, why = overall, whole
    if wrong and overall != "Rate limited":
        fails = one.number in wrong
        status, why = (one.failed, wrong[one.number] or whole) if fails else ("Healthy", None)
    return SourceTypeStatus(
        id=_id(of, one),
        source_type=one.number,
        source_type_name=one.name,
        status=status,
        cause=(why.kind or None) if why else None,
        message=why.message if why else None,
        hint=(why.hint or None) if why else None,
    )


async def _failing(
    connection: AsyncConnection, of: Connection, adapter: type[Adapter] | None
) -> Mapping[int, Problem | None]:
    """What could not be read completely: by the errors of its parts, and by the last receipt."""
    c, s = cursors.c, syncs_table.c
    query = select(c.feed, c.error).where(c.connection_id == of.id, c.error.is_not(None))
    errors = [
        (feed, told)
        for feed, error in await connection.execute(query.order_by(c.feed, c.partition))
        if (told := problem(error)) is not None
    ]
    ended = (s.connection_id == of.id, s.lane == "bulk", s.state.in_(ENDED), s.state != "cancelled")
    short: list[str] = []
    for last in await syncs.listed(connection, None, 1, *ended):
        short += [stream for stream, told in (last.receipt or {}).items() if not told.complete]
        short += [stream for stream, counts in last.counters.items() if counts.rejected]
    return sources.failing(adapter, errors, short)


async def _found(call: Call[Any, Any], connection: AsyncConnection) -> Connection:
    number = call.id("integration")
    found = await connections.get(connection, number)
    if found is None or not call.caller.sees(found.project_id):
        raise not_found("integration", number)
    return found


async def _answers(
    call: Call[Any, Any], connection: AsyncConnection, found: Sequence[Connection]
) -> list[FlowIntegration]:
    """These connections; the number of statements does not depend on how many they are."""
    c, w = credentials_table.c, table.c
    used = {one.credential_id for one in found if one.credential_id is not None}
    known = {one.id: one for one in await credentials.listed(connection, 0, len(used), c.id.in_(used))}
    by = await makers(connection, found)
    ids = [one.id for one in found]
    query = select(w.id).where(w.id.in_(ids), w.webhook.is_not(None))
    registered = set((await connection.execute(query)).scalars())
    with_repos = await _with_repos(call, connection, found)
    adapters = call.context.remotes.adapters
    return [
        _answer(
            one,
            adapters.get(one.system),
            known.get(one.credential_id) if one.credential_id else None,
            by[one.id],
            webhooks=one.id in registered or one.has_webhook_secret or one.last_webhook_at is not None,
            repos=one.id in with_repos,
        )
        for one in found
    ]


async def _with_repos(
    call: Call[Any, Any], connection: AsyncConnection, found: Sequence[Connection]
) -> set[int]:
    """Which of these connections have repositories; one statement for each system that has any."""
    tables = call.context.tables
    having: set[int] = set()
    for system in dict.fromkeys(one.system for one in found):
        ids = [one.id for one in found if one.system == system]
        for stream in tables.of(system):
            if REPO in sources.of_streams([stream.stream.name]):
                t = stream.table.c
                query = select(t.connection_id).where(t.connection_id.in_(ids), t.gone_at.is_(None))
                having |= set((await connection.execute(query.distinct())).scalars())
    return having


def _answer(
    of: Connection,
    adapter: type[Adapter] | None,
    credential: Credential | None,
    by: Makers,
    *,
    webhooks: bool,
    repos: bool,
) -> FlowIntegration:
    types = sources.source_types(adapter, of.streams)
    kind = "anonymous" if credential is None else credential.kind
    return FlowIntegration(
        id=of.id,
        name=of.name,
        vendor_type=sources.vendor_type(of.system),
        auth_type=sources.AUTH_TYPES.get(kind, kind),
        webhooks_enabled=webhooks,
        enabled_source_types=[_enabled(of, one, by.created_by) for one in types],
        created_at=time_text(of.created_at),
        updated_at=time_text(of.updated_at),
        created_by=by.created_by,
        updated_by=by.updated_by,
        source_type_names=[one.name for one in types],
        username=None if credential is None else credential.username,
        vendor_meta=sources.vendor(of.system, adapter, of.canonical),
        has_repos=repos,
        api_url=of.canonical,
        source_projects_last_updated=_time(of),
        processing_status=_processing(of),
        connected_accounts_count=0 if kind == "anonymous" else 1,
    )


def _enabled(of: Connection, one: SourceType, by: Person) -> EnabledSourceType:
    return EnabledSourceType(
        id=_id(of, one),
        status="active" if of.enabled and not of.draft else "inactive",
        source_type_name=one.name,
        integration=of.id,
        source_type=one.number,
        vendor_name=sources.vendor_type(of.system),
        created_by=str(by.id),
    )


def _processing(of: Connection) -> str:
    """Whether its data are here: not yet, for the first time right now, or at least once."""
    if of.health == "processing":
        return "PROCESSING"
    read = of.last_success_at is not None or of.health == "partial"
    return "PROCESSED" if read else "UNPROCESSED"


def _id(of: Connection, one: SourceType) -> int:
    return 10 * of.id + one.number


def _time(of: Connection) -> str | None:
    return None if of.last_success_at is None else time_text(of.last_success_at)


def _page(call: Call[Nothing, FlowQuery], offset: int) -> str:
    """The address of another page, at the host that was asked; as the public one where that is it."""
    public, request = call.context.public_url, call.request
    base = public if urlsplit(public).netloc == request.host else f"{request.scheme}://{request.host}"
    return f"{base}{request.path}?{urlencode({'limit': call.query.limit, 'offset': offset})}"


def _routes(prefix: str) -> tuple[Route[Any, Any], ...]:
    # Whatever stands for an id, the answer is worded like all others.
    return (
        Route(
            method="GET",
            path=f"{prefix}/integrations",
            summary="List integrations",
            permission="read",
            by_project=True,
            handler=listed,
            body=Nothing,
            query=FlowQuery,
            answer=FlowIntegrations,
            problems={400: "A parameter does not fit."},
            dialect=DIALECT,
        ),
        Route(
            method="GET",
            path=f"{prefix}/integrations/{{id}}",
            summary="Get an integration",
            permission="read",
            by_project=True,
            handler=get,
            body=Nothing,
            query=Nothing,
            answer=FlowIntegration,
            names={"id": Id},
            dialect=DIALECT,
        ),
        Route(
            method="GET",
            path=f"{prefix}/integrations/{{id}}/connection_status",
            summary="How the data of an integration stand",
            permission="read",
            by_project=True,
            handler=status,
            body=Nothing,
            query=Nothing,
            answer=IntegrationStatus,
            names={"id": Id},
            dialect=DIALECT,
        ),
    )


ROUTES: tuple[Route[Any, Any], ...] = (*_routes(""), *_routes(PREFIX))
