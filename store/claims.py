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

from store import crashes
from store.connections import held, locked
from store.database import clock, now, to_moment
from store.health import CRASHES_ALLOWED, Problem, settle
from store.schema import LIVE, OPEN, connections, syncs
from store.syncs import Lane, LostLeaseError, Ring, Sync, among, from_row, get, set_values, tell

LEASE_SECONDS = 10.0
#: What a defect ended is tried again after so long.
STUMBLE_SECONDS = 5.0


# Made once: an alias is costly to make, and this is asked for with every claim.
_other = syncs.alias("other").c


def _claimable() -> ColumnElement[bool]:
    """What a claim would take: due, not held, and open or next in a lane where nothing is open."""
    lane_is_open = exists().where(
        _other.connection_id == syncs.c.connection_id,
        _other.lane == syncs.c.lane,
        among(_other.state, OPEN),
    )
    return and_(
        among(syncs.c.state, LIVE),
        syncs.c.run_at <= now(),
        or_(syncs.c.lease_until.is_(None), syncs.c.lease_until <= now()),
        or_(among(syncs.c.state, OPEN), ~lane_is_open),
    )


async def claimable(connection: AsyncConnection, limit: int) -> Sequence[Ring]:
    """What could be claimed now, the longest due first."""
    c = syncs.c
    # PostgreSQL looks up in an index what is before a time that it is told, not before its own clock's.
    due = c.run_at <= await clock(connection)
    query = select(c.id, c.fence, c.lane).where(due, _claimable()).order_by(c.run_at)
    return [Ring(*row) for row in await connection.execute(query.limit(limit))]


async def longest_due(connection: AsyncConnection, lane: Lane | None = None) -> datetime | None:
    """Since when the longest due of these waits, of a lane if one is named; None if nothing does."""
    due = syncs.c.run_at <= await clock(connection)
    query = select(syncs.c.run_at).where(due, _claimable()).order_by(syncs.c.run_at).limit(1)
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


async def claim(
    connection: AsyncConnection, sync_id: int, owner: str, *, shaken: bool = False
) -> tuple[Sync, datetime] | None:
    """Take a sync for `owner`, raising its fence; with the database's time. None if it is not to be had.

    A claim whose worker died without a page is a crash; the third in a row ends the sync and suspends its
    connection. `shaken`: the database failed this process lately, so that leases may have run out by that.
    """
    found = await get(connection, sync_id)
    held_by = await locked(connection, found.connection_id) if found is not None else None
    if found is None or held_by is None:
        return None
    c = syncs.c
    before = (await connection.execute(select(syncs).where(c.id == sync_id))).mappings().one()
    crashed = await crashes.counted(connection, before, held_by["crashes"], owner, shaken=shaken)
    if crashed == CRASHES_ALLOWED - 1 and await crashes.has_a_suspect(connection, owner):
        return None
    if not await _take(connection, sync_id, owner):
        return None
    at = await clock(connection)
    if crashed >= CRASHES_ALLOWED:
        why = crashes.killed(before["lease_owner"])
        await crashes.suspend(connection, sync_id, found.connection_id, why, at)
        return None
    if crashed != held_by["crashes"]:
        await crashes.set_crashes(connection, found.connection_id, crashed)
    if before["started_at"] is None:
        await connection.execute(update(syncs).where(c.id == sync_id).values(started_at=at))
    if before["state"] != "running":
        await _ingesting(connection, found, at)
        return await tell(connection, sync_id, at), at
    return from_row((await connection.execute(select(syncs).where(c.id == sync_id))).mappings().one()), at


async def _take(connection: AsyncConnection, sync_id: int, owner: str) -> bool:
    taken = (
        update(syncs)
        .where(syncs.c.id == sync_id, _claimable())
        .values(
            state="running",
            fence=syncs.c.fence + 1,
            lease_owner=owner,
            lease_until=now(LEASE_SECONDS),
            claim_pages=0,
            resume_at=None,
        )
        .returning(syncs.c.id)
    )
    return (await connection.execute(taken)).first() is not None


async def _ingesting(connection: AsyncConnection, sync: Sync, at: datetime) -> None:
    if sync.lane == "bulk":
        c = connections.c
        await connection.execute(update(connections).where(c.id == sync.connection_id).values(ingesting=True))
        await settle(connection, sync.connection_id, at)


async def stumble(connection: AsyncConnection, sync: Sync, owner: str, why: Problem) -> None:
    """Let go of a sync that a defect ended: it is tried again soon, and after the third time in a row without
    a page its connection is suspended for `why`. Raises `LostLeaseError`.
    """
    row, at = await hold(connection, sync, owner)
    pages = select(syncs.c.claim_pages).where(syncs.c.id == sync.id)
    got_on = bool((await connection.execute(pages)).scalar_one())
    crashed = 0 if got_on else row["crashes"] + 1
    if crashed >= CRASHES_ALLOWED:
        await crashes.suspend(connection, sync.id, sync.connection_id, why, at)
        return
    await crashes.set_crashes(connection, sync.connection_id, crashed)
    again = {"run_at": now(STUMBLE_SECONDS), "lease_owner": None, "lease_until": None}
    await set_values(connection, sync.id, again)


async def let_go(connection: AsyncConnection, sync: Sync, owner: str) -> None:
    """Give a sync back that a failure of the database tore out of the hands of this process, which lives."""
    c = syncs.c
    mine = update(syncs).where(
        c.id == sync.id, c.fence == sync.fence, c.lease_owner == owner, c.state == "running"
    )
    await connection.execute(mine.values(run_at=now(), lease_owner=None, lease_until=None))


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
