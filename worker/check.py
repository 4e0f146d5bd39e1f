"""The daily check of a paused connection: whether what stopped it is over."""

from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from adapters.base import AdapterError, BadTarget, Check, Forbidden, Later
from adapters.http import Meter
from store import connections
from store.database import clock
from store.health import Problem
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
        check = await adapter.check()
    except (Later, BadTarget) as e:
        log.info("check.not_now", connection=connection_id, reason=str(e))
        return
    except AdapterError as e:
        facts: dict[str, object] = {"failure": problem_of(e), "last_error_at": now}
    else:
        facts = _facts(check, now)
    async with deps.database.write() as connection:
        row = await connections.locked(connection, connection_id)
        # Whoever edited the connection meanwhile knows better.
        if row is not None and row["updated_at"] == found.updated_at and row["failure"] is not None:
            await connections.change(connection, connection_id, await clock(connection), facts)


def _facts(check: Check, now: datetime) -> dict[str, object]:
    """Where not one stream can be read, a sync would only fail again."""
    refused = [stream for stream in check.streams.values() if not stream.readable]
    if refused and len(refused) == len(check.streams):
        why = Problem(refused[0].kind or Forbidden.kind, refused[0].problem or Forbidden.default_hint)
        return {"failure": why, "last_error_at": now}
    return {"failure": None, "next_check_at": None, "catch_up": True, "next_due_at": now}
