"""Issue tracker connectors, which are credentials with the server that they are for."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from api import binding, edits, wanted
from api import credentials as rules
from api.context import Context
from api.credentials import CredentialChange, NewCredential
from api.dialects import issue_tracker_params as params_of
from api.dialects.issue_tracker_credentials import kind_of
from api.dialects.issue_tracker_params import CERTIFICATE, METHOD, MODE, PASS, SERVER, USER, Given
from api.dialects.issue_tracker_rows import KeptServer, Row, listed, server_of, unreached, with_kept
from api.dialects.issue_tracker_target import at, made
from api.dialects.issue_tracker_words import CONNECTORS, TrackerSystem, system_named, system_of
from api.problems import FieldError, invalid, not_found
from api.routing import JSON, Call, Route
from api.shapes import Discreet, Id, Name, Nothing, System
from config.secret import MASK
from store import connections, credentials
from store.credentials import Credential
from store.database import Joined
from store.schema import connections as table

PATH = "/api/v2/connectors/issue-tracker/"
_ALL = 2**31 - 1


class NamedSystem(msgspec.Struct, frozen=True):
    """A system by its id; its names are not needed."""

    id: Name


class NewConnector(Discreet, frozen=True, kw_only=True):
    """A connector to be made. `params` have its server, user and secret."""

    name: Name
    system: NamedSystem | Name
    params: dict[str, object]


class ConnectorChange(Discreet, frozen=True, kw_only=True):
    """What is to be different; of `params`, too, what is left out stays. The system cannot change."""

    name: Name | UnsetType = UNSET
    system: NamedSystem | Name | UnsetType = UNSET
    params: dict[str, object] | UnsetType = UNSET


class ConnectorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A connector. `params` are for keys that may write; a secret is `********`."""

    id: int
    name: str
    system: TrackerSystem
    inaccessible: bool
    params: dict[str, Any] | UnsetType = UNSET


class Connectors(msgspec.Struct, frozen=True):
    """All connectors, ascending by id."""

    results: Sequence[ConnectorAnswer]


async def every(call: Call[Nothing, Nothing]) -> Connectors:
    """All connectors."""
    async with call.context.database.read() as connection:
        found = await credentials.listed(connection, 0, _ALL)
        failed = await unreached(connection)
    return Connectors([_answer(call.context, one, failed) for one in found])


async def get(call: Call[Nothing, Nothing]) -> ConnectorAnswer:
    """A connector."""
    async with call.context.database.read() as connection:
        return await _found(call, connection, call.id("connector"))


async def create(call: Call[NewConnector, Nothing]) -> ConnectorAnswer:
    """Make a connector."""
    body = call.body
    system = system_id(body.system)
    given = params_of.told_apart(body.params, {})
    kind = kind_of(given.mode, given.user)
    credential = NewCredential(
        name=body.name, system=system, kind=kind, username=given.user, secret=given.secret
    )
    async with call.context.database.write() as connection:
        context = replace(call.context, database=Joined(call.context.database, connection))
        server = _server(KeptServer(), given.params)
        id_ = (await rules.make(context, credential, with_kept({}, server))).id
        await _bind(context, connection, id_, system, server)
        return await _found(call, connection, id_)


async def change(call: Call[ConnectorChange, Nothing]) -> ConnectorAnswer:
    """Change a connector. Connections that are at its server go with it to another one."""
    body, id_ = call.body, call.id("connector")
    async with call.context.database.write() as connection:
        context = replace(call.context, database=Joined(call.context.database, connection))
        before = await credentials.get(connection, id_)
        if before is None:
            raise not_found("connector", id_)
        if body.system is not UNSET and system_id(body.system) != before.system:
            message = f"This connector is for {before.system}; make another one for another system."
            raise invalid(FieldError("system", message))
        params = {} if body.params is UNSET else body.params
        given = params_of.told_apart(params, _params(before))
        old, new = server_of(before.attributes), _server(server_of(before.attributes), given.params)
        # Their rows are the first to be locked, wherever several are.
        users = await _users(connection, before)
        for user in users:
            await connections.locked(connection, user.id)
        await rules.edit(
            context, id_, _credential(body, before, given), attributes=with_kept(before.attributes, new)
        )
        await _bind(context, connection, id_, before.system, new)
        if (old.server, old.method) != (new.server, new.method):
            for user in users:
                await _move(context, connection, user, old, new)
        return await _found(call, connection, id_)


async def remove(call: Call[Nothing, Nothing]) -> web.Response:
    """Remove a connector. 409 while a connection uses it."""
    await rules.discard(call.context, call.id("connector"))
    return web.Response(status=204, headers={"Content-Type": JSON, "Cache-Control": "no-store"})


def system_id(given: NamedSystem | str) -> str:
    """The system that a request names. Raises 422 for what cannot be one."""
    name = system_named(given if isinstance(given, str) else given.id)
    try:
        return msgspec.convert(name, System)
    except msgspec.ValidationError:
        message = "Give the id of a system, such as jira: a letter, then letters, digits, - and _."
        raise invalid(FieldError("system", message)) from None


def _credential(body: ConnectorChange, before: Credential, given: Given) -> CredentialChange:
    """What changes of the credential itself."""
    username = given.user or before.username
    kind = before.kind if given.mode is None and given.user is None else kind_of(given.mode, username)
    return msgspec.convert(
        {
            "name": before.name if body.name is UNSET else body.name,
            "kind": kind,
            "username": username if kind in ("basic", "oauth2") else None,
            "secret": MASK if given.secret is None else given.secret,
        },
        CredentialChange,
    )


