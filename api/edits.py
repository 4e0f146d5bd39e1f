"""What making, changing and removing a connection entails: one transaction each."""

import secrets
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import Caller
from api.binding import bind, problem
from api.context import Context
from api.etags import ALWAYS, Precondition, version_of
from api.problems import FieldError, invalid, not_found
from api.wanted import Checked, Wanted, as_stored, check, sends
from config.secret import MASK
from config.vault import Vault
from scheduler.dispatch import cancel_all
from store import audit, connections, webhooks
from store.connections import Connection
from store.database import Database, clock
from store.webhooks import place_of_secret

#: Parameters that say how often something is done and not what is read.
_NOT_OF_THE_TARGET = frozenset({"census_every"})


class Consequences(msgspec.Struct, frozen=True):
    """What an edit means beside the columns that it names."""

    values: dict[str, object]
    cancel: bool
    drop_cursors: bool


def version(connection: Connection) -> str:
    """The version of what people decide about a connection; a sync leaves it as it is."""
    decided = (as_stored(connection), connection.has_webhook_secret, connection.updated_at)
    return version_of(connection.id, *decided)


async def make(context: Context, wanted: Wanted, webhook_secret: str | None) -> Connection:
    """Make a connection; with a frequency it is due at once. Raises 422."""
    if webhook_secret == MASK:
        raise invalid(FieldError("webhook_secret", "This stands for a stored secret, and there is none yet."))
    async with context.database.write() as connection:
        now = await clock(connection)
        checked = await check(connection, context.remotes.adapters, wanted, context.caller)
        values = {
            **_columns(wanted, checked),
            "callback_token": secrets.token_urlsafe(24),
            "next_due_at": checked.due_from(wanted, now),
        }
        made = await connections.add(connection, values, now)
        await bind(connection, wanted.credential_id, checked.place)
        if webhook_secret:
            sealed = context.vault.seal(webhook_secret, place_of_secret(made))
            await connections.change(connection, made, now, {"webhook_secret": sealed})
        await audit.write(connection, context.caller.actor, "create", "connection", made, name=wanted.name)
        return await _found(connection, made)


async def edit(
    context: Context,
    connection_id: int,
    change: Callable[[Wanted], Wanted],
    webhook_secret: str | UnsetType | None = UNSET,
    precondition: Precondition = ALWAYS,
    *,
    drops: bool = False,
) -> Connection:
    """Make a connection what `change` makes of it. Raises 404, 412, or 422 for what cannot be.

    A credential that may not be sent to the server that is wanted is one of those, unless the caller named
    none and it `drops` out.
    """
    async with context.database.write() as connection:
        before = await _locked(connection, connection_id, context.caller)
        precondition.check(version(before))
        now = await clock(connection)
        wanted = change(as_stored(before))
        if drops and await _leaves(connection, context, before, wanted):
            wanted = replace(wanted, credential_id=None)
        checked = await check(connection, context.remotes.adapters, wanted, context.caller, before)
        follows = consequences(before, wanted, checked, now)
        if follows.cancel:
            await cancel_all(connection, connection_id, now)
        if follows.drop_cursors:
            await connections.drop_cursors(connection, connection_id)
        values = {**_columns(wanted, checked), "updated_at": now, **follows.values}
        if follows.drop_cursors and before.last_sync_at is not None:
            # What was read for another question may lie outside of this one.
            values["census_at"] = now
        if webhook_secret is not UNSET and webhook_secret != MASK:
            values["webhook_secret"] = _sealed(context.vault, connection_id, webhook_secret)
        await connections.change(connection, connection_id, now, values)
        await bind(connection, wanted.credential_id, checked.place)
        fields = audit.changed(as_stored(before), wanted)
        fields += ["webhook_secret"] if "webhook_secret" in values else []
        actor = context.caller.actor
        await audit.write(
            connection, actor, "update", "connection", connection_id, name=wanted.name, fields=fields
        )
        # What the remote has may be of another target, account or secret, or not be wanted any more.
        other = follows.cancel or "webhook_secret" in values or wanted.enabled != before.enabled
        hurried = other and await webhooks.hurry(connection, connection_id, now, address=None)
        after = await _found(connection, connection_id)
    if hurried:
        await context.bell.ring_webhook(connection_id)
    return after


async def _leaves(connection: AsyncConnection, context: Context, before: Connection, wanted: Wanted) -> bool:
    """Whether the connection is to ask a server that its credential may not be sent to."""
    adapters = context.remotes.adapters
    to = sends(adapters, wanted)
    return to != sends(adapters, before) and await problem(connection, *to, context.caller) is not None


