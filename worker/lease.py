"""The heartbeat of a worker: keeps the leases of all its syncs with one statement."""

import asyncio
from collections.abc import Callable, Collection

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import claims
from store.database import Database, clock
from worker.budget import Clock

log = structlog.get_logger()

BEAT_SECONDS = 3.0


async def keep_leases(
    database: Database, owner: str, time: Clock, at_work: Callable[[], Collection[int]]
) -> None:
    """Renew, every three seconds, what this process is at work on, and set its clock. Runs until cancelled.

    What it holds and does not work on any more, because a slice failed, is left to run out.
    A beat that fails is tried again with the next: a lease stands three of them. One that ran out is lost,
    and the commit of its sync will be refused.
    """
    while True:
        try:
            async with asyncio.timeout(BEAT_SECONDS), database.beside() as connection:
                if working := at_work():
                    await claims.renew(connection, owner, working)
                time.set(await clock(connection))
        except (SQLAlchemyError, OSError) as e:
            log.warning("lease.beat_failed", error=str(e) or type(e).__name__)
        await asyncio.sleep(BEAT_SECONDS)