def _server(before: KeptServer, params: Mapping[str, Any]) -> KeptServer:
    """Where a connector is for after parameters said so. Raises 422."""
    others = {name: value for name, value in params.items() if name not in (SERVER, METHOD)}
    kept = replace(before, params=params_of.merged(before.params, others))
    server = params.get(SERVER, before.server)
    if params.get(METHOD) not in (None, "http", "https"):
        raise invalid(FieldError(f"params.{METHOD}", "It is https or http."))
    method = params.get(METHOD) or before.method
    if not server:
        return replace(kept, server="", method=method)
    there = at(server, method)
    return replace(kept, server=there.server, method=there.method)


async def _bind(
    context: Context, connection: AsyncConnection, id_: int, system: str, server: KeptServer
) -> None:
    """Bind the secret to the server that it is given for. Raises 422 where it belongs to another one."""
    if not server.server:
        return
    adapters = context.remotes.adapters
    # Any project will do: which server is asked does not depend on it.
    anywhere = replace(at(server.server, server.method), project="any")
    place = binding.place_of(adapters, system, *made(system, system in adapters, anywhere, {}))
    if problem := await binding.problem(connection, id_, place, context.caller):
        raise invalid(FieldError(f"params.{SERVER}", problem))
    await binding.bind(connection, id_, place)


async def _users(connection: AsyncConnection, connector: Credential) -> Sequence[Row]:
    """The connections of a connector, those with a credential of their own among them."""
    rows = await listed(connection, [table.c.system == connector.system])
    return [row for row in rows if row.connector == connector.id]


async def _move(
    context: Context, connection: AsyncConnection, user: Row, old: KeptServer, new: KeptServer
) -> None:
    """Let a connection go to the new server, if it was at the old one or nowhere."""
    adapters = context.remotes.adapters
    if user.has_own:
        await _keep_server(connection, user.credential_id, new)
    place = params_of.place_of(user, adapters)
    was = at(old.server, old.method) if old.server else None
    there = was is not None and (place.method, place.server.lower()) == (was.method, was.server.lower())
    if not new.server or not (there or user.url is None):
        return
    moved = params_of.moved(place, {}, new)
    stored = await connections.get(connection, user.id)
    assert stored is not None
    asked = wanted.as_stored(stored)
    url, params = made(asked.system, asked.system in adapters, moved, asked.params)
    if url is not None and (url, params) != (asked.url, asked.params):
        await edits.edit(context, user.id, lambda _: replace(asked, url=url, params=params))


async def _keep_server(connection: AsyncConnection, credential_id: int | None, new: KeptServer) -> None:
    found = await credentials.get(connection, credential_id or 0)
    if found is not None:
        attributes = with_kept(found.attributes, new)
        await credentials.change(connection, found.id, {"attributes": attributes})


async def _found(call: Call[Any, Any], connection: AsyncConnection, id_: int) -> ConnectorAnswer:
    found = await credentials.get(connection, id_)
    if found is None:
        raise not_found("connector", id_)
    return _answer(call.context, found, await unreached(connection))


def _answer(context: Context, connector: Credential, failed: frozenset[int]) -> ConnectorAnswer:
    return ConnectorAnswer(
        id=connector.id,
        name=connector.name,
        system=system_of(connector.system),
        inaccessible=connector.id in failed,
        params=_params(connector) if context.caller.may("write") else UNSET,
    )


def _params(connector: Credential) -> dict[str, Any]:
    server = server_of(connector.attributes)
    return {
        **server.params,
        SERVER: server.server,
        METHOD: server.method,
        MODE: connector.kind,
        USER: connector.username or "",
        PASS: MASK if connector.has_secret else "",
        CERTIFICATE: True,
    }


_EXAMPLE = {
    "name": "Jira of the company",
    "system": {"id": "jira"},
    "params": {
        "issue_tracker_server": "jira.example.com",
        "issue_tracker_method": "https",
        "issue_tracker_auth_mode": "basic",
        "issue_tracker_user": "reader@example.com",
        "issue_tracker_pass": "an API token",
    },
}
ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path=PATH,
        summary="List issue tracker connectors",
        permission="read",
        handler=every,
        body=Nothing,
        query=Nothing,
        answer=Connectors,
        dialect=CONNECTORS,
    ),
    Route(
        method="POST",
        path=PATH,
        summary="Make an issue tracker connector",
        permission="write",
        handler=create,
        body=NewConnector,
        query=Nothing,
        answer=ConnectorAnswer,
        status=201,
        example=_EXAMPLE,
        problems={422: "Something does not fit."},
        dialect=CONNECTORS,
    ),
    Route(
        method="GET",
        path=PATH + "{id}/",
        summary="Get an issue tracker connector",
        permission="read",
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=ConnectorAnswer,
        names={"id": Id},
        dialect=CONNECTORS,
    ),
    Route(
        method="PATCH",
        path=PATH + "{id}/",
        summary="Change an issue tracker connector",
        permission="write",
        handler=change,
        body=ConnectorChange,
        query=Nothing,
        answer=ConnectorAnswer,
        example={"params": {"issue_tracker_pass": "another API token"}},
        problems={422: "Something does not fit.", 409: "A token is being fetched with what is to be kept."},
        names={"id": Id},
        dialect=CONNECTORS,
    ),
    Route(
        method="DELETE",
        path=PATH + "{id}/",
        summary="Remove an issue tracker connector",
        permission="write",
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
        problems={409: "A connection uses it."},
        names={"id": Id},
        dialect=CONNECTORS,
    ),
)