def consequences(before: Connection, wanted: Wanted, checked: Checked, now: datetime) -> Consequences:
    """What follows from an edit.

    What is read, or as whom, being another: whatever runs is cancelled, old failures are forgotten, and
    the connection is due at once. So it is when it is enabled or completed.
    """
    other_target = (
        before.canonical != checked.canonical
        or _chosen(before.streams) != _chosen(checked.streams)
        or _of_the_target(before.params) != _of_the_target(wanted.params)
    )
    other_identity = before.credential_id != wanted.credential_id
    renewed = other_target or other_identity or (wanted.enabled and not before.enabled)
    stopped = before.enabled and not wanted.enabled
    rescheduled = (before.frequency, before.timezone) != (checked.frequency.text, wanted.timezone)
    values: dict[str, object] = {
        "next_due_at": _next_due(before, wanted, checked, now, renewed=renewed, rescheduled=rescheduled)
    }
    if renewed:
        values |= _recovered()
    if other_target or other_identity:
        values["partial"] = None
    if renewed or stopped or rescheduled:
        values["stale_at"] = None  # counted anew from the next success
    return Consequences(values, other_target or other_identity or stopped, other_target)


def _next_due(
    before: Connection,
    wanted: Wanted,
    checked: Checked,
    now: datetime,
    *,
    renewed: bool,
    rescheduled: bool,
) -> datetime | None:
    at_once = checked.due_from(wanted, now)
    if at_once is None or renewed:
        return at_once
    waits = before.next_due_at is not None and before.next_due_at <= now
    if rescheduled and not waits:
        return checked.frequency.next_after(now, before.id)
    return before.next_due_at


def _chosen(streams: list[str] | None) -> frozenset[str] | None:
    return None if streams is None else frozenset(streams)


def _of_the_target(params: object) -> object:
    if not isinstance(params, dict):
        return params
    return {name: value for name, value in params.items() if name not in _NOT_OF_THE_TARGET}


def _recovered() -> dict[str, object]:
    """A connection that has nothing held against it."""
    return {
        "failure": None,
        "next_check_at": None,
        "unavailable": 0,
        "crashes": 0,
        "limited_until": None,
        "remembered": 0,
    }


async def recover(database: Database, connection_id: int, *, cancel: bool) -> None:
    """Its credential is another: a paused connection is tried at once, with `cancel` also what runs."""
    async with database.write() as connection:
        row = await connections.locked(connection, connection_id)
        if row is None or row["deleted_at"] is not None:
            return
        found = connections.from_row(row)
        now = await clock(connection)
        cancelled = await cancel_all(connection, connection_id, now) if cancel else 0
        if not found.paused and not cancelled:
            return
        values = _recovered()
        if found.enabled and not found.draft and found.frequency != "manually":
            values["next_due_at"] = now
        await connections.change(connection, connection_id, now, {**values, "updated_at": now})


async def remove(
    context: Context, connection_id: int, *, purge: bool, precondition: Precondition = ALWAYS
) -> None:
    """Remove a connection; its records stay unless `purge`. Raises 404, or 412."""
    async with context.database.write() as connection:
        before = await _locked(connection, connection_id, context.caller)
        precondition.check(version(before))
        now = await clock(connection)
        await cancel_all(connection, connection_id, now)
        await audit.write(
            connection, context.caller.actor, "delete", "connection", connection_id, name=before.name
        )
        values = {
            "deleted_at": now,
            "updated_at": now,
            "purge": purge,
            "webhook_secret": None,
            "next_due_at": None,
            "next_look_at": None,
            "next_check_at": None,
            "stale_at": None,
            "catch_up": False,
        }
        await connections.change(connection, connection_id, now, values)
        hurried = await webhooks.hurry(connection, connection_id, now)
    if hurried:
        await context.bell.ring_webhook(connection_id)


def _columns(wanted: Wanted, checked: Checked) -> dict[str, object]:
    """The columns that a person decides on."""
    return {
        **{name: getattr(wanted, name) for name in Wanted.__struct_fields__},
        "canonical": checked.canonical,
        "frequency": checked.frequency.text,
        "streams": checked.streams,
    }


def _sealed(vault: Vault, connection_id: int, secret: str | None) -> str | None:
    return vault.seal(secret, place_of_secret(connection_id)) if secret else None


async def _locked(connection: AsyncConnection, connection_id: int, caller: Caller) -> Connection:
    row = await connections.locked(connection, connection_id)
    if row is None or row["deleted_at"] is not None or not caller.sees(row["project_id"]):
        raise not_found("connection", connection_id)
    return connections.from_row(row)


async def _found(connection: AsyncConnection, connection_id: int) -> Connection:
    found = await connections.get(connection, connection_id)
    if found is None:
        raise not_found("connection", connection_id)
    return found
