"""Issue tracker connections: tried before and after they are saved, and synced when asked."""

from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from adapters.auth import Auth
from api import checks, syncs, wanted
from api.checks import Tried
from api.context import Context
from api.dialects import issue_tracker_params as params_of
from api.dialects.issue_tracker import PATH, Params, named
from api.dialects.issue_tracker_connectors import NamedSystem, system_id
from api.dialects.issue_tracker_credentials import of_own
from api.dialects.issue_tracker_params import METHOD, PARENT, PROJECT, SERVER, Given
from api.dialects.issue_tracker_rows import Job, job
from api.dialects.issue_tracker_target import Place, made
from api.dialects.issue_tracker_words import CONNECTIONS, TESTS, by_field, primary_key
from api.dialects.issue_tracker_writes import blank, connector_named
from api.problems import FieldError, invalid, not_found
from api.routing import JSON, Call, Route
from api.shapes import Discreet, Id, Name, Nothing
from api.syncs import NewSync
from api.wanted import Wanted
from store import connections
from store import syncs as sync_store
from store.credentials import Credential
from store.health import Problem

#: What a failed test is about, by its cause.
_ABOUT = {
    "auth": "issue_tracker_user",
    "forbidden": "issue_tracker_user",
    "not_found": PROJECT,
    "rejected": PROJECT,
}


class TriedTrackerConnection(Discreet, frozen=True, kw_only=True):
    """A connection that is tried before it is made. One of `name` and `alias` is needed."""

    system: NamedSystem | Name
    params: Params
    name: Name | UnsetType = UNSET
    alias: Name | UnsetType = UNSET
    connector: int | str | UnsetType | None = UNSET
    project: int | str | UnsetType | None = UNSET


class Success(msgspec.Struct, frozen=True):
    """The connection works."""

    success: bool


async def unsaved(call: Call[TriedTrackerConnection, Nothing]) -> web.Response | Success:
    """Test a connection before it is made: what it says of server, user and project outdoes the connector.

    200 if it works; 400 says what does not.
    """
    body, context = call.body, call.context
    if body.name is UNSET and body.alias is UNSET:
        raise invalid(FieldError("name", "This field is needed."))
    system = system_id(body.system)
    if system not in context.remotes.adapters:
        known = ", ".join(sorted(context.remotes.adapters))
        raise invalid(
            FieldError("system", f"There is no adapter for {system}; these can be tested: {known}.")
        )
    connector = None
    if isinstance(body.connector, int | str):
        async with context.database.read() as connection:
            connector = await connector_named(connection, body.connector)
    asked = Wanted(
        name="",
        system=system,
        credential_id=connector.id if connector else None,
        project_id=primary_key(body.project, "project") if isinstance(body.project, int | str) else None,
        frequency="manually",
    )
    before = params_of.shown(blank(asked, connector), context.remotes.adapters) if connector else {}
    given = params_of.told_apart(body.params, before)
    place = _place(given, before)
    url, params = made(system, True, place, {})
    if url is None:
        raise invalid(FieldError(f"params.{PROJECT}", "This field is needed."))
    auth = _auth(context, system, connector, given)
    if auth is not None:
        # The connector's own secret goes nowhere; whether it may be named is all there is to know.
        async with context.database.read() as connection:
            await wanted.check(connection, context.remotes.adapters, asked, context.caller)
        asked = replace(asked, credential_id=None)
    return _told(await checks.try_unsaved(context, replace(asked, url=url, params=params), auth))


async def saved(call: Call[Nothing, Nothing]) -> web.Response | Success:
    """Test a connection as it is stored. 200 if it works; 400 says what does not."""
    async with call.context.database.read() as connection:
        row = await named(call, connection)
        found = await connections.get(connection, row.id)
    if found is None:
        raise not_found("connection", row.id)
    return _told(await checks.try_saved(call.context, found))


async def sync(call: Call[Nothing, Nothing]) -> Job:
    """Sync a connection now. The job is told of before it has run."""
    asked = Call(call.context, call.request, NewSync(), Nothing())
    opened = await syncs.start(asked)
    async with call.context.database.read() as connection:
        found = await sync_store.get(connection, opened.id)
    assert found is not None
    return job(found, {"key_id": call.caller.key_id})


def _place(given: Given, before: dict[str, Any]) -> Place:
    """Where the test goes. Raises 422 without a server."""
    both = {**before, **given.params}
    if not both.get(SERVER):
        raise invalid(FieldError(f"params.{SERVER}", "This field is needed."))
    return params_of.moved(
        Place(), {name: both[name] for name in (SERVER, METHOD, PROJECT, PARENT) if name in both}
    )


def _auth(context: Context, system: str, connector: Credential | None, given: Given) -> Auth | None:
    """Who the test is made as, where that is said in it. The secret is sealed for as long as it takes."""
    if given.secret is None and given.user is None:
        return None
    mine = of_own(system, connector, given, "a test")
    sealed = context.vault.seal(mine.secret or "", "a test")
    adapter = context.remotes.adapters[system]
    return adapter.auth(mine.kind, mine.username, lambda: context.vault.open(sealed, "a test"))


def _told(tried: Tried) -> web.Response | Success:
    """As the product tells of a test."""
    if tried.error is None:
        return Success(success=True)
    about = FieldError(f"params.{_ABOUT.get(tried.error.kind, SERVER)}", _text(tried.error))
    told = {"success": False, "detail": about.message, **by_field([about])}
    return web.Response(status=400, body=msgspec.json.encode(told), content_type=JSON)


def _text(problem: Problem) -> str:
    return f"{problem.message} {problem.hint}".strip()


_TRIED = {
    "alias": "Payment bugs",
    "system": {"id": "jira"},
    "params": {
        "issue_tracker_server": "jira.example.com",
        "issue_tracker_user": "reader@example.com",
        "issue_tracker_pass": "an API token",
        "issue_tracker_project": "PAY",
    },
}
_FAILED = "It does not work: `success` is false, and `detail` says why. Or: something does not fit."
ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/api/v2/connections/test-issue-tracker/",
        summary="Test an issue tracker connection before it is made",
        permission="write",
        by_project=True,
        handler=unsaved,
        body=TriedTrackerConnection,
        query=Nothing,
        answer=Success,
        example=_TRIED,
        problems={422: _FAILED},
        dialect=TESTS,
    ),
    Route(
        method="POST",
        path=PATH + "{id}/test/",
        summary="Test an issue tracker connection",
        permission="write",
        by_project=True,
        handler=saved,
        body=Nothing,
        query=Nothing,
        answer=Success,
        problems={422: _FAILED},
        names={"id": Id},
        dialect=CONNECTIONS,
    ),
    Route(
        method="POST",
        path=PATH + "{id}/sync/",
        summary="Sync an issue tracker connection",
        permission="write",
        by_project=True,
        handler=sync,
        body=Nothing,
        query=Nothing,
        answer=Job,
        status=202,
        problems={409: "The connection is a draft, or disabled."},
        names={"id": Id},
        dialect=CONNECTIONS,
    ),
)
