"""Integrations and tokens, as clients of Accidental Quality know them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from api import edits
from api.access import Caller
from api.problems import FieldError, ProblemError, invalid, not_found
from api.routing import JSON, Call, Dialect, Route
from api.shapes import Discreet, Id, Name, Nothing, Text, Word, moment
from api.wanted import Wanted
from store import credentials, projects
from store.credentials import Credential
from store.projects import Project
from store.schema import connections
from store.schema import credentials as credentials_table

#: What the document knows; connections of other systems are not among its integrations.
Type = Literal["jira", "azure", "jenkins"]
TYPES = ("jira", "azure", "jenkins")
#: An id as the answers print it, or as a number; a project also by its key.
Reference = Id | Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
_AT_ONCE = 1000
#: Ours -> theirs.
_FIELDS = {"system": "integration_type", "credential_id": "token_id"}


class Integration(msgspec.Struct, frozen=True):
    """An integration. `url` is as it was typed, and empty as long as there is none."""

    id: str
    integration_type: str
    name: str
    url: str


class Token(msgspec.Struct, frozen=True):
    """A token: what integrations of one type get at their data with. Its secret is never told."""

    id: str
    name: str
    integ_type: str
    created_at: str | None
    updated_at: str | None


class NewIntegration(msgspec.Struct, frozen=True, kw_only=True):
    """What an integration is made of. With null as the token it asks anonymously."""

    integration_type: Type
    name: Name
    project_id: Reference
    token_id: Reference | None
    url: Text


class Creation(Discreet, frozen=True, kw_only=True):
    """An integration to be made."""

    integration: NewIntegration


class Wrong(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, and with which fields."""

    error: str
    errors: dict[str, list[str]] = {}


def word(problem: ProblemError) -> web.Response:
    """A problem in a JSON object of its own, each field's complaints in a list."""
    errors: dict[str, list[str]] = {}
    for one in problem.errors:
        name = one.field.removeprefix("integration.")
        errors.setdefault(_FIELDS.get(name, name), []).append(one.message)
    said = " ".join(f"{name}: {' '.join(texts)}" for name, texts in errors.items())
    body = msgspec.json.encode(Wrong(said or problem.detail, errors))
    return web.Response(status=problem.status, body=body, content_type=JSON, headers=problem.headers)


DIALECT = Dialect(name="Accidental Quality", word=word, problem=Wrong)


async def listed(call: Call[Nothing, Nothing]) -> list[Integration]:
    """The integrations of a project, which is named by its id or its key."""
    asked = call.request.match_info["project_id"]
    c = connections.c
    async with call.context.database.read() as connection:
        project = await _project(connection, asked, call.caller)
        if project is None:
            raise not_found("project", asked)
        query = select(c.id, c.system, c.name, c.url).where(
            c.project_id == project.id, c.deleted_at.is_(None), c.system.in_(TYPES)
        )
        rows = (await connection.execute(query.order_by(c.id))).all()
    return [Integration(str(row.id), row.system, row.name, row.url or "") for row in rows]


async def create(call: Call[Creation, Nothing]) -> Integration:
    """Make an integration. It is due at once, and then hourly."""
    given = call.body.integration
    async with call.context.database.read() as connection:
        project = await _project(connection, given.project_id, call.caller)
    token_id = None if given.token_id is None else _number(given.token_id)
    wrong = []
    if project is None:
        wrong.append(FieldError("project_id", f"There is no project {given.project_id}."))
    if given.token_id is not None and token_id is None:
        wrong.append(FieldError("token_id", f"There is no token {given.token_id}."))
    if wrong or project is None:
        raise invalid(*wrong)
    wanted = Wanted(
        name=given.name,
        system=given.integration_type,
        url=given.url,
        credential_id=token_id,
        project_id=project.id,
    )
    made = await edits.make(call.context, wanted, None)
    return Integration(str(made.id), made.system, made.name, made.url or "")


async def tokens(call: Call[Nothing, Nothing]) -> list[Token]:
    """Tokens; for a key that is limited to projects those that these use."""
    found: list[Credential] = []
    async with call.context.database.read() as connection:
        while True:
            last = found[-1].id if found else 0
            page = await credentials.listed(connection, last, _AT_ONCE, *_usable(call.caller))
            found += page
            if len(page) < _AT_ONCE:
                return [_token(one) for one in found]


async def token(call: Call[Nothing, Nothing]) -> Token:
    """A token."""
    token_id = call.id("token")
    filters = (credentials_table.c.id == token_id, *_usable(call.caller))
    async with call.context.database.read() as connection:
        found = await credentials.listed(connection, 0, 1, *filters)
    if not found:
        raise not_found("token", token_id)
    return _token(found[0])


async def _project(connection: AsyncConnection, asked: int | str, caller: Caller) -> Project | None:
    """The project of this id or key, if there is one and the caller may see it."""
    found = await projects.referred(connection, str(asked))
    return found if found is not None and caller.sees(found.id) else None


def _number(asked: int | str) -> int | None:
    """An id, given as a number or a text; None for what is none."""
    text = str(asked)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return number if 0 < number < 2**63 else None


def _usable(caller: Caller) -> Sequence[Any]:
    """Filters: tokens of the document's types, that this caller may use."""
    c, of = credentials_table.c, connections.c
    types = c.system.in_(TYPES)
    if caller.projects is None:
        return (types,)
    used = select(of.credential_id).where(of.deleted_at.is_(None), *caller.limits(of.project_id))
    return (types, c.id.in_(used))


def _token(one: Credential) -> Token:
    return Token(str(one.id), one.name, one.system, moment(one.created_at), moment(one.updated_at))


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/api/integrations/{project_id}",
        summary="List the integrations of a project",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=Nothing,
        answer=list[Integration],
        names={"project_id": Word},
        dialect=DIALECT,
    ),
    Route(
        method="POST",
        path="/api/integrations",
        summary="Make an integration",
        permission="write",
        by_project=True,
        handler=create,
        body=Creation,
        query=Nothing,
        answer=Integration,
        status=201,
        example={
            "integration": {
                "integration_type": "jira",
                "name": "Open bugs",
                "project_id": "1",
                "token_id": "1",
                "url": "your-company.atlassian.net/rest/api/latest/search?jql=filter=12345",
            }
        },
        problems={422: "Something does not fit; `errors` name each field."},
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/tokens",
        summary="List tokens",
        permission="read",
        by_project=True,
        handler=tokens,
        body=Nothing,
        query=Nothing,
        answer=list[Token],
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/tokens/{id}",
        summary="Get a token",
        permission="read",
        by_project=True,
        handler=token,
        body=Nothing,
        query=Nothing,
        answer=Token,
        # Whatever stands there, its answer is worded like all others.
        names={"id": Id},
        dialect=DIALECT,
    ),
)
