"""The heartbeat of a worker: keeps the leases of all its syncs with one statement."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import claims
from store.database import Database, clock
from worker.budget import Clock

log = structlog.get_logger()

BEAT_SECONDS = 3.0


async def keep_leases(database: Database, owner: str, time: Clock) -> None:
    """Renew, every three seconds, what this process holds, and set the process's clock. Runs until cancelled.

    A beat that fails is tried again with the next: a lease stands three of them. One that ran out is lost,
    and the commit of its sync will be refused.
    """
    while True:
        try:
            async with asyncio.timeout(BEAT_SECONDS), database.beside() as connection:
                await claims.renew(connection, owner)
                time.set(await clock(connection))
        except (SQLAlchemyError, OSError) as e:
            log.warning("lease.beat_failed", error=str(e) or type(e).__name__)
        await asyncio.sleep(BEAT_SECONDS)
