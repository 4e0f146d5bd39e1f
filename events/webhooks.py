"""The one sender of webhooks: gives every subscription its turn, and lets a slow one wait for nobody else.

Any number may run; a lease row lets one at a time work, and each outcome is written under its fence. What
is sent and not yet written when a process dies is sent again by the next, under the same id.
"""

import asyncio
from datetime import datetime
from random import Random
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from events.attempt import Courier
from events.turn import REFUSED_MOST, Turn
from store import outbox, subscriptions
from store.database import Database
from store.outbox import WEBHOOKS
from store.subscriptions import Due

log = structlog.get_logger()

LEASE_SECONDS = 10.0
KEEP_SECONDS = 3.0
IDLE_SECONDS = 0.2
SOON_SECONDS = 0.05
#: How often to look once nothing was sent for `QUIET_AFTER`, if nothing is rung meanwhile.
QUIET_SECONDS = 1.0
QUIET_AFTER = 5.0
STANDBY_SECONDS = 1.0
GATHER_SECONDS = 0.02
#: So many subscriptions are sent to beside each other.
PARALLEL = 32
#: How long requests that are under way may take to end when it is time to stop.
STOP_SECONDS = 5.0


class Bell(Protocol):
    """Tells that something begins somewhere, which will soon have events."""

    def rung(self) -> int: ...

    async def wait(self, since: int, seconds: float) -> None: ...


class Sender:
    """Sends until cancelled or stopped. The database may be away meanwhile: nothing is lost."""

    def __init__(
        self,
        database: Database,
        courier: Courier,
        random: Random,
        owner: str,
        bell: Bell | None = None,
        parallel: int = PARALLEL,
        refused_most: int = REFUSED_MOST,
    ) -> None:
        """The courier's clock says what is due; `random` spreads what is sent again."""
        self._refused_most = refused_most
        self._database = database
        self._courier = courier
        self._random = random
        self._owner = owner
        self._bell = bell
        self._parallel = parallel
        self._fence: int | None = None
        self._kept_at = 0.0
        self._busy_at = 0.0
        self._heard = 0
        self._stop = asyncio.Event()
        self._running: dict[int, asyncio.Task[None]] = {}
        #: By subscription: up to which position nothing is for it, and in which order they had their turns.
        self._looked: dict[int, int] = {}
        self._turns: dict[int, int] = {}
        self._count = 0
        self._next_at: dict[int, datetime] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then the lease is given back, so that another goes on at once."""
        self._stop = stop
        try:
            while not stop.is_set():
                wait = STANDBY_SECONDS
                self._collect()
                try:
                    if await self.keep():
                        await self._start()
                        wait = self._wait()
                except (SQLAlchemyError, OSError) as e:
                    log.warning("webhooks.failed", error=str(e))
                await self._rest(stop, wait)
                # Whatever is rung for just after is looked for with it.
                await asyncio.sleep(GATHER_SECONDS)
        finally:
            await self._end(STOP_SECONDS if stop.is_set() else 0.0)
        if self._fence is not None:
            async with self._database.write() as connection:
                await outbox.drop_duty(connection, WEBHOOKS, self._owner)

    async def keep(self) -> bool:
        """Whether the sending is ours for the next seconds."""
        now = asyncio.get_running_loop().time()
        if self._fence is not None and now - self._kept_at < KEEP_SECONDS:
            return True
        async with self._database.beside() as connection:
            fence = await outbox.take_duty(connection, WEBHOOKS, self._owner, LEASE_SECONDS)
        if fence != self._fence:
            # What others wrote meanwhile is not what was seen here.
            await self._end(0.0)
            self._looked.clear()
            self._next_at.clear()
        self._fence, self._kept_at = fence, now
        return fence is not None

    async def once(self) -> int:
        """Give every subscription that has something to send its turns, and wait for them. How many."""
        count = 0
        while await self.keep() and await self._start():
            count += len(self._running)
            await asyncio.wait(self._running.values())
            self._collect()
        return count

    async def _start(self) -> bool:
        """Begin turns as far as there is room, those first that waited longest. Whether any runs."""
        self._collect()
        async with self._database.read() as connection:
            found = await subscriptions.due(connection, self._courier.clock())
        todo = [one for one in found if one.id not in self._running and self._any_news(one)]
        todo.sort(key=lambda one: self._turns.get(one.id, 0))
        for one in todo[: self._parallel - len(self._running)]:
            self._count += 1
            self._turns[one.id] = self._count
            self._running[one.id] = asyncio.create_task(self._turn(one.id))
        return bool(self._running)

    def _any_news(self, one: Due) -> bool:
        return one.repeats or self._looked.get(one.id, 0) < one.newest

    async def _turn(self, subscription_id: int) -> None:
        assert self._fence is not None
        turn = Turn(
            self._database,
            self._courier,
            self._random,
            self._fence,
            subscription_id,
            self._stop.is_set,
            self._refused_most,
        )
        try:
            await turn.take(self._looked.get(subscription_id, 0))
        except (SQLAlchemyError, OSError) as e:
            log.warning("webhooks.turn_failed", subscription_id=subscription_id, error=str(e))
            await asyncio.sleep(STANDBY_SECONDS)
        if turn.lost:
            # Another sends by now, perhaps: ask before anything else is sent.
            self._kept_at = -KEEP_SECONDS
        self._looked[subscription_id] = turn.looked
        self._next_at.pop(subscription_id, None)
        if turn.next_at is not None:
            self._next_at[subscription_id] = turn.next_at

    def _collect(self) -> None:
        """Forget the turns that are over; a defect in one ends us all rather than going unnoticed."""
        for subscription_id, task in list(self._running.items()):
            if task.done():
                del self._running[subscription_id]
                if not task.cancelled():
                    task.result()
                self._busy_at = asyncio.get_running_loop().time()

    def _wait(self) -> float:
        """Seconds until the next look."""
        now = asyncio.get_running_loop().time()
        rung = self._bell.rung() if self._bell is not None else 0
        if rung != self._heard:
            self._busy_at, self._heard = now, rung
        wait = IDLE_SECONDS if now - self._busy_at < QUIET_AFTER else QUIET_SECONDS
        if self._next_at:
            first = min(self._next_at.values()) - self._courier.clock()
            wait = min(wait, max(SOON_SECONDS, first.total_seconds()))
        return wait

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait for some seconds; shorter where it ends, where something was rung, or a turn is over."""
        waiting: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait())]
        if self._bell is not None:
            waiting.append(asyncio.create_task(self._bell.wait(self._heard, seconds)))
        everything = [*waiting, *self._running.values()]
        await asyncio.wait(everything, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _end(self, seconds: float) -> None:
        """Let the turns end; after some seconds they have to."""
        running = list(self._running.values())
        if running and seconds:
            await asyncio.wait(running, timeout=seconds)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._running.clear()
