"""Tests of connections: what the remote answers now, before and after saving."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from adapters.auth import Auth
from adapters.base import AdapterError, BadTarget, Check, Forbidden, Unavailable
from adapters.http import Meter, utc_now
from api import wanted
from api.connections import Streams, named
from api.context import Context
from api.problems import ProblemError
from api.routing import Call, Route
from api.shapes import Discreet, Id, Nothing, System, Text
from api.wanted import Wanted
from store import audit
from store.connections import Connection
from store.database import clock
from store.health import Problem


class TriedConnection(Discreet, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A connection that is tried before it is made: the same fields, and it need not have a name yet."""

    system: System
    name: Text = ""
    url: Text | None = None
    credential_id: Id | None = None
    project_id: Id | None = None
    frequency: Text = "hourly"
    timezone: Text = "UTC"
    streams: Streams | None = None
    params: dict[str, object] = msgspec.field(default_factory=dict)
    enabled: bool = True
    webhook_secret: Text | None = None


class Found(msgspec.Struct, frozen=True):
    """Whether a stream can be read: `count` matches where known, `problem` for a person where not."""

    readable: bool
    count: int | None
    problem: str | None


class Tried(msgspec.Struct, frozen=True):
    """What a test found. `ok`: the streams asked for can be read; without a choice, at least one can.

    `notes` tell what is fine today and needs doing soon.
    """

    ok: bool
    system_version: str | None
    account: str | None
    streams: Mapping[str, Found]
    error: Problem | None
    notes: Sequence[str] = ()


async def saved(call: Call[Nothing, Nothing]) -> Tried:
    """Test a connection as it is stored. 200 even when it does not work."""
    async with call.context.database.read() as connection:
        found = await named(call, connection)
    return await try_saved(call.context, found)


async def unsaved(call: Call[TriedConnection, Nothing]) -> Tried:
    """Test a connection before it is made. 422 for what could not be made at all."""
    known = [name for name in TriedConnection.__struct_fields__ if name != "webhook_secret"]
    tried = Wanted(**{name: getattr(call.body, name) for name in known})
    return await try_unsaved(call.context, tried)


async def try_saved(context: Context, connection: Connection) -> Tried:
    """What the remote of a stored connection answers now."""
    context.pace.take(context.caller.actor)
    await _noted(context, connection.id, connection.name)
    return await _tested(context, connection)


async def try_unsaved(context: Context, tried: Wanted, auth: Auth | None = None) -> Tried:
    """What the remote of a connection would answer, to its credential or to `auth`.

    Raises 422 for what could not be made at all.
    """
    context.pace.take(context.caller.actor)
    async with context.database.read() as connection:
        checked = await wanted.check(connection, context.remotes.adapters, tried, context.caller)
        now = await clock(connection)
    await _noted(context, None, urlsplit(checked.canonical or "").hostname)
    return await _tested(context, _as_connection(tried, checked.canonical, now), auth)


async def _noted(context: Context, connection_id: int | None, name: str | None) -> None:
    """A test sends a secret to an address: who had it sent, and where, is in the audit log."""
    async with context.database.write() as connection:
        await audit.write(connection, context.caller.actor, "test", "connection", connection_id, name=name)


async def _tested(context: Context, connection: Connection, auth: Auth | None = None) -> Tried:
    """Ask the remote, for a limited time, and a limited number of them at once."""
    if context.checks.locked():
        raise ProblemError(429, "Too many tests are running; try again.", headers={"Retry-After": "1"})
    async with context.checks:
        try:
            async with asyncio.timeout(context.check_seconds):
                return _found(await _ask(context, connection, auth), connection.streams)
        except AdapterError as e:
            return _failed(Problem(e.kind, e.message, e.hint))
        except BadTarget as e:
            return _failed(Problem("incomplete", e.message, f"Set {e.field} of this connection."))
        except TimeoutError:
            message = f"The remote did not answer within {context.check_seconds:.0f} seconds."
            return _failed(Problem(Unavailable.kind, message, Unavailable.default_hint))


async def _ask(context: Context, connection: Connection, auth: Auth | None) -> Check:
    async with context.database.read() as database:
        remotes, meter = context.remotes, Meter()
        adapter = await remotes.open(database, connection, utc_now, meter, "records", auth)
    return await adapter.check()


def _found(check: Check, streams: list[str] | None) -> Tried:
    """Without a choice of streams all that can be read will be; of a choice every one must be readable."""
    unreadable = {
        name: found
        for name, found in check.streams.items()
        if not found.readable and (streams is None or name in streams)
    }
    ok = not unreadable if streams is not None else len(unreadable) < len(check.streams)
    error = None
    if not ok:
        why = "; ".join(f"{name}: {found.problem or 'cannot be read'}" for name, found in unreadable.items())
        kind = next((found.kind for found in unreadable.values() if found.kind), Forbidden.kind)
        error = Problem(kind, why, "Check what this account may read, and that the URL is right.")
    told = {name: Found(found.readable, found.count, found.problem) for name, found in check.streams.items()}
    return Tried(ok, check.system_version, check.account, told, error, check.notes)


def _failed(error: Problem) -> Tried:
    return Tried(False, None, None, {}, error)


def _as_connection(tried: Wanted, canonical: str | None, now: datetime) -> Connection:
    """A connection that is in no database."""
    asked = {name: getattr(tried, name) for name in Wanted.__struct_fields__}
    return Connection(
        **{**asked, "params": dict(tried.params)},
        id=0,
        canonical=canonical,
        callback_token="",
        health="pending",
        cause=None,
        since=now,
        failure=None,
        partial=None,
        has_webhook_secret=False,
        last_webhook_at=None,
        webhook_missed_at=None,
        next_due_at=None,
        census_at=None,
        last_sync_at=None,
        last_success_at=None,
        last_error_at=None,
        created_at=now,
        updated_at=now,
        deleted_at=None,
    )


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/v1/connections/test",
        summary="Test a connection before it is made",
        permission="write",
        by_project=True,
        handler=unsaved,
        body=TriedConnection,
        example={
            "system": "jenkins",
            "url": "https://jenkins.example.com/job/pipeline_1",
            "credential_id": 1,
        },
        query=Nothing,
        answer=Tried,
    ),
    Route(
        method="POST",
        path="/v1/connections/{id}/test",
        summary="Test a connection",
        permission="write",
        by_project=True,
        handler=saved,
        body=Nothing,
        query=Nothing,
        answer=Tried,
    ),
)
