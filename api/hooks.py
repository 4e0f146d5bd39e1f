"""Inbound webhooks: verified, understood, and answered as soon as the sync they cause is in the database."""

from typing import Any

import msgspec
from aiohttp import web

from adapters.base import BadHook, Hint, Hook
from api.inbox import Taken
from api.problems import ProblemError
from api.routing import JSON, Call, Route
from api.shapes import Name, Nothing
from config.vault import VaultError
from store.connections import Connection
from store.counts import WEBHOOKS_IN
from store.webhooks import place_of_secret

#: Jira's with many fields and Azure's with many commits are some hundred kB.
LARGEST_HOOK = 4 * 1024 * 1024


class Anything(msgspec.Struct, frozen=True):
    """Senders add what they like: Jira, who caused the event."""


class HookAnswer(msgspec.Struct, frozen=True):
    """What became of it: `sync_id` fetches the records that it is about; else `ignored` says why not."""

    sync_id: int | None
    ignored: str | None = None


async def receive(call: Call[Nothing, Anything]) -> HookAnswer:
    """Take a webhook of Jira, Jenkins or Azure DevOps.

    401 where the connection has a webhook secret and the sender does not prove to know it; 400 for what is
    no webhook of this system; 202 for all else, also for what there is nothing to do about.
    """
    known = await call.context.inbox.known(call.context, call.request.match_info["token"])
    counts = call.context.remotes.counts
    if known is None:
        counts.add(WEBHOOKS_IN, "unknown", "refused")
        raise ProblemError(404, "No connection has this webhook address; look up the present one.")
    found, sealed = known
    try:
        answer = await _taken(call, found, sealed)
    except ProblemError:
        counts.add(WEBHOOKS_IN, found.system, "refused")
        raise
    counts.add(WEBHOOKS_IN, found.system, "ignored" if answer.ignored else "accepted")
    return answer


async def _taken(call: Call[Nothing, Anything], found: Connection, sealed: str | None) -> HookAnswer:
    adapter = call.context.remotes.adapters.get(found.system)
    if adapter is None:
        return HookAnswer(None, f"There is no adapter for {found.system}.")
    # What is sent twice is one value, which proves nothing: else who comes between could choose.
    told = call.request.headers
    headers = {name.lower(): ", ".join(told.getall(name)) for name in told}
    hook = Hook(headers, await _body(call.request))
    if sealed is not None and not adapter.verify(hook, _secret(call, found, sealed)):
        raise ProblemError(401, "The webhook does not prove that it knows this connection's webhook secret.")
    try:
        hint = _chosen(adapter.hint(hook), found)
    except BadHook as e:
        raise ProblemError(400, f"This is no webhook of {found.system}: {e}") from None
    taken: Taken = await call.context.inbox.take(call.context, found.id, hint)
    return HookAnswer(taken.sync_id, taken.ignored or (None if taken.sync_id else hint.ignored))


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_chunked(65536):
        body += chunk
        if len(body) > LARGEST_HOOK:
            raise ProblemError(413, f"A webhook may have up to {LARGEST_HOOK} bytes.")
    return bytes(body)


def _secret(call: Call[Nothing, Anything], found: Connection, sealed: str) -> str:
    try:
        return call.context.vault.open(sealed, place_of_secret(found.id))
    except VaultError as e:
        raise ProblemError(503, f"The webhook secret of {found.name} cannot be opened: {e}") from None


def _chosen(hint: Hint, found: Connection) -> Hint:
    """Only what the connection reads."""
    if found.streams is None or not hint.keys:
        return hint
    keys = {stream: mine for stream, mine in hint.keys.items() if stream in found.streams}
    ignored = None if keys else f"The connection does not read {', '.join(hint.keys)}."
    return Hint(keys, hint.delivery, ignored)


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/webhooks/{token}",
        summary="Take a webhook",
        permission=None,
        handler=receive,
        body=Nothing,
        query=Anything,
        answer=HookAnswer,
        status=202,
        names={"token": Name},
        raw=(JSON,),
        problems={
            400: "This is no webhook of the system of the connection.",
            401: "The webhook does not prove that it knows the webhook secret.",
            404: "No connection has this webhook address.",
            413: "The body is larger than 4 MiB.",
            503: "The webhook secret cannot be opened, or the database does not answer.",
        },
    ),
)
