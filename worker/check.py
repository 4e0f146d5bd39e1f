"""The daily check of a paused connection: whether what stopped it is over."""

from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from adapters.base import AdapterError, BadTarget, Later
from adapters.http import Meter
from store import connections
from store.database import clock
from worker.outcome import problem_of

if TYPE_CHECKING:
    from worker.sync import Deps

log = structlog.get_logger()


async def run_check(deps: "Deps", connection_id: int, now: datetime) -> None:
    """Check a connection that is paused. A good check makes it due, with the trigger `catch_up`."""
    async with deps.database.read() as connection:
        found = await connections.get(connection, connection_id)
        if found is None or not found.paused:
            return
    try:
        async with deps.database.read() as connection:
            adapter = await deps.remotes.open(connection, found, lambda: now, Meter())
        await adapter.check()
    except (Later, BadTarget) as e:
        log.info("check.not_now", connection=connection_id, reason=str(e))
        return
    except AdapterError as e:
        facts: dict[str, object] = {"failure": problem_of(e), "last_error_at": now}
    else:
        facts = {"failure": None, "next_check_at": None, "catch_up": True, "next_due_at": now}
    async with deps.database.write() as connection:
        row = await connections.locked(connection, connection_id)
        # Whoever edited the connection meanwhile knows better.
        if row is not None and row["updated_at"] == found.updated_at and row["failure"] is not None:
            await connections.change(connection, connection_id, await clock(connection), facts)
