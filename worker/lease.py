"""The heartbeat of a worker: keeps the leases of all its syncs with one statement."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import claims
from store.database import Database, clock
from worker.budget import Clock
from worker.holding import Holding

log = structlog.get_logger()

BEAT_SECONDS = 3.0


async def keep_leases(database: Database, owner: str, time: Clock, holding: Holding) -> None:
    """Renew, every three seconds, what this process is at work on, and set its clock. Runs until cancelled.

    What a failure of the database tore out of its hands is given back, so that it goes on at once and counts
    against nobody. A beat that fails is tried again with the next: a lease stands three of them. One that ran
    out is lost, and the commit of its sync will be refused.
    """
    while True:
        try:
            async with asyncio.timeout(BEAT_SECONDS), database.beside() as connection:
                if working := holding.sync_ids:
                    await claims.renew(connection, owner, working)
                torn = holding.torn
                for sync in torn:
                    await claims.let_go(connection, sync, owner)
                time.set(await clock(connection))
            holding.given_back(torn)
        except (SQLAlchemyError, OSError) as e:
            holding.shake()
            log.warning("lease.beat_failed", error=str(e) or type(e).__name__)
        await asyncio.sleep(BEAT_SECONDS)
