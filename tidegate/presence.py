"""A process says that it is there, in which roles, for as long as it works."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import processes
from store.database import Database, clock
from worker.budget import Clock

log = structlog.get_logger()

#: What an installation needs for its connections to be kept in step.
ROLES = ("api", "scheduler", "worker")


@asynccontextmanager
async def present(database: Database, owner: str, roles: Sequence[str], time: Clock) -> AsyncIterator[None]:
    """Be seen in these roles, from the first line of the context to its end. Keeps `time` right, too."""
    await _beat(database, owner, roles, time)
    beating = asyncio.create_task(_keep_beating(database, owner, roles, time))
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        try:
            async with database.beside() as connection:
                await processes.leave(connection, owner)
        except (SQLAlchemyError, OSError) as e:
            log.warning("presence.not_ended", error=str(e))


async def _keep_beating(database: Database, owner: str, roles: Sequence[str], time: Clock) -> None:
    while True:
        await asyncio.sleep(processes.BEAT_SECONDS)
        try:
            await _beat(database, owner, roles, time)
        except (SQLAlchemyError, OSError) as e:
            log.warning("presence.beat_failed", error=str(e))


async def _beat(database: Database, owner: str, roles: Sequence[str], time: Clock) -> None:
    async with database.beside() as connection:
        await processes.beat(connection, owner, roles, socket.gethostname(), os.getpid())
        time.set(await clock(connection))


def readiness(database: Database, needed: Sequence[str]) -> Callable[[], Awaitable[Mapping[str, bool]]]:
    """Asks the database which of the roles are running."""

    async def ready() -> Mapping[str, bool]:
        async with database.read() as connection:
            missing = await processes.missing(connection, needed)
        return {role: role not in missing for role in needed}

    return ready
