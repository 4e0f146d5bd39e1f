"""The one relay: gives each event its position and publishes it to the Redis stream, in order.

Any number may run; a lease row lets one at a time work. The stream's ids are the positions, so that Redis
itself refuses what was sent before, and a stream that lost its tail is filled again from the outbox.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import SQLAlchemyError

from config.failpoints import Step, passed
from events.envelope import STREAM, dressed
from store import outbox
from store.database import Database, clock
from store.outbox import RELAY, Event

log = structlog.get_logger()

LEASE_SECONDS = 10.0
IDLE_SECONDS = 0.2
#: How often to look once nothing has happened for `QUIET_AFTER`, if nothing is rung meanwhile: whatever
#: begins or ends is rung for, so that hardly an event is ever late.
QUIET_SECONDS = 1.0
QUIET_AFTER = 5.0
STANDBY_SECONDS = 1.0
#: After some events were sent, more are let gather for so long: a look costs as much for one as for many.
GATHER_SECONDS = 0.02
#: Keeping the lease costs a write; it is done no more often than this.
KEEP_SECONDS = 3.0
#: The Redis stream holds about so many; more are in the database.
STREAM_LENGTH = 100_000
#: Says that the stream lost nothing since it was begun: it is gone with the stream when Redis is emptied.
WHOLE = "tidegate:events:whole"
REFILL = timedelta(hours=24)
BATCH = 500


class Bell(Protocol):
    """Tells that something begins somewhere, which will soon have events."""

    def rung(self) -> int: ...

    async def wait(self, since: int, seconds: float) -> None: ...


class Relay:
    """Publishes until cancelled or stopped. Redis or the database may be away meanwhile: nothing is lost."""

    def __init__(self, database: Database, redis: Redis, owner: str, bell: Bell | None = None) -> None:
        self._database = database
        self._redis = redis
        self._owner = owner
        self._fence: int | None = None
        self._kept_at = 0.0
        self._sent: int | None = None
        self._busy_at = 0.0
        self._behind = False
        self._bell = bell
        self._heard = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then the lease is given back, so that another goes on at once."""
        while not stop.is_set():
            wait = STANDBY_SECONDS
            # Asked before looking: what is rung for meanwhile is looked for at once.
            rung = self._bell.rung() if self._bell is not None else 0
            try:
                if await self._keep():
                    sent = await self.publish()
                    wait = self._wait(sent, rung)
                    if sent and wait:
                        await asyncio.sleep(GATHER_SECONDS)
            except (SQLAlchemyError, RedisError, OSError) as e:
                log.warning("relay.failed", error=str(e))
                self._sent = None
            if wait:
                await self._rest(stop, wait)
        if self._fence is not None:
            async with self._database.write() as connection:
                await outbox.drop_duty(connection, RELAY, self._owner)

    async def _keep(self) -> bool:
        """Whether the relay's work is ours for the next seconds."""
        now = asyncio.get_running_loop().time()
        if self._fence is not None and now - self._kept_at < KEEP_SECONDS:
            return True
        async with self._database.beside() as connection:
            fence = await outbox.take_duty(connection, RELAY, self._owner, LEASE_SECONDS)
        # Look again now and then where the stream ends: Redis may have been emptied.
        self._fence, self._kept_at, self._sent = fence, now, None
        return fence is not None

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait for some seconds; shorter where it ends or where something was rung."""
        waiting: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait())]
        if self._bell is not None:
            waiting.append(asyncio.create_task(self._bell.wait(self._heard, seconds)))
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def _wait(self, sent: int, rung: int) -> float:
        """Seconds until the next look, if nothing is rung meanwhile."""
        now = asyncio.get_running_loop().time()
        if sent or rung != self._heard:
            self._busy_at, self._heard = now, rung
        if self._behind:
            return 0.0
        return IDLE_SECONDS if now - self._busy_at < QUIET_AFTER else QUIET_SECONDS

    async def publish(self) -> int:
        """Number and send what is new. How many events were sent."""
        assert self._fence is not None
        new = await self._any_new()
        if not new and not self._behind and self._sent is not None:
            return 0
        self._behind = True
        if new or self._sent is None:
            # Before anything is numbered: what the stream lost comes first, and what it has is not reused.
            self._sent = await self._stream_end()
        if new:
            async with self._database.write() as connection:
                await outbox.give_positions(connection, self._fence, BATCH)
                passed(Step.POSITIONS_WRITTEN)
            passed(Step.POSITIONS_COMMITTED)
        async with self._database.read() as connection:
            events = await outbox.after(connection, self._sent, BATCH)
        await self._send(events)
        self._behind = len(events) == BATCH
        return len(events)

    async def _any_new(self) -> bool:
        async with self._database.read() as connection:
            return await outbox.has_unsent(connection)

    async def _send(self, events: Sequence[Event]) -> None:
        for event in events:
            assert event.position is not None
            try:
                await self._redis.xadd(
                    STREAM,
                    {"event": dressed(event)},
                    id=f"{event.position}-0",
                    maxlen=STREAM_LENGTH,
                    approximate=True,
                )
            except ResponseError as e:
                # Redis has this position or a later one: it was sent before.
                if "equal or smaller" not in str(e):
                    raise
            passed(Step.EVENT_SENT)
            self._sent = event.position

    async def _stream_end(self) -> int:
        """The position to go on after: the stream's last, or that of a day ago in one that fell behind."""
        last = await self._redis.xrevrange(STREAM, count=1)
        whole = bool(await self._redis.exists(WHOLE))
        end = int(last[0][0].split(b"-")[0]) if last else 0
        if whole and end == self._sent:
            return end
        async with self._database.read() as connection:
            given = await outbox.last_position(connection)
        if not whole:
            if 0 < end <= given:
                # Redis was emptied while an event was on its way: all that was before it is missing.
                await self._redis.delete(STREAM)
                end = 0
            await self._redis.set(WHOLE, self._owner)
        if end < given:
            return max(end, await self._a_day_ago())
        if end > given:
            await self._catch_up(end)
        return end

    async def _a_day_ago(self) -> int:
        async with self._database.read() as connection:
            return await outbox.position_before(connection, await clock(connection) - REFILL)

    async def _catch_up(self, end: int) -> None:
        """The stream is of an older database: positions go on after it, or Redis would refuse them all."""
        log.warning("relay.stream_ahead", position=end)
        async with self._database.write() as connection:
            await outbox.skip_to(connection, end)
