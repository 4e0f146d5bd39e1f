"""The header Idempotency-Key: asking again for what was made gets the answer that was given then."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256

import msgspec
from aiohttp import web
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Bell, Context
from api.problems import FieldError, ProblemError, invalid
from config.vault import VaultError
from store import idempotency
from store.database import Joined
from store.idempotency import Kept, place
from store.syncs import Ring

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
PATTERN = r"^[\x21-\x7e]{1,255}$"
#: Of the headers of an answer these are given again with it.
_HEADERS = ("Content-Type", "ETag", "Location")


class _Answer(msgspec.Struct, frozen=True):
    headers: Mapping[str, str]
    body: str


async def once(
    context: Context,
    key: str,
    asked: Sequence[object],
    run: Callable[[Context], Awaitable[web.StreamResponse]],
) -> web.Response:
    """What `run` answers, the first time; later the same, without running it.

    `run` is given a context whose database is one open transaction, in which the answer is kept too: either
    all of it is in, or nothing. An answer that is a problem is not kept. Raises 422 where the key stands for
    another request, and 409 where one with it was still under way.
    """
    if re.fullmatch(PATTERN, key) is None:
        raise invalid(FieldError(HEADER, "Give 1 to 255 visible ASCII characters; a UUID is best."))
    caller = "admin key" if context.caller.key_id is None else f"key {context.caller.key_id}"
    digest = sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()
    async with context.database.read() as connection:
        kept = await idempotency.find(connection, caller, key)
    if kept is not None:
        return _again(context, place(caller, key), kept, digest)
    bell = _Waiting()
    async with context.database.write() as connection:
        await _take(connection, caller, key)
        inside = replace(context, database=Joined(context.database, connection), bell=bell)
        response = await run(inside)
        assert isinstance(response, web.Response)
        kept = _sealed(context, place(caller, key), response, digest)
        await idempotency.keep(connection, caller, key, kept)
    await bell.pass_on(context.bell)
    return response


async def _take(connection: AsyncConnection, caller: str, key: str) -> None:
    try:
        await idempotency.add(connection, caller, key)
    except IntegrityError:
        under_way = f"A request with this {HEADER} is under way; send it again for its answer."
        raise ProblemError(409, under_way, headers={"Retry-After": "1"}) from None


def _sealed(context: Context, at: str, response: web.Response, digest: str) -> Kept:
    body = response.body
    assert isinstance(body, bytes)
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    answer = msgspec.json.encode(_Answer(headers, body.decode())).decode()
    return Kept(context.vault.seal(digest, at), response.status, context.vault.seal(answer, at))


def _again(context: Context, at: str, kept: Kept, digest: str) -> web.Response:
    try:
        same = context.vault.open(kept.request, at, secret=False) == digest
        text = context.vault.open(kept.body, at, secret=False)
    except VaultError:
        lost = "The answer to this request was kept, and cannot be opened with the present secret key."
        raise ProblemError(409, f"{lost} Look whether it was carried out.") from None
    if not same:
        other = "This key stands for another request: give each request a key of its own."
        raise invalid(FieldError(HEADER, other))
    answer = msgspec.json.decode(text, type=_Answer)
    headers = {**answer.headers, REPLAYED: "true", "Cache-Control": "no-store"}
    return web.Response(status=kept.status, body=answer.body.encode(), headers=headers)


class _Waiting:
    """A bell that is rung later: nobody is to come before the transaction is in."""

    def __init__(self) -> None:
        self._rings: list[Ring] = []
        self._checks: list[int] = []
        self._webhooks: list[int] = []

    async def ring(self, rings: Sequence[Ring]) -> None:
        self._rings += rings

    async def ring_check(self, connection_id: int) -> None:
        self._checks.append(connection_id)

    async def ring_webhook(self, connection_id: int) -> None:
        self._webhooks.append(connection_id)

    async def pass_on(self, bell: Bell) -> None:
        if self._rings:
            await bell.ring(self._rings)
        for connection_id in self._checks:
            await bell.ring_check(connection_id)
        for connection_id in self._webhooks:
            await bell.ring_webhook(connection_id)
