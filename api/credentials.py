"""Credentials: how to authenticate at a system. A secret goes in and is never given out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import BadTarget
from api import oauth2
from api.context import Context
from api.edits import recover
from api.etags import ALWAYS, Precondition, Versioned, version_of
from api.paging import ById, Page, after_id, cut
from api.problems import FieldError, ProblemError, invalid, not_found
from api.routing import Call, Route
from api.shapes import Discreet, Name, Nothing, System, Text, Word, moment
from config.secret import MASK
from store import audit, credentials, tokens
from store.credentials import Credential
from store.database import clock
from store.schema import credentials as table
from store.tokens import Secrets

Kind = Literal["basic", "bearer", "pat", "anonymous", "oauth2"]
OAUTH2 = oauth2.FIELDS
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class NewCredential(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A credential to be made.

    `token_url`, `client_id`, `scope` and `refresh_token` belong to `oauth2`; its `secret` is the client's.
    """

    name: Name
    system: System
    kind: Kind
    username: Text | None = None
    secret: Text | None = None
    refresh_token: Text | None = None
    token_url: Text | None = None
    client_id: Text | None = None
    scope: Text | None = None


class CredentialChange(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different. What is left out stays, and so does a secret given as `********`.

    Stored secrets are not sent to another host: with another `token_url` they are to be given anew.
    """

    name: Name | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    username: Text | UnsetType | None = UNSET
    secret: Text | UnsetType | None = UNSET
    refresh_token: Text | UnsetType | None = UNSET
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
    has_refresh_token: bool
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

    system: Word | None = None
    name: Word | None = None


async def create(call: Call[NewCredential, Nothing]) -> Versioned:
    """Make a credential. 422 for a kind that its system does not take."""
    return versioned(await make(call.context, call.body))


async def make(
    context: Context, body: NewCredential, attributes: Mapping[str, object] | None = None
) -> CredentialAnswer:
    """Check and store a credential with its secrets sealed. Raises 422.

    `attributes` are what clients of other products' APIs keep with it, by dialect.
    """
    given = _given(body)
    holds = oauth2.holds(None, given, movable=True)
    _check(context, body, holds.after, _masked(given))
    values = {name: getattr(body, name) for name in ("name", "system", "kind", "username")}
    async with context.database.write() as connection:
        now = await clock(connection)
        values |= {"options": _options(body, holds), "attributes": attributes or {}}
        made = await credentials.add(connection, values, now)
        if holds.after:
            sealed = _sealed(context, made, body.kind, None, given, holds)
            await credentials.change(connection, made, {"secret": sealed})
        await audit.write(connection, context.caller.actor, "create", "credential", made, name=body.name)
        return answer(await _found(connection, made))


async def change(call: Call[CredentialChange, Nothing]) -> Versioned:
    """Change a credential. Connections that were paused for want of a good one are tried at once."""
    return versioned(await edit(call.context, call.id("credential"), call.body, call.precondition))


async def edit(
    context: Context,
    credential_id: int,
    body: CredentialChange,
    precondition: Precondition = ALWAYS,
    attributes: Mapping[str, object] | None = None,
) -> CredentialAnswer:
    """Change a credential and let its connections recover. Raises 404, 412, or 422 for what cannot be.

    `attributes` take the place of those that are kept with it; None leaves them.
    """
    given = _given(body)
    new_secrets = [name for name, value in given.items() if not oauth2.is_kept(value)]
    async with context.database.write() as connection:
        before = await credentials.locked(connection, credential_id)
        if before is None:
            raise not_found("credential", credential_id)
        precondition.check(version_of(answer(before)))
        wanted = _merged(before, body)
        movable = oauth2.movable(before, wanted.kind, wanted.token_url)
        holds = oauth2.holds(before, given, movable=movable)
        _check(context, wanted, holds.after, () if movable else oauth2.left_behind(before, given))
        now = await clock(connection)
        facts: dict[str, object] = {name: getattr(wanted, name) for name in ("name", "kind", "username")}
        facts |= {"options": _options(wanted, holds), "updated_at": now}
        if attributes is not None:
            facts["attributes"] = attributes
        other = any(facts[name] != getattr(before, name) for name in ("kind", "username", "options"))
        if other or new_secrets:
            stored = await tokens.get(connection, credential_id)
            assert stored is not None
            if "refresh_token" in holds.kept and stored.is_leased(now):
                # The answer under way may bring another refresh token, and the kept one be worth nothing.
                raise ProblemError(409, "A token is being fetched right now; try again in some seconds.")
            facts["secret"] = _sealed(context, credential_id, wanted.kind, stored.secret, given, holds)
            # The token of before is of another account, or of a consent that is over.
            facts |= {"token": None, "token_expires_at": None}
            facts |= {} if holds.kept else {"origins": None}  # a new secret belongs where it is used next
        await credentials.change(connection, credential_id, facts)
        after = await _found(connection, credential_id)
        users = await credentials.users(connection, credential_id)
        fields = audit.changed(_merged(before, CredentialChange()), wanted) + new_secrets
        actor = context.caller.actor
        await audit.write(
            connection, actor, "update", "credential", credential_id, name=after.name, fields=fields
        )
    if other or new_secrets:
        for connection_id in users:
            await recover(context.database, connection_id, cancel=other)
    return answer(after)


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Remove a credential. 409 while a connection uses it."""
    await discard(call.context, call.id("credential"), call.precondition)


async def discard(context: Context, credential_id: int, precondition: Precondition = ALWAYS) -> None:
    """Remove a credential. Raises 404, 412, or 409 while a connection uses it."""
    async with context.database.write() as connection:
        found = await credentials.locked(connection, credential_id)
        if found is None:
            raise not_found("credential", credential_id)
        precondition.check(version_of(answer(found)))
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


async def get(call: Call[Nothing, Nothing]) -> Versioned:
    """A credential, without its secrets."""
    async with call.context.database.read() as connection:
        return versioned(answer(await _found(connection, call.id("credential"))))


def _merged(before: Credential, body: CredentialChange) -> NewCredential:
    """The credential as it is to be, with the secrets that are new."""
    stored = {name: getattr(before, name) for name in ("name", "system", "kind", "username")}
    stored |= {name: before.options.get(name) for name in OAUTH2}
    given = {name: getattr(body, name) for name in CredentialChange.__struct_fields__}
    news = {
        name: value
        for name, value in given.items()
        if value is not UNSET and (name not in oauth2.SECRETS or value != MASK)
    }
    return NewCredential(**{**stored, **news})


def _given(body: NewCredential | CredentialChange) -> dict[str, oauth2.Given]:
    return {name: getattr(body, name) for name in oauth2.SECRETS}


def _masked(given: Mapping[str, oauth2.Given]) -> list[FieldError]:
    message = "This stands for a stored secret, and there is none yet."
    return [FieldError(name, message) for name, value in given.items() if value == MASK]


def _check(
    context: Context, wanted: NewCredential, holds: tuple[str, ...], unsaid: Iterable[FieldError]
) -> None:
    """Raises 422 with everything that speaks against a credential."""
    wrong = [
        FieldError(name, "Line breaks and other control characters cannot be sent; is something pasted?")
        for name in ("username", *oauth2.SECRETS, *OAUTH2)
        if _CONTROL.search(getattr(wanted, name) or "")
    ]
    wrong += unsaid
    if wanted.kind == "oauth2":
        wrong += oauth2.check(wanted.token_url, wanted.client_id, holds, context.remotes.guard)
    else:
        wrong += _check_plain(wanted, holds)
    adapter = context.remotes.adapters.get(wanted.system)
    try:
        if adapter is not None:
            adapter.auth(wanted.kind, wanted.username, str)
    except BadTarget as e:
        wrong.append(FieldError(e.field, e.message))
    if wrong:
        raise invalid(*{error.field: error for error in reversed(wrong)}.values())


def _check_plain(wanted: NewCredential, holds: tuple[str, ...]) -> list[FieldError]:
    wrong = [
        FieldError(name, "This belongs to credentials of kind oauth2.")
        for name in (*OAUTH2, "refresh_token")
        if getattr(wanted, name) is not None
    ]
    if wanted.kind == "anonymous" and holds:
        wrong.append(FieldError("secret", "An anonymous credential has none."))
    if wanted.kind != "anonymous" and "secret" not in holds:
        wrong.append(FieldError("secret", f"A credential of kind {wanted.kind} needs one."))
    return wrong


def _options(wanted: NewCredential, holds: oauth2.Holds) -> dict[str, object]:
    if wanted.kind != "oauth2":
        return {}
    return oauth2.options({name: getattr(wanted, name) for name in OAUTH2}, holds.after)


def _sealed(
    context: Context,
    credential_id: int,
    kind: str,
    sealed: str | None,
    given: dict[str, oauth2.Given],
    holds: oauth2.Holds,
) -> str | None:
    """What is to be stored instead of `sealed`; those of `oauth2` are sealed as one, and always anew."""
    place = credentials.place(credential_id)
    if kind != "oauth2":
        secret = given["secret"]
        if "secret" in holds.kept:
            return sealed
        return context.vault.seal(secret, place) if isinstance(secret, str) and secret else None
    before = Secrets()
    if holds.kept and sealed:
        before = tokens.secrets_of(context.vault.open(sealed, place))
    return context.vault.seal(oauth2.merged(before, given, holds.kept).as_text(), place)


async def _found(connection: AsyncConnection, credential_id: int) -> Credential:
    found = await credentials.get(connection, credential_id)
    if found is None:
        raise not_found("credential", credential_id)
    return found


def versioned(told: CredentialAnswer) -> Versioned:
    return Versioned(told, version_of(told))


def answer(credential: Credential) -> CredentialAnswer:
    """A credential as everyone sees it."""
    return CredentialAnswer(
        id=credential.id,
        name=credential.name,
        system=credential.system,
        kind=credential.kind,
        username=credential.username,
        has_secret=credential.has_secret,
        has_refresh_token=credential.has_refresh_token,
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
        idempotent=True,
        made="/v1/credentials",
        tagged=True,
        example={
            "name": "Reader",
            "system": "jira",
            "kind": "basic",
            "username": "reader@example.com",
            "secret": "an API token",
        },
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
        tagged=True,
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
        tagged=True,
        problems={409: "A token is being fetched with what is to be kept."},
        example={"secret": "another API token"},
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
        tagged=True,
        problems={409: "Connections use it; they are named."},
    ),
)
