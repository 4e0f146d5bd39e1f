"""The rules for making and changing subscriptions, the same for the API and the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.outgoing import unfit
from api.context import Context
from api.etags import ALWAYS, Precondition, version_of
from api.problems import FieldError, invalid, not_found
from api.subscribed import MadeSubscription, NewSubscription, SubscriptionChange, answer
from config.vault import VaultError
from events import signature
from store import audit, connections, outbox, projects, sendings, subscriptions
from store.database import clock
from store.subscriptions import OVERLAP, Subscription

_PREFIX = "io.tidegate."


async def make(context: Context, body: NewSubscription) -> MadeSubscription:
    """Make a subscription. Raises 422 for what could not work."""
    secret = _usable(body.secret)
    values: dict[str, object] = {
        name: getattr(body, name) for name in NewSubscription.__struct_fields__ if name != "secret"
    }
    values["types"] = _types(body.types)
    async with context.database.write() as connection:
        await _check(connection, context, values)
        now = await clock(connection)
        values["disabled_at"] = None if body.enabled else now
        made = await subscriptions.add(connection, values, now)
        sealed = context.vault.seal(secret, subscriptions.place(made))
        await subscriptions.change(connection, made, {"secret": sealed})
        actor = context.caller.actor
        await audit.write(connection, actor, "create", "subscription", made, name=body.name)
        found = await seen(context, connection, made)
    return MadeSubscription(**msgspec.structs.asdict(answer(found)), secret=secret)


async def edit(
    context: Context, subscription_id: int, body: SubscriptionChange, precondition: Precondition = ALWAYS
) -> Subscription:
    """Change a subscription. Raises 404, 412, 422."""
    async with context.database.write() as connection:
        before = await _locked(context, connection, subscription_id)
        precondition.check(version(before))
        given = {name: getattr(body, name) for name in SubscriptionChange.__struct_fields__}
        news = {name: value for name, value in given.items() if value is not UNSET and name != "start"}
        if news.get("types") is not None:
            news["types"] = _types(body.types or None)
        after = replace(before, **news)
        await _check(connection, context, _decided(after))
        now = await clock(connection)
        enabled = news.pop("enabled", before.enabled)
        await subscriptions.change(connection, subscription_id, {**news, "updated_at": now})
        if enabled != before.enabled:
            await subscriptions.switch(connection, subscription_id, now, on=bool(enabled))
        if body.start == "now":
            await _skip(connection, subscription_id)
        if body.enabled is True or after.url != before.url:
            await hasten(connection, subscription_id)
        fields = [*audit.changed(before, after), *(["from"] if body.start == "now" else [])]
        actor, name = context.caller.actor, after.name
        await audit.write(
            connection, actor, "update", "subscription", subscription_id, name=name, fields=fields
        )
        return await seen(context, connection, subscription_id)


async def _skip(connection: AsyncConnection, subscription_id: int) -> None:
    """Let what waits be, and go on with what happens from now on."""
    await sendings.skip(connection, subscription_id)
    newest = await outbox.last_position(connection)
    await subscriptions.advance(connection, subscription_id, newest)


async def hasten(connection: AsyncConnection, subscription_id: int) -> None:
    """Have what waits sent now, and its schedule begin anew. The row is locked by the caller."""
    await sendings.hasten(connection, subscription_id)
    fresh = {"failing_since": None, "failing_step": 0, "paused_until": None}
    await subscriptions.change(connection, subscription_id, fresh)


async def renew(context: Context, subscription_id: int, given: str | None) -> MadeSubscription:
    """Give a subscription another secret. Raises 404, 422, and 503 for one that cannot be opened."""
    secret = _usable(given)
    async with context.database.write() as connection:
        before = await _locked(context, connection, subscription_id)
        stored = await subscriptions.sealed(connection, subscription_id)
        assert stored is not None
        now = await clock(connection)
        values: dict[str, object] = {
            "secret": context.vault.seal(secret, subscriptions.place(subscription_id)),
            "updated_at": now,
        }
        try:
            old = context.vault.open(stored.secret, subscriptions.place(subscription_id))
        except VaultError:
            # It signs nothing any more, so that nobody relies on it.
            values |= {"old_secret": None, "old_until": None}
        else:
            sealed = context.vault.seal(old, subscriptions.old_place(subscription_id))
            values |= {"old_secret": sealed, "old_until": now + OVERLAP}
        await subscriptions.change(connection, subscription_id, values)
        actor = context.caller.actor
        await audit.write(connection, actor, "rotate", "subscription", subscription_id, name=before.name)
        found = await seen(context, connection, subscription_id)
    return MadeSubscription(**msgspec.structs.asdict(answer(found)), secret=secret)


async def discard(
    context: Context, subscription_id: int, precondition: Precondition = ALWAYS
) -> Subscription:
    """Remove a subscription. Raises 404, 412."""
    async with context.database.write() as connection:
        before = await _locked(context, connection, subscription_id)
        precondition.check(version(before))
        await subscriptions.remove(connection, subscription_id)
        actor = context.caller.actor
        await audit.write(connection, actor, "delete", "subscription", subscription_id, name=before.name)
    return before


async def seen(context: Context, connection: AsyncConnection, subscription_id: int) -> Subscription:
    """A subscription that the caller may see. Raises 404."""
    return _visible(context, await subscriptions.get(connection, subscription_id), subscription_id)


async def _locked(context: Context, connection: AsyncConnection, subscription_id: int) -> Subscription:
    return _visible(context, await subscriptions.locked(connection, subscription_id), subscription_id)


def _visible(context: Context, found: Subscription | None, subscription_id: int) -> Subscription:
    if found is None or not context.caller.sees(found.project_id):
        raise not_found("subscription", subscription_id)
    return found


_DECIDED = (
    *("name", "url", "project_id", "types", "systems", "connection_ids", "states", "healths"),
    "enabled",
)


def version(one: Subscription) -> str:
    """The version of what people decide about a subscription."""
    return version_of(_decided(one))


def _decided(one: Subscription) -> Mapping[str, Any]:
    """What people decide about a subscription."""
    return {name: getattr(one, name) for name in _DECIDED}


def _usable(secret: str | None) -> str:
    """The given secret, or a new one. Raises 422."""
    if secret is None:
        return signature.new_secret()
    try:
        signature.key_of(secret)
    except ValueError as e:
        raise invalid(FieldError("secret", str(e))) from None
    return secret


def _types(given: Sequence[str] | UnsetType | None) -> list[str] | None:
    """Types by the end of their names, each once."""
    if given is None or isinstance(given, UnsetType):
        return None
    return list(dict.fromkeys(one.removeprefix(_PREFIX) for one in given))


async def _check(connection: AsyncConnection, context: Context, values: Mapping[str, Any]) -> None:
    """Raises 422 naming every field that does not fit."""
    wrong: list[FieldError] = []
    problem = unfit(values["url"], context.remotes.guard)
    if problem is not None:
        wrong.append(FieldError("url", problem))
    known = context.remotes.adapters
    unknown = [name for name in values["systems"] or () if name not in known]
    if unknown:
        there = f"There is no system {', '.join(unknown)}; there are {', '.join(known)}."
        wrong.append(FieldError("systems", there))
    project_id, caller = values["project_id"], context.caller
    if not caller.sees(project_id):
        allowed = ", ".join(map(str, sorted(caller.projects or ())))
        message = f"This API key is limited to projects: name one of {allowed}."
        wrong.append(FieldError("project_id", message))
    elif project_id is not None and await projects.get(connection, project_id) is None:
        wrong.append(FieldError("project_id", f"There is no project {project_id}."))
    else:
        wrong += await _connections(connection, values["connection_ids"] or (), project_id)
    if wrong:
        raise invalid(*wrong)


async def _connections(
    connection: AsyncConnection, ids: Sequence[int], project_id: int | None
) -> list[FieldError]:
    """What is wrong with the connections that are named: one that was deleted since is no error."""
    wrong = []
    for one in dict.fromkeys(ids):
        found = await connections.get(connection, one, deleted=True)
        if found is None or (project_id is not None and found.project_id != project_id):
            where = "" if project_id is None else f" in project {project_id}"
            wrong.append(FieldError("connection_ids", f"There is no connection {one}{where}."))
    return wrong
