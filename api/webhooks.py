"""The webhook of a connection: its address, how to set the remote up, and doing so where it lets us."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import AdapterError, BadTarget, Registers, Target, Unavailable
from api.context import Context
from api.problems import ProblemError, not_found
from api.routing import Call, Route
from api.shapes import Nothing, moment
from api.steps import About, Step, steps
from config.vault import VaultError
from store import audit, connections, webhooks
from store.audit import Action
from store.connections import Connection
from store.database import clock
from store.health import Problem
from store.webhooks import Webhook
from worker.outcome import problem_of
from worker.registrar import CannotRegisterError, Registrar


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The webhook of a connection. `address` is what the remote is to call.

    `can_register`: Tidegate can set it up itself, at `POST`; `registered`: it did, and keeps it up. What
    stands in the way is `error`. `silent_since`: since then polling finds changes that no webhook told of.
    `steps` are for who sets it up by hand.
    """

    address: str
    has_secret: bool
    can_register: bool
    registered: bool
    registered_at: str | None
    expires_at: str | None
    error: Problem | None
    last_webhook_at: str | None
    silent_since: str | None
    steps: Sequence[Step]


async def get(call: Call[Nothing, Nothing]) -> WebhookAnswer:
    """The address that the remote is to call, and how to set that up."""
    return await look(call.context, call.id("connection"))


async def register(call: Call[Nothing, Nothing]) -> WebhookAnswer:
    """Have the remote call from now on; renewed and removed by itself. 200 even where the remote refuses.

    A connection without a webhook secret gets one. 409 where this is for a person to do.
    """
    return await set_up(call.context, call.id("connection"))


async def unregister(call: Call[Nothing, Nothing]) -> WebhookAnswer:
    """Remove what was registered. One that the remote does not let go yet is tried again later."""
    return await take_down(call.context, call.id("connection"))


async def rotate(call: Call[Nothing, Nothing]) -> WebhookAnswer:
    """Make a new address; the old one is not found from now on. What was registered is moved there."""
    return await move(call.context, call.id("connection"))


async def look(context: Context, connection_id: int) -> WebhookAnswer:
    """The webhook of a connection as it is. Raises 404."""
    async with context.database.read() as connection:
        found = await _seen(context, connection, connection_id)
        webhook = await webhooks.of(connection, connection_id)
    return _answer(context, found, webhook)


async def set_up(context: Context, connection_id: int) -> WebhookAnswer:
    """Register at the remote. Raises 404, 409 where that cannot be, 429."""
    found = await _noted(context, connection_id, "register")
    registrar = _registrar(context)
    try:
        registrar.kind(found)
        async with _limited(context):
            await registrar.register(connection_id)
    except CannotRegisterError as e:
        raise ProblemError(409, str(e)) from None
    except VaultError as e:
        raise ProblemError(503, f"The webhook secret of {found.name} cannot be opened: {e}") from None
    except (AdapterError, BadTarget, TimeoutError) as e:
        # Nothing is noted: whoever is refused today does not want it registered some day later.
        answer = await look(context, connection_id)
        return msgspec.structs.replace(answer, error=_problem(context, e))
    return await look(context, connection_id)


async def take_down(context: Context, connection_id: int) -> WebhookAnswer:
    """Remove what was registered. Raises 404, 429."""
    await _noted(context, connection_id, "unregister", wanted=False)
    return await _settled(context, connection_id)


async def move(context: Context, connection_id: int) -> WebhookAnswer:
    """Give it a new address, and move what was registered. Raises 404, 429."""
    await _noted(context, connection_id, "rotate", token=secrets.token_urlsafe(24))
    return await _settled(context, connection_id)


async def _settled(context: Context, connection_id: int) -> WebhookAnswer:
    """After it was tried to bring the remote in line; if that takes too long, a worker goes on."""
    try:
        async with _limited(context):
            await _registrar(context).settle(connection_id)
    except TimeoutError:
        await context.bell.ring_webhook(connection_id)
    return await look(context, connection_id)


