"""Who may work on a sync: the claim by compare-and-set, the lease that is renewed, the fence that only rises.

Every function works inside the caller's transaction. The connection's row is always locked first, so that
two of them never wait for each other crosswise.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, exists, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.connections import held, locked
from store.database import clock, now, to_moment
from store.health import CHECK_EVERY, CRASHES_ALLOWED, Problem, settle
from store.schema import LIVE, OPEN, connections, syncs
from store.syncs import Lane, LostLeaseError, Ring, Sync, among, end, from_row, get, tell

LEASE_SECONDS = 10.0


def _claimable() -> ColumnElement[bool]:
    """What a claim would take: due, not held, and open or next in a lane where nothing is open."""
    other = syncs.alias("other")
    lane_is_open = exists().where(
        other.c.connection_id == syncs.c.connection_id,
        other.c.lane == syncs.c.lane,
        among(other.c.state, OPEN),
    )
    return and_(
        among(syncs.c.state, LIVE),
        syncs.c.run_at <= now(),
        or_(syncs.c.lease_until.is_(None), syncs.c.lease_until <= now()),
        or_(among(syncs.c.state, OPEN), ~lane_is_open),
    )


async def claimable(connection: AsyncConnection, limit: int) -> Sequence[Ring]:
    """What could be claimed now, the longest due first."""
    query = select(syncs.c.id, syncs.c.fence, syncs.c.lane).where(_claimable()).order_by(syncs.c.run_at)
    return [Ring(*row) for row in await connection.execute(query.limit(limit))]


async def longest_due(connection: AsyncConnection, lane: Lane | None = None) -> datetime | None:
    """Since when the longest due of these waits, of a lane if one is named; None if nothing does."""
    query = select(syncs.c.run_at).where(_claimable()).order_by(syncs.c.run_at).limit(1)
    if lane is not None:
        query = query.where(syncs.c.lane == lane)
    return (await connection.execute(query)).scalar()


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
    await end(connection, sync_id, "failed", at, {"error": why})
    made = update(connections).where(connections.c.id == connection_id)
    facts = {"failure": why, "last_error_at": at, "next_check_at": at + CHECK_EVERY}
    await connection.execute(made.values(**facts, crashes=0, ingesting=False))
    await settle(connection, connection_id, at)
    await tell(connection, sync_id, at)


async def renew(connection: AsyncConnection, owner: str, at_work: Collection[int]) -> None:
    """Keep the leases of a process on the syncs that it is at work on. One that ran out stays lost."""
    c = syncs.c
    kept = update(syncs).where(c.lease_owner == owner, c.id.in_(at_work), c.lease_until > now())
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
