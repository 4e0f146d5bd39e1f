"""A connection's condition: one pure function of facts, and how its change is told."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import outbox
from store.database import to_text
from store.schema import connections

CONNECTION_STATUS = "connection_status"
#: Every health there is, in the order in which one outdoes the next.
HEALTHS = tuple("disabled failed rate_limited processing partial stale pending healthy".split())
#: So many slices in a row without an answer make a remote `unreachable`.
UNREACHABLE_AFTER = 5
#: Shorter waits than this do not make a connection `rate_limited`.
LIMITED_FROM = timedelta(seconds=30)
#: So many claims in a row that died without a page suspend a connection.
CRASHES_ALLOWED = 3
#: A paused connection is checked so often, and goes on by itself when that succeeds.
CHECK_EVERY = timedelta(days=1)
#: Causes that pause everything but a person's own triggers.
PAUSING = frozenset({"auth", "forbidden", "not_found", "crashing"})


class Problem(msgspec.Struct, frozen=True):
    """An error as users see it: `kind` is the cause, `message` what happened, `hint` what to do."""

    kind: str
    message: str
    hint: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What health depends on. The names are those of the columns."""

    enabled: bool
    draft: bool
    failure: Problem | None
    partial: Problem | None
    unavailable: int
    limited_until: datetime | None
    ingesting: bool
    stale_at: datetime | None
    last_success_at: datetime | None


class ConnectionStatus(msgspec.Struct, frozen=True):
    """The data of a `connection_status` event."""

    health: str
    cause: str | None
    health_before: str
    cause_before: str | None
    since: str
    next_due_at: str | None
    last_success_at: str | None
    message: str | None = None
    hint: str | None = None


def health_of(facts: Facts, now: datetime) -> tuple[str, str | None]:
    """Health and cause. Where several hold, the first of this order does."""
    if not facts.enabled:
        return "disabled", None
    if facts.failure is not None:
        return "failed", facts.failure.kind
    if facts.unavailable >= UNREACHABLE_AFTER:
        return "failed", "unreachable"
    if facts.limited_until is not None and facts.limited_until > now:
        return "rate_limited", None
    if facts.ingesting and facts.last_success_at is None:
        return "processing", None
    if facts.partial is not None:
        return "partial", facts.partial.kind
    if facts.stale_at is not None and facts.stale_at <= now:
        return "stale", None
    if facts.draft:
        return "pending", "incomplete"
    if facts.last_success_at is None:
        return "pending", None
    return "healthy", None


async def settle(connection: AsyncConnection, connection_id: int, now: datetime) -> None:
    """Compute the health anew and tell if it changed. The connection's row is locked by the caller."""
    c = connections.c
    row = (await connection.execute(select(connections).where(c.id == connection_id))).mappings().one()
    facts = Facts(
        enabled=row["enabled"] and row["deleted_at"] is None,
        draft=row["canonical"] is None,
        failure=problem(row["failure"]),
        partial=problem(row["partial"]),
        unavailable=row["unavailable"],
        limited_until=row["limited_until"],
        ingesting=row["ingesting"],
        stale_at=row["stale_at"],
        last_success_at=row["last_success_at"],
    )
    health, cause = health_of(facts, now)
    if (health, cause) == (row["health"], row["cause"]):
        return
    await connection.execute(
        update(connections).where(c.id == connection_id).values(health=health, cause=cause, since=now)
    )
    why = facts.failure or facts.partial
    told = ConnectionStatus(
        health=health,
        cause=cause,
        health_before=row["health"],
        cause_before=row["cause"],
        since=to_text(now),
        next_due_at=to_text(row["next_due_at"]) if row["next_due_at"] else None,
        last_success_at=to_text(row["last_success_at"]) if row["last_success_at"] else None,
        message=why.message if why and why.kind == cause else None,
        hint=why.hint if why and why.kind == cause else None,
    )
    await outbox.append(connection, connection_id, now, [(CONNECTION_STATUS, told)])


def problem(stored: object) -> Problem | None:
    """A `Problem` as it was stored, or None."""
    return None if stored is None else msgspec.convert(stored, Problem)
