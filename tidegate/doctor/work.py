"""What runs, what waits, and which connections need a person."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from store import claims, connections, outbox, processes, syncs
from store.connections import Connection
from store.database import Database, clock
from store.schema import connections as table
from store.staleness import staleness
from tidegate.commands.show import span
from tidegate.doctor.finding import Finding, fail, ok, warn
from tidegate.presence import ROLES

#: Syncs that wait so many seconds for a worker: too few workers, or none that works.
LATE, TOO_LATE = 60.0, 600.0
#: Events that wait so long to be published.
BEHIND = 30.0
MOST = 1000
SHOWN = 20
#: Intervals since the last success, and how many such connections are named.
FAR_BEHIND = 3
WORST = 5


async def look(database: Database) -> Sequence[Finding]:
    """Processes, queue, events and connections, as the database knows them."""
    async with database.read() as connection:
        now = await clock(connection)
        running = await _processes(connection)
        return [
            running,
            await _queue(connection, now),
            await _events(connection, now),
            *await _connections(connection),
            *await _behind(connection),
        ]


async def _processes(connection: AsyncConnection) -> Finding:
    seen = Counter(process.role for process in await processes.seen(connection))
    said = ", ".join(f"{count} {role}" for role, count in sorted(seen.items()))
    missing = [role for role in ROLES if not seen[role]]
    if not seen:
        return warn("processes", "None was seen in the last 15 seconds.", "Start them: `tidegate up`.")
    if missing:
        advice = f"Start what is missing: {', '.join(f'`tidegate {role}`' for role in missing)}."
        return fail("processes", f"There are {said}; there is no {' and no '.join(missing)}.", advice)
    return ok("processes", f"There are {said}.")


async def _queue(connection: AsyncConnection, now: datetime) -> Finding:
    waiting = await claims.claimable(connection, MOST)
    first = await syncs.get(connection, waiting[0].sync_id) if waiting else None
    if first is None:
        return ok("queue", "No sync waits for a worker.")
    late = (now - first.run_at).total_seconds()
    many = f"{MOST} or more" if len(waiting) == MOST else str(len(waiting))
    said = f"{many} wait for a worker, the first (sync {first.id}) for {span(late)}."
    advice = "Start more workers, or look into the log of those that run."
    if late > TOO_LATE:
        return fail("queue", said, advice)
    return warn("queue", said, advice) if late > LATE else ok("queue", said)


async def _events(connection: AsyncConnection, now: datetime) -> Finding:
    oldest = await outbox.oldest_unsent(connection)
    late = (now - oldest).total_seconds() if oldest is not None else 0.0
    if late > BEHIND:
        said = f"The oldest unpublished event has waited for {span(late)}."
        return warn("events", said, "The relay runs in `tidegate up` and `tidegate scheduler`: look there.")
    return ok("events", "All are published.")


async def _behind(connection: AsyncConnection) -> Sequence[Finding]:
    """Connections that missed intervals of theirs, whatever the reason is."""
    found = await staleness(connection, WORST, (FAR_BEHIND,))
    late = [one for one in found.worst if one.ratio > FAR_BEHIND]
    if not late:
        return [ok("staleness", "No connection is more than 3 of its intervals behind.")]
    named = ", ".join(f"{one.name} ({one.id}: {one.ratio:.0f} intervals)" for one in late)
    said = f"{found.above[FAR_BEHIND]} connections are more than 3 intervals behind, the furthest: {named}."
    return [
        warn("staleness", said, "`tidegate connections show ID` says why; processes and queue are above.")
    ]


async def _connections(connection: AsyncConnection) -> Sequence[Finding]:
    c = table.c
    ill = c.health.in_(("failed", "partial", "stale"))
    found = await connections.listed(connection, 0, MOST, c.enabled, ill)
    if not found:
        return [ok("connections", "None needs a person.")]
    told = [_needs(one) for one in found[:SHOWN]]
    if len(found) > SHOWN:
        advice = "`tidegate connections list` shows them all."
        told.append(warn("connections", f"{len(found) - SHOWN} more need a person.", advice))
    return told


def _needs(one: Connection) -> Finding:
    what = f"connection {one.id}"
    why = one.failure or one.partial
    if one.health == "stale":
        return warn(what, f"{one.name} was due long ago and has not run.", "See processes and queue above.")
    said = f"{one.name} is {one.health} ({one.cause})"
    message = f"{said}: {why.message}" if why is not None else f"{said}."
    advice = (why.hint if why is not None else "") or f"`tidegate test {one.id}` says more."
    return fail(what, message, advice) if one.health == "failed" else warn(what, message, advice)
