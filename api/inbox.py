"""Hints of inbound webhooks on their way to the door: what comes meanwhile for a connection goes together.

A burst costs a look-up and a transaction for each time the last one took, not one for each webhook.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Hint
from config.failpoints import Step, passed
from scheduler.dispatch import ClosedError, Opened, RememberedError, Request, open_sync
from store import connections, deliveries
from store.connections import Connection, locked
from store.database import clock
from store.schema import connections as table

if TYPE_CHECKING:
    from api.context import Context


class Taken(msgspec.Struct, frozen=True):
    """What became of a webhook: the sync that fetches what it is about, or why there is none."""

    sync_id: int | None
    ignored: str | None = None


_Waiting = tuple[Hint, asyncio.Future[Taken]]
#: A connection with its webhook secret as it is sealed.
Known = tuple[Connection, str | None] | None


class Inbox:
    """What one process has taken and not yet written. Nobody was answered for what is in it."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[_Waiting]] = {}
        self._writers: dict[int, asyncio.Task[None]] = {}
        self._asking: dict[str, asyncio.Task[Known]] = {}

    async def known(self, context: "Context", token: str) -> Known:
        """The connection of an address. Who asks while it is being looked up gets the same answer."""
        asking = self._asking.get(token)
        if asking is None:
            asking = self._asking[token] = asyncio.create_task(_known(context, token))
            asking.add_done_callback(lambda _: self._asking.pop(token))
        return await asyncio.shield(asking)

    async def take(self, context: "Context", connection_id: int, hint: Hint) -> Taken:
        """Returns once the sync is in the database. Raises what the database raises."""
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(connection_id, []).append((hint, future))
        if connection_id not in self._writers:
            # The next turn of the loop: what came in the same moment is in it.
            self._writers[connection_id] = asyncio.create_task(self._write(context, connection_id))
        return await future

    async def _write(self, context: "Context", connection_id: int) -> None:
        try:
            while batch := self._waiting.pop(connection_id, None):
                await _settle(context, connection_id, batch)
        finally:
            del self._writers[connection_id]


async def _known(context: "Context", token: str) -> Known:
    async with context.database.read() as connection:
        return await connections.by_token(connection, token)


async def _settle(context: "Context", connection_id: int, batch: Sequence[_Waiting]) -> None:
    """Write a batch, and tell each who waits what became of it."""
    try:
        answers = await _written(context, connection_id, [hint for hint, _ in batch])
    except BaseException as e:
        for _, future in batch:
            if not future.done():
                future.set_exception(e if isinstance(e, Exception) else asyncio.CancelledError())
        if not isinstance(e, Exception):
            raise
        return
    for (_, future), answer in zip(batch, answers, strict=True):
        if not future.done():
            future.set_result(answer)


async def _written(context: "Context", connection_id: int, hints: Sequence[Hint]) -> list[Taken]:
    async with context.database.write() as connection:
        if await locked(connection, connection_id) is None:
            return [Taken(None, "The connection is gone.")] * len(hints)
        now = await clock(connection)
        uids = {hint.delivery for hint in hints if hint.delivery is not None}
        new = await deliveries.note(connection, connection_id, uids, now)
        fresh = [hint for hint in hints if hint.delivery is None or hint.delivery in new]
        heard = (
            update(table)
            .where(table.c.id == connection_id)
            .values(last_webhook_at=now, webhook_missed_at=None)
        )
        await connection.execute(heard)
        taken, opened = await _opened(connection, connection_id, fresh, now)
        passed(Step.WEBHOOK_WRITTEN)
    passed(Step.WEBHOOK_COMMITTED)
    if opened is not None and opened.ring is not None:
        await context.bell.ring([opened.ring])
    passed(Step.WEBHOOK_RUNG)
    again = Taken(taken.sync_id, "This delivery was taken before.")
    return [taken if hint.delivery is None or hint.delivery in new else again for hint in hints]


async def _opened(
    connection: AsyncConnection, connection_id: int, hints: Sequence[Hint], now: datetime
) -> tuple[Taken, Opened | None]:
    keys = _united(hints)
    if not keys:
        return Taken(None), None
    try:
        opened = await open_sync(connection, connection_id, Request("webhook", "records", keys), now)
    except (ClosedError, RememberedError) as e:
        return Taken(None, str(e)), None
    return Taken(opened.sync.id), opened


def _united(hints: Sequence[Hint]) -> Mapping[str, Sequence[str]]:
    keys: dict[str, dict[str, None]] = {}
    for hint in hints:
        for stream, mine in hint.keys.items():
            keys.setdefault(stream, {}).update(dict.fromkeys(mine))
    return {stream: list(mine) for stream, mine in keys.items()}