async def _noted(
    context: Context,
    connection_id: int,
    action: Action,
    *,
    token: str | None = None,
    wanted: bool | None = None,
) -> Connection:
    """The connection, once it is written who asked for this, and what is decided by it."""
    async with context.database.write() as connection:
        await connections.locked(connection, connection_id)
        found = await _seen(context, connection, connection_id)
        now = await clock(connection)
        if token is not None:
            values = {"callback_token": token, "updated_at": now}
            await connections.change(connection, connection_id, now, values)
        if action != "register":
            decided = {} if wanted is None else {"wanted": wanted}
            await webhooks.hurry(connection, connection_id, now, **decided)
        actor = context.caller.actor
        await audit.write(connection, actor, action, "connection", connection_id, name=found.name)
    return found


async def _seen(context: Context, connection: AsyncConnection, connection_id: int) -> Connection:
    found = await connections.get(connection, connection_id)
    if found is None or not context.caller.sees(found.project_id):
        raise not_found("connection", connection_id)
    return found


def _registrar(context: Context) -> Registrar:
    return Registrar(context.database, context.remotes, context.vault, context.public_url)


@asynccontextmanager
async def _limited(context: Context) -> AsyncIterator[None]:
    """A request to a remote, for a limited time, and a limited number of them at once. Raises 429."""
    context.pace.take(context.caller.actor)
    if context.checks.locked():
        detail = "Too many requests to remotes are running; try again."
        raise ProblemError(429, detail, headers={"Retry-After": "1"})
    async with context.checks, asyncio.timeout(context.check_seconds):
        yield


def _problem(context: Context, error: AdapterError | BadTarget | TimeoutError) -> Problem:
    match error:
        case AdapterError():
            return problem_of(error)
        case BadTarget():
            return Problem("incomplete", error.message, f"Set {error.field} of this connection.")
    message = f"The remote did not answer within {context.check_seconds:.0f} seconds."
    return Problem(Unavailable.kind, message, Unavailable.default_hint)


def _answer(context: Context, found: Connection, webhook: Webhook | None) -> WebhookAnswer:
    kind = context.remotes.adapters.get(found.system)
    address = _registrar(context).address(found)
    there = webhook is not None and webhook.id is not None
    about = About(found.name, address, found.has_webhook_secret, _target(context, found))
    return WebhookAnswer(
        address=address,
        has_secret=found.has_webhook_secret,
        can_register=kind is not None and issubclass(kind, Registers),
        registered=there,
        registered_at=moment(webhook.registered_at) if webhook else None,
        expires_at=moment(webhook.expires_at) if webhook else None,
        error=webhook.problem if webhook else None,
        last_webhook_at=moment(found.last_webhook_at),
        silent_since=moment(found.webhook_missed_at),
        steps=steps(found.system, about),
    )


def _target(context: Context, found: Connection) -> Target | None:
    kind = context.remotes.adapters.get(found.system)
    if kind is None or found.url is None:
        return None
    try:
        return kind.parse(found.url, found.params)
    except BadTarget:
        return None


_PATH = "/v1/connections/{id}/webhook"
_BY_HAND = "This is for a person to do, the connection is a draft or disabled, or the remote cannot reach us."


def _route(method: str, summary: str, handler: Any, path: str = _PATH, **more: Any) -> Route[Any, Any]:
    return Route(
        method=method,
        path=path,
        summary=summary,
        permission="write",
        by_project=True,
        handler=handler,
        body=Nothing,
        query=Nothing,
        answer=WebhookAnswer,
        **more,
    )


ROUTES: tuple[Route[Any, Any], ...] = (
    _route("GET", "The webhook of a connection", get),
    _route(
        "POST",
        "Have the remote send webhooks",
        register,
        problems={409: _BY_HAND},
    ),
    _route("DELETE", "Have the remote send no more webhooks", unregister),
    _route("POST", "Make a new webhook address", rotate, f"{_PATH}/rotate"),
)
