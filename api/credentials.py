"""Credentials: how to authenticate at a system. A secret goes in and is never given out."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import BadTarget
from api.context import Context
from api.edits import recover
from api.paging import ById, Page, after_id, cut
from api.problems import FieldError, ProblemError, invalid, not_found
from api.routing import Call, Route
from api.shapes import Discreet, Name, Nothing, System, Text, moment
from config.secret import MASK
from store import audit, credentials
from store.credentials import Credential
from store.database import clock
from store.schema import credentials as table

Kind = Literal["basic", "bearer", "pat", "anonymous", "oauth2"]
OAUTH2 = ("token_url", "client_id", "scope")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class NewCredential(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A credential to be made. `token_url`, `client_id` and `scope` belong to `oauth2`."""

    name: Name
    system: System
    kind: Kind
    username: Text | None = None
    secret: Text | None = None
    token_url: Text | None = None
    client_id: Text | None = None
    scope: Text | None = None


class CredentialChange(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different. What is left out stays, and so does a secret given as `********`."""

    name: Name | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    username: Text | UnsetType | None = UNSET
    secret: Text | UnsetType | None = UNSET
    token_url: Text | UnsetType | None = UNSET
    client_id: Text | UnsetType | None = UNSET
    scope: Text | UnsetType | None = UNSET


class CredentialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A credential without its secret."""

    id: int
    name: str
    system: str
    kind: str
    username: str | None
    has_secret: bool
    token_url: str | None
    client_id: str | None
    scope: str | None
    created_at: str | None
    updated_at: str | None


class Credentials(msgspec.Struct, frozen=True):
    """Some credentials, ascending by id."""

    credentials: Sequence[CredentialAnswer]
    next: str | None


class CredentialQuery(Page, frozen=True):
    """Which credentials."""

    system: Text | None = None
    name: Text | None = None


async def create(call: Call[NewCredential, Nothing]) -> CredentialAnswer:
    """Make a credential. 422 for a kind that its system does not take."""
    return await make(call.context, call.body)


async def make(context: Context, body: NewCredential) -> CredentialAnswer:
    """Check and store a credential with its secret sealed. Raises 422."""
    _check(context, body, has_secret=bool(body.secret))
    if body.secret == MASK:
        raise invalid(FieldError("secret", "This stands for a stored secret, and there is none yet."))
    values = {name: getattr(body, name) for name in ("name", "system", "kind", "username")}
    async with context.database.write() as connection:
        now = await clock(connection)
        made = await credentials.add(connection, {**values, "options": _options(body)}, now)
        if body.secret:
            sealed = context.vault.seal(body.secret, credentials.place(made))
            await credentials.change(connection, made, {"secret": sealed})
        await audit.write(connection, context.caller.actor, "create", "credential", made, name=body.name)
        return answer(await _found(connection, made))


async def change(call: Call[CredentialChange, Nothing]) -> CredentialAnswer:
    """Change a credential. Connections that were paused for want of a good one are tried at once."""
    return await edit(call.context, call.id("credential"), call.body)


async def edit(context: Context, credential_id: int, body: CredentialChange) -> CredentialAnswer:
    """Change a credential and let its connections recover. Raises 404, or 422 for what cannot be."""
    async with context.database.write() as connection:
        before = await _found(connection, credential_id)
        wanted = _merged(before, body)
        new_secret = body.secret if body.secret != MASK else UNSET
        has_secret = before.has_secret if new_secret is UNSET else bool(new_secret)
        _check(context, wanted, has_secret=has_secret)
        values: dict[str, object] = {
            "name": wanted.name,
            "kind": wanted.kind,
            "username": wanted.username,
            "options": _options(wanted),
            "updated_at": await clock(connection),
        }
        if new_secret is not UNSET:
            place = credentials.place(credential_id)
            values["secret"] = context.vault.seal(new_secret, place) if new_secret else None
        await credentials.change(connection, credential_id, values)
        after = await _found(connection, credential_id)
        users = await credentials.users(connection, credential_id)
        fields = audit.changed(_merged(before, CredentialChange()), wanted) + (
            ["secret"] if new_secret is not UNSET else []
        )
        await audit.write(
            connection,
            context.caller.actor,
            "update",
            "credential",
            credential_id,
            name=after.name,
            fields=fields,
        )
    other = (before.kind, before.username, before.options) != (after.kind, after.username, after.options)
    if other or new_secret is not UNSET:
        for connection_id in users:
            await recover(context.database, connection_id, cancel=other)
    return answer(after)


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Remove a credential. 409 while a connection uses it."""
    await discard(call.context, call.id("credential"))


async def discard(context: Context, credential_id: int) -> None:
    """Remove a credential. Raises 404, or 409 while a connection uses it."""
    async with context.database.write() as connection:
        found = await credentials.locked(connection, credential_id)
        if found is None:
            raise not_found("credential", credential_id)
        users = await credentials.users(connection, credential_id)
        if users:
            some = ", ".join(map(str, users[:5])) + (", ..." if len(users) > 5 else "")
            raise ProblemError(409, f"This credential is used by {len(users)} connections: {some}.")
        await credentials.delete(connection, credential_id)
        actor = context.caller.actor
        await audit.write(connection, actor, "delete", "credential", credential_id, name=found.name)


async def listed(call: Call[Nothing, CredentialQuery]) -> Credentials:
    query = call.query
    filters = [table.c[name] == value for name in ("system", "name") if (value := getattr(query, name))]
    async with call.context.database.read() as connection:
        after = after_id(call.request, query) or 0
        found = await credentials.listed(connection, after, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Credentials([answer(one) for one in page.items], page.next)


async def get(call: Call[Nothing, Nothing]) -> CredentialAnswer:
    async with call.context.database.read() as connection:
        return answer(await _found(connection, call.id("credential")))


def _merged(before: Credential, body: CredentialChange) -> NewCredential:
    """The credential as it is to be, without the secret."""
    stored = {name: getattr(before, name) for name in ("name", "system", "kind", "username")}
    stored |= {name: before.options.get(name) for name in OAUTH2}
    given = {name: getattr(body, name) for name in CredentialChange.__struct_fields__ if name != "secret"}
    secret = body.secret if isinstance(body.secret, str) and body.secret != MASK else None
    news = {name: value for name, value in given.items() if value is not UNSET}
    return NewCredential(**{**stored, **news, "secret": secret})


def _check(context: Context, wanted: NewCredential, *, has_secret: bool) -> None:
    """Raises 422 with everything that speaks against a credential."""
    wrong = [
        FieldError(name, "Line breaks and other control characters cannot be sent; is something pasted?")
        for name in ("username", "secret")
        if _CONTROL.search(getattr(wanted, name) or "")
    ]
    if wanted.kind == "anonymous" and has_secret:
        wrong.append(FieldError("secret", "An anonymous credential has none."))
    if wanted.kind != "anonymous" and not has_secret:
        wrong.append(FieldError("secret", f"A credential of kind {wanted.kind} needs one."))
    if wanted.kind != "oauth2":
        wrong += [
            FieldError(name, "This belongs to credentials of kind oauth2.")
            for name in OAUTH2
            if getattr(wanted, name) is not None
        ]
    adapter = context.remotes.adapters.get(wanted.system)
    try:
        if adapter is not None:
            adapter.auth(wanted.kind, wanted.username, str)
    except BadTarget as e:
        wrong.append(FieldError(e.field, e.message))
    if wrong:
        raise invalid(*wrong)


def _options(wanted: NewCredential) -> dict[str, str]:
    return {name: value for name in OAUTH2 if (value := getattr(wanted, name)) is not None}


async def _found(connection: AsyncConnection, credential_id: int) -> Credential:
    found = await credentials.get(connection, credential_id)
    if found is None:
        raise not_found("credential", credential_id)
    return found


def answer(credential: Credential) -> CredentialAnswer:
    """A credential as everyone sees it."""
    return CredentialAnswer(
        id=credential.id,
        name=credential.name,
        system=credential.system,
        kind=credential.kind,
        username=credential.username,
        has_secret=credential.has_secret,
        token_url=credential.options.get("token_url"),
        client_id=credential.options.get("client_id"),
        scope=credential.options.get("scope"),
        created_at=moment(credential.created_at),
        updated_at=moment(credential.updated_at),
    )


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/v1/credentials",
        summary="Make a credential",
        permission="write",
        handler=create,
        body=NewCredential,
        query=Nothing,
        answer=CredentialAnswer,
        status=201,
    ),
    Route(
        method="GET",
        path="/v1/credentials",
        summary="List credentials",
        permission="read",
        handler=listed,
        body=Nothing,
        query=CredentialQuery,
        answer=Credentials,
    ),
    Route(
        method="GET",
        path="/v1/credentials/{id}",
        summary="Get a credential",
        permission="read",
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=CredentialAnswer,
    ),
    Route(
        method="PATCH",
        path="/v1/credentials/{id}",
        summary="Change a credential",
        permission="write",
        handler=change,
        body=CredentialChange,
        query=Nothing,
        answer=CredentialAnswer,
    ),
    Route(
        method="DELETE",
        path="/v1/credentials/{id}",
        summary="Remove a credential that no connection uses",
        permission="write",
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
    ),
)
