"""The scheduler's clock: APScheduler wakes the ticks; what is due, and to whom, is in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from scheduler.due import anything_due, open_due, open_looks
from scheduler.upkeep import Kept, checks_due, forget, reap, settle_stale, webhooks_due
from store.database import Database
from store.purge import purge_some
from store.streams import StreamTables
from store.syncs import Ring
from store.tally import advance

log = structlog.get_logger()

TICK_SECONDS = 1.0
REAP_SECONDS = 2.0
UPKEEP_SECONDS = 60.0
WEBHOOKS_SECONDS = 600.0
FORGET_SECONDS = 3600.0
TALLY_SECONDS = 5.0
PURGE_SECONDS = 5.0
#: Batches of what is due that are opened in one tick, before anything else has its turn.
BATCHES = 20
#: Transactions in one tick of purging or counting; others write in between.
PURGES = 20


class Bell(Protocol):
    """Wakes workers. A ring that is lost is rung again by the reaper."""

    async def ring(self, rings: Sequence[Ring]) -> None: ...

    async def ring_check(self, connection_id: int) -> None: ...

    async def ring_webhook(self, connection_id: int) -> None: ...


class Scheduler:
    """Runs the ticks of one process until it is stopped. Any number of them may run side by side."""

    def __init__(
        self, database: Database, tables: StreamTables, bell: Bell, kept: Kept | None = None
    ) -> None:
        """`kept` is how long things are."""
        self._database = database
        self._tables = tables
        self._bell = bell
        self._kept = kept
        self._clock = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        self._every(TICK_SECONDS, "tick", self.tick)
        self._every(REAP_SECONDS, "reap", self.reap)
        self._every(UPKEEP_SECONDS, "upkeep", self.upkeep)
        self._every(WEBHOOKS_SECONDS, "webhooks", self.webhooks)
        self._every(FORGET_SECONDS, "forget", self.forget)
        self._every(PURGE_SECONDS, "purge", self.purge)
        self._every(TALLY_SECONDS, "tally", self.tally)
        self._clock.start()
        self._watch = asyncio.create_task(self._watch_the_clock())

    def stop(self) -> None:
        self._stopping = True
        self._clock.shutdown(wait=False)
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_the_clock(self) -> None:
        """Tick on when this machine's clock is set back: the ticks would wait until it has caught up."""
        loop = asyncio.get_running_loop()
        while True:
            ahead = time.time() - loop.time()
            await asyncio.sleep(TICK_SECONDS)
            back = ahead - (time.time() - loop.time())
            if back > TICK_SECONDS:
                log.warning("scheduler.clock_set_back", seconds=round(back))
                for job in self._clock.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))

    async def tick(self) -> None:
        """Open what is due and ring for it, some at a time: the first need not wait for the last."""
        if not await anything_due(self._database):
            return
        for _ in range(BATCHES):
            if not (rings := await open_due(self._database)):
                break
            await self._bell.ring(rings)
        await self._bell.ring(await open_looks(self._database))

    async def reap(self) -> None:
        """Ring again for what nobody works on though it is due."""
        await self._bell.ring(await reap(self._database))

    async def upkeep(self) -> None:
        await settle_stale(self._database)
        for connection_id in await checks_due(self._database):
            await self._bell.ring_check(connection_id)

    async def webhooks(self) -> None:
        """Have the webhooks at remotes seen after: renewed, made anew, or removed."""
        for connection_id in await webhooks_due(self._database):
            await self._bell.ring_webhook(connection_id)

    async def forget(self) -> None:
        await forget(self._database, self._tables, self._kept)

    async def tally(self) -> None:
        """Count what ended, for as long as a tick may take; the next goes on."""
        for _ in range(PURGES):
            if not await advance(self._database):
                return

    async def purge(self) -> None:
        """Remove records of deleted connections, for as long as a tick may take."""
        for _ in range(PURGES):
            async with self._database.write() as connection:
                if not await purge_some(connection, self._tables):
                    return

    def _every(self, seconds: float, name: str, tick: Callable[[], Awaitable[None]]) -> None:
        async def guarded() -> None:
            # A database or Redis that is away must not stop the clock: the next tick tries again.
            try:
                await tick()
            except asyncio.CancelledError:
                # APScheduler would log what its own end breaks off as an error.
                if not self._stopping:
                    raise
            except (SQLAlchemyError, RedisError, OSError) as e:
                log.warning("scheduler.tick_failed", tick=name, error=str(e))

        self._clock.add_job(guarded, IntervalTrigger(seconds=seconds, timezone=UTC), id=name)
