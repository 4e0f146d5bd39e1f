"""Syncs: claimed by a lease with a fence, advanced page by page, ended once.

Every function works inside the caller's transaction. The connection's row is always locked first, so that
two of them never wait for each other crosswise.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import bindparam, exists, insert, literal, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store import outbox
from store.database import now, to_text
from store.health import Problem, problem, settle
from store.schema import LIVE, OPEN, connections, sync_parts, syncs

STATUS = "status"

Lane = Literal["bulk", "records"]
Scope = Literal["incremental", "full", "census", "records"]
State = Literal["queued", "running", "waiting", "succeeded", "partial", "failed", "cancelled"]
Trigger = Literal["schedule", "webhook", "queue", "api", "cli", "catch_up"]


class Counts(msgspec.Struct):
    """What a sync did in one stream so far."""

    read: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0


class Receipt(msgspec.Struct, frozen=True):
    """What was expected of one stream, where the remote said it exactly, and what is stored."""

    expected: int | None
    stored: int
    complete: bool


class Sync(msgspec.Struct, frozen=True):
    """One run for one connection."""

    id: int
    connection_id: int
    lane: Lane
    trigger: Trigger
    scope: Scope
    keys: dict[str, list[str]]
    look: bool
    census: bool
    accept_loss: bool
    joined: int
    state: State
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    run_at: datetime
    resume_at: datetime | None
    waiting_since: datetime | None
    tries: int
    fence: int
    pages: int
    planned: bool
    progress_at: datetime | None
    counters: dict[str, Counts]
    requests: int
    bytes: int
    waited: int
    receipt: dict[str, Receipt] | None
    error: Problem | None


class Status(msgspec.Struct, frozen=True):
    """The data of a `status` event, and what the API says of a sync. Times as text, `waited` in ms."""

    id: int
    connection_id: int
    lane: str
    trigger: str
    scope: str
    state: str
    resume_at: str | None
    counters: dict[str, Counts]
    requests: int
    bytes: int
    waited: int
    receipt: dict[str, Receipt] | None
    error: Problem | None
    queued_at: str
    started_at: str | None
    finished_at: str | None
    joined: int


#: Triggers of a person, which go through even where others are only remembered.
PERSONAL: frozenset[Trigger] = frozenset({"api", "cli", "catch_up"})


class LostLeaseError(Exception):
    """The sync was taken over, cancelled, or its lease ran out: nothing of ours may be committed."""


def from_row(row: RowMapping) -> Sync:
    values = {name: row[name] for name in Sync.__struct_fields__}
    values["keys"] = row["keys"] or {}
    values["counters"] = msgspec.convert(row["counters"], dict[str, Counts])
    values["receipt"] = msgspec.convert(row["receipt"], dict[str, Receipt] | None)
    values["error"] = problem(row["error"])
    return Sync(**values)


def status_of(sync: Sync) -> Status:
    """The sync as users see it."""
    values = {name: getattr(sync, name) for name in Status.__struct_fields__}
    for name in ("resume_at", "queued_at", "started_at", "finished_at"):
        values[name] = to_text(values[name]) if values[name] else None
    return Status(**values)


async def tell(connection: AsyncConnection, sync_id: int, at: datetime) -> Sync:
    """Write the sync's `status` event, as it is now."""
    sync = await get(connection, sync_id)
    if sync is None:
        raise LostLeaseError(f"sync {sync_id} is gone")
    await outbox.append(connection, sync.connection_id, at, [(STATUS, status_of(sync))])
    return sync


async def get(connection: AsyncConnection, sync_id: int) -> Sync | None:
    row = (await connection.execute(select(syncs).where(syncs.c.id == sync_id))).mappings().first()
    return None if row is None else from_row(row)


