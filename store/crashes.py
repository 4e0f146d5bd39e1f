"""Who is to blame for a sync that did not get on: a connection only for what it does to its workers.

A worker that died with a sync in its hands counts against the connection, and so does a defect that it met.
A database, a Redis or a line that failed does not: whoever holds the sync then lives, and says so.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import now
from store.health import CHECK_EVERY, CRASHES_ALLOWED, Problem, settle
from store.schema import connections, processes, syncs
from store.syncs import end, tell

_AGAIN = (
    "A sync asked for by hand tries again, and so does a change of URL or credential; once a day the "
    "connection is tested by itself, and goes on if that succeeds."
)


def killed(owner: str) -> Problem:
    """`owner` is the last worker that died of it, as `host:pid:...`."""
    host, _, rest = owner.partition(":")
    return Problem(
        "crashing",
        f"Reading this connection killed its worker {CRASHES_ALLOWED} times in a row, the last time process "
        f"{rest.partition(':')[0]} on {host}. No other connection is affected.",
        "See why the system ended that process, in its own log (out of memory, for the most part). " + _AGAIN,
    )


def defect(error: str, reference: str) -> Problem:
    """`error` is the kind of exception; its text may hold what the remote sent, and stays in the log."""
    return Problem(
        "crashing",
        f"Reading this connection failed {CRASHES_ALLOWED} times in a row by a defect of Tidegate or its "
        f"adapter ({error}). No other connection is affected.",
        f"The worker's log has the whole error under the reference {reference}: please report it. " + _AGAIN,
    )


async def counted(
    connection: AsyncConnection, before: RowMapping, already: int, owner: str, *, shaken: bool
) -> int:
    """The crashes in a row, with the one that a claim of the sync `before` finds, if it finds any.

    The claimer, `owner`, is `shaken` if the database failed it lately: then it failed others, too, and a
    lease that ran out says nothing about the one who held it.
    """
    holder = before["lease_owner"]
    if holder is None:
        return already
    if before["claim_pages"]:
        return 0
    if shaken or holder == owner or await _lives(connection, holder, before["lease_until"]):
        return already
    return already + 1


async def _lives(connection: AsyncConnection, owner: str, since: datetime) -> bool:
    c = processes.c
    seen = select(c.id).where(c.id == owner, c.seen_at > since).limit(1)
    return (await connection.execute(seen)).first() is not None


async def has_a_suspect(connection: AsyncConnection, owner: str) -> bool:
    """Whether a process reads the first page of a sync whose next crash would suspend its connection.

    Such syncs are read one at a time in each process: dying of one, it would take the others with it.
    """
    # Held until the claim is committed, so that two claims of one process do not overlook each other.
    await connection.execute(select(processes.c.id).where(processes.c.id == owner).with_for_update())
    held = (
        select(syncs.c.id)
        .join(connections, connections.c.id == syncs.c.connection_id)
        .where(
            syncs.c.lease_owner == owner,
            syncs.c.lease_until > now(),
            syncs.c.claim_pages == 0,
            connections.c.crashes >= CRASHES_ALLOWED - 1,
        )
    )
    return (await connection.execute(held.limit(1))).first() is not None


async def suspend(
    connection: AsyncConnection, sync_id: int, connection_id: int, why: Problem, at: datetime
) -> None:
    """End the sync and let its connection rest. The connection's row is locked by the caller."""
    await end(connection, sync_id, "failed", at, {"error": why})
    facts = {"failure": why, "last_error_at": at, "next_check_at": at + CHECK_EVERY}
    await set_crashes(connection, connection_id, 0, {**facts, "ingesting": False})
    await settle(connection, connection_id, at)
    await tell(connection, sync_id, at)


async def set_crashes(
    connection: AsyncConnection, connection_id: int, count: int, more: Mapping[str, object] = {}
) -> None:
    made = update(connections).where(connections.c.id == connection_id)
    await connection.execute(made.values(crashes=count, **more))
