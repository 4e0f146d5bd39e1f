"""Waiting for a database of a shape that this version can work on, and saying so meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from config.settings import Settings
from store.database import Database
from store.migrate import misfit, shape

log = structlog.get_logger()

#: How often it is looked whether the database fits by now.
LOOK_SECONDS = 2.0


async def until_it_fits(
    settings: Settings, stop: asyncio.Event, told: Callable[[str], Awaitable[None]] | None = None
) -> None:
    """Return once the database fits, can be made to by a migration, or cannot be reached; or at `stop`.

    Nothing is written meanwhile. What is waited for is logged once, and `told`.
    """
    database = Database(settings.async_database_url.reveal(), settings.database_schema, pool=1)
    said = None
    try:
        while not stop.is_set():
            try:
                wrong = misfit(await shape(database), may_migrate=settings.migrate)
            except (SQLAlchemyError, OSError):
                # At the start it is told by whoever opens it; one that goes away later is waited for, too.
                wrong = said
            if wrong is None:
                break
            if wrong != said:
                said = wrong
                if told is not None:
                    await told(wrong)
                log.warning("schema.waiting", reason=wrong)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
    finally:
        await database.close()
    if said is not None and not stop.is_set():
        log.info("schema.fits")