async def listed(
    connection: AsyncConnection, before: int | None, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Sync]:
    """Syncs with a lower id than `before`, newest first."""
    query = select(syncs).where(*filters).order_by(syncs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(syncs.c.id < before)
    return [from_row(row) for row in (await connection.execute(query)).mappings()]


async def of_lane(connection: AsyncConnection, connection_id: int, lane: Lane) -> Sequence[Sync]:
    """The syncs of a lane that have not ended: at most one open and one queued."""
    c = syncs.c
    live = or_(among(c.state, OPEN), among(c.state, ("queued",)))
    query = select(syncs).where(c.connection_id == connection_id, c.lane == lane, live)
    return [from_row(row) for row in (await connection.execute(query)).mappings()]


async def add(connection: AsyncConnection, values: Mapping[str, object], at: datetime) -> Sync:
    """Insert a queued sync and tell of it. The connection's row is locked by the caller."""
    made = insert(syncs).values({"state": "queued", "queued_at": at, "run_at": at, "counters": {}, **values})
    sync_id = (await connection.execute(made.returning(syncs.c.id))).scalar_one()
    return await tell(connection, sync_id, at)


async def join(connection: AsyncConnection, sync_id: int, values: Mapping[str, object]) -> None:
    """Count one more trigger on a queued sync, with what it widens."""
    made = update(syncs).where(syncs.c.id == sync_id).values({"joined": syncs.c.joined + 1, **values})
    await connection.execute(made)


def among(state: ColumnElement[str], states: Sequence[str]) -> ColumnElement[bool]:
    """Whether a state is one of these, written out: a partial index serves only what a statement says."""
    if len(states) == 1:
        return state == literal(states[0], literal_execute=True)
    return state.in_(bindparam(None, states, expanding=True, literal_execute=True, unique=True))


class Ring(msgspec.Struct, frozen=True):
    """What a queue job is about: its id is made of these, so ringing twice is one job."""

    sync_id: int
    fence: int
    lane: Lane


_TALLY = (
    update(syncs)
    .where(syncs.c.id == bindparam("sync"))
    .values(
        pages=syncs.c.pages + 1,
        claim_pages=syncs.c.claim_pages + 1,
        tries=0,
        waiting_since=None,
        counters=bindparam("new_counters"),
        requests=bindparam("new_requests"),
        bytes=bindparam("new_bytes"),
        waited=bindparam("new_waited"),
        progress_at=bindparam("new_progress_at"),
    )
)


async def tally(connection: AsyncConnection, sync_id: int, values: Mapping[str, object]) -> None:
    """Count a page, with the progress that it brought; waiting, if any, is over."""
    news = {f"new_{name}": value for name, value in values.items()}
    await connection.execute(_TALLY, {"sync": sync_id, **news})


async def set_values(connection: AsyncConnection, sync_id: int, values: Mapping[str, object]) -> None:
    await connection.execute(update(syncs).where(syncs.c.id == sync_id).values(dict(values)))


async def pass_on(connection: AsyncConnection, sync: Sync, values: Mapping[str, object]) -> None:
    """End a slice: the sync goes on in the next, with whoever claims it."""
    free: dict[str, object] = {"run_at": now(), "lease_owner": None, "lease_until": None}
    await set_values(connection, sync.id, {**values, **free})


async def postpone(
    connection: AsyncConnection, sync: Sync, until: datetime, at: datetime, values: Mapping[str, object]
) -> None:
    """Let the sync wait until a time, holding nothing. `values` say since when, and how often already."""
    waiting: dict[str, object] = {
        "state": "waiting",
        "run_at": until,
        "resume_at": until,
        "lease_owner": None,
        "lease_until": None,
    }
    await set_values(connection, sync.id, {**values, **waiting})
    await tell(connection, sync.id, at)


async def finish(
    connection: AsyncConnection, sync: Sync, state: State, at: datetime, values: Mapping[str, object]
) -> None:
    """End the sync and tell of it, once."""
    await end(connection, sync.id, state, at, values)
    await tell(connection, sync.id, at)


async def end(
    connection: AsyncConnection, sync_id: int, state: State, at: datetime, values: Mapping[str, object]
) -> None:
    freed: dict[str, object] = {
        "state": state,
        "finished_at": at,
        "resume_at": None,
        "lease_owner": None,
        "lease_until": None,
    }
    await set_values(connection, sync_id, {**values, **freed})
    await _forget_parts(connection, sync_id)


async def _forget_parts(connection: AsyncConnection, sync_id: int) -> None:
    """What was left to read is of no use any more."""
    await connection.execute(sync_parts.delete().where(sync_parts.c.sync_id == sync_id))


async def cancel(connection: AsyncConnection, sync: Sync, at: datetime, why: Problem | None = None) -> bool:
    """Cancel a sync that has not ended: its fence rises, so the page in flight is refused.

    False if it had ended. The connection's row is locked by the caller.
    """
    c = syncs.c
    made = (
        update(syncs)
        .where(c.id == sync.id, c.state.in_(LIVE))
        .values(fence=c.fence + 1, state="cancelled", finished_at=at, resume_at=None, error=why)
        .values(lease_owner=None, lease_until=None)
        .returning(c.id)
    )
    if (await connection.execute(made)).first() is None:
        return False
    await _forget_parts(connection, sync.id)
    if sync.lane == "bulk":
        held = update(connections).where(connections.c.id == sync.connection_id)
        await connection.execute(held.values(ingesting=False, limited_until=None))
        await settle(connection, sync.connection_id, at)
    await tell(connection, sync.id, at)
    return True


async def forget(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete syncs that ended before a time; the last one of each connection stays. How many."""
    c, newer = syncs.c, syncs.alias("newer").c
    outdone = exists().where(newer.connection_id == c.connection_id, newer.id > c.id)
    old = select(c.id).where(c.finished_at < before, outdone).order_by(c.finished_at).limit(limit)
    gone = await connection.execute(syncs.delete().where(c.id.in_(old)))
    return gone.rowcount
