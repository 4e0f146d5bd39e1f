"""Syncs: claimed by a lease with a fence, advanced page by page, ended once.

Every function works inside the caller's transaction. The connection's row is always locked first, so that
two of them never wait for each other crosswise.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import and_, bindparam, exists, insert, literal, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store import outbox
from store.connections import held, locked
from store.database import clock, now, to_moment, to_text
from store.health import CHECK_EVERY, CRASHES_ALLOWED, Problem, problem, settle
from store.schema import ENDED, LIVE, OPEN, connections, sync_parts, syncs

LEASE_SECONDS = 10.0
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
    live = or_(_among(c.state, OPEN), _among(c.state, ("queued",)))
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


def _among(state: ColumnElement[str], states: Sequence[str]) -> ColumnElement[bool]:
    """Whether a state is one of these, written out: a partial index serves only what a statement says."""
    if len(states) == 1:
        return state == literal(states[0], literal_execute=True)
    return state.in_(bindparam(None, states, expanding=True, literal_execute=True, unique=True))


def _claimable() -> ColumnElement[bool]:
    """What a claim would take: due, not held, and open or next in a lane where nothing is open."""
    other = syncs.alias("other")
    lane_is_open = exists().where(
        other.c.connection_id == syncs.c.connection_id,
        other.c.lane == syncs.c.lane,
        _among(other.c.state, OPEN),
    )
    return and_(
        _among(syncs.c.state, LIVE),
        syncs.c.run_at <= now(),
        or_(syncs.c.lease_until.is_(None), syncs.c.lease_until <= now()),
        or_(_among(syncs.c.state, OPEN), ~lane_is_open),
    )


class Ring(msgspec.Struct, frozen=True):
    """What a queue job is about: its id is made of these, so ringing twice is one job."""

    sync_id: int
    fence: int
    lane: Lane


async def claimable(connection: AsyncConnection, limit: int) -> Sequence[Ring]:
    """What could be claimed now, the longest due first."""
    query = select(syncs.c.id, syncs.c.fence, syncs.c.lane).where(_claimable()).order_by(syncs.c.run_at)
    return [Ring(*row) for row in await connection.execute(query.limit(limit))]


async def next_in_lane(connection: AsyncConnection, connection_id: int, lane: Lane) -> Ring | None:
    """The queued sync of a lane, once nothing is open there."""
    c = syncs.c
    query = select(c.id, c.fence, c.lane).where(
        c.connection_id == connection_id, c.lane == lane, _claimable()
    )
    row = (await connection.execute(query)).first()
    return None if row is None else Ring(*row)


async def claim(connection: AsyncConnection, sync_id: int, owner: str) -> tuple[Sync, datetime] | None:
    """Take a sync for `owner`, raising its fence; with the database's time. None if it is not to be had.

    A claim that ran out without a page is a crash; the third in a row ends the sync and suspends its
    connection.
    """
    found = await get(connection, sync_id)
    if found is None or await locked(connection, found.connection_id) is None:
        return None
    c = syncs.c
    before = (await connection.execute(select(syncs).where(c.id == sync_id))).mappings().one()
    taken = (
        update(syncs)
        .where(c.id == sync_id, _claimable())
        .values(
            state="running",
            fence=c.fence + 1,
            lease_owner=owner,
            lease_until=now(LEASE_SECONDS),
            claim_pages=0,
            resume_at=None,
        )
        .returning(c.id)
    )
    if (await connection.execute(taken)).first() is None:
        return None
    at = await clock(connection)
    died = before["lease_owner"] is not None
    if await _crashes(connection, before, died=died) >= CRASHES_ALLOWED:
        await _suspend(connection, sync_id, found.connection_id, at)
        return None
    if before["started_at"] is None:
        await connection.execute(update(syncs).where(c.id == sync_id).values(started_at=at))
    if before["state"] != "running":
        await _ingesting(connection, found, at)
        return await tell(connection, sync_id, at), at
    return from_row((await connection.execute(select(syncs).where(c.id == sync_id))).mappings().one()), at


async def _ingesting(connection: AsyncConnection, sync: Sync, at: datetime) -> None:
    if sync.lane == "bulk":
        c = connections.c
        await connection.execute(update(connections).where(c.id == sync.connection_id).values(ingesting=True))
        await settle(connection, sync.connection_id, at)


async def _crashes(connection: AsyncConnection, before: RowMapping, *, died: bool) -> int:
    """Crashes in a row, this one included if the claim before died without a page."""
    if not died:
        return 0
    crashed = connections.c.crashes + 1 if before["claim_pages"] == 0 else 0
    made = update(connections).where(connections.c.id == before["connection_id"]).values(crashes=crashed)
    return int((await connection.execute(made.returning(connections.c.crashes))).scalar_one())


async def _suspend(connection: AsyncConnection, sync_id: int, connection_id: int, at: datetime) -> None:
    why = Problem(
        "crashing",
        f"Reading this connection killed its worker {CRASHES_ALLOWED} times in a row.",
        "Look into the worker's log for the reason; a sync asked for by hand tries again.",
    )
    await _end(connection, sync_id, "failed", at, {"error": why})
    made = update(connections).where(connections.c.id == connection_id)
    facts = {"failure": why, "last_error_at": at, "next_check_at": at + CHECK_EVERY}
    await connection.execute(made.values(**facts, crashes=0, ingesting=False))
    await settle(connection, connection_id, at)
    await tell(connection, sync_id, at)


async def renew(connection: AsyncConnection, owner: str) -> None:
    """Keep all leases of a process that it still has. One that ran out stays lost."""
    c = syncs.c
    kept = update(syncs).where(c.lease_owner == owner, c.lease_until > now())
    await connection.execute(kept.values(lease_until=now(LEASE_SECONDS)))


_HOLD = (
    update(syncs)
    .where(
        syncs.c.id == bindparam("sync"),
        syncs.c.fence == bindparam("mine"),
        syncs.c.lease_owner == bindparam("owner"),
        syncs.c.state == "running",
        syncs.c.lease_until > now(),
    )
    .values(lease_until=now(LEASE_SECONDS))
    .returning(now())
)


async def hold(connection: AsyncConnection, sync: Sync, owner: str) -> tuple[RowMapping, datetime]:
    """Lock the connection and make sure the sync is still ours. Raises `LostLeaseError`.

    Gives the connection's row and the database's time. Whatever is written for a sync comes after this.
    """
    row = await held(connection, sync.connection_id)
    kept = await connection.execute(_HOLD, {"sync": sync.id, "mine": sync.fence, "owner": owner})
    at = kept.scalar()
    if row is None or at is None:
        raise LostLeaseError(f"sync {sync.id} is no longer held by fence {sync.fence}")
    return row, to_moment(at)


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
    await _end(connection, sync.id, state, at, values)
    await tell(connection, sync.id, at)


async def _end(
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
    """Delete syncs that ended before a time. How many."""
    c = syncs.c
    old = select(c.id).where(c.state.in_(ENDED), c.finished_at < before).limit(limit)
    gone = await connection.execute(syncs.delete().where(c.id.in_(old)))
    return gone.rowcount
