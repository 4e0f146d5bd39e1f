"""Totals for whoever watches the installation."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import claims
from store.database import clock, now
from store.health import HEALTHS
from store.processes import GONE_SECONDS
from store.schema import LIVE, connections, host_pauses, processes, quarantine, syncs
from store.syncs import Lane

LANES: tuple[Lane, ...] = ("bulk", "records")
ROLES = ("api", "scheduler", "relay", "worker")


async def live_syncs_by_state(connection: AsyncConnection) -> Mapping[str, int]:
    """How many syncs are queued, running and waiting. Those that ended are too many to count often."""
    c = syncs.c
    query = select(c.state, func.count()).where(c.state.in_(LIVE)).group_by(c.state)
    totals = dict.fromkeys(LIVE, 0)
    for state, count in await connection.execute(query):
        totals[state] = count
    return totals


async def connections_by_health(connection: AsyncConnection) -> Mapping[str, int]:
    """How many living connections are of each health; every health is there."""
    c = connections.c
    query = select(c.health, func.count()).where(c.deleted_at.is_(None)).group_by(c.health)
    totals = dict.fromkeys(HEALTHS, 0)
    for health, count in await connection.execute(query):
        totals[health] = count
    return totals


async def connections_by_cause(connection: AsyncConnection) -> Mapping[tuple[str, str], int]:
    """How many living connections are of each health and cause; every health is there without a cause."""
    c = connections.c
    query = select(c.health, c.cause, func.count()).where(c.deleted_at.is_(None)).group_by(c.health, c.cause)
    totals = dict.fromkeys(((health, "") for health in HEALTHS), 0)
    for health, cause, count in await connection.execute(query):
        totals[health, cause or ""] = count
    return totals


async def queue_ages(connection: AsyncConnection) -> Mapping[str, float]:
    """How many seconds the longest due sync of each lane has waited for a worker; 0 where none waits."""
    at = await clock(connection)
    ages: dict[str, float] = {}
    for lane in LANES:
        due = await claims.longest_due(connection, lane)
        ages[lane] = max(0.0, (at - due).total_seconds()) if due is not None else 0.0
    return ages


async def lease_age(connection: AsyncConnection) -> float:
    """How many seconds ago the lease was renewed that was so the longest ago, of all that are held; 0 where
    none is. Above `LEASE_SECONDS` its holder has lost it, and nobody took the sync over.
    """
    held = select(func.min(syncs.c.lease_until, type_=syncs.c.lease_until.type))
    query = held.where(syncs.c.lease_owner.is_not(None), syncs.c.state.in_(LIVE))
    until: datetime | None = (await connection.execute(query)).scalar()
    if until is None:
        return 0.0
    return max(0.0, claims.LEASE_SECONDS - (until - await clock(connection)).total_seconds())


async def quarantined_by_system(connection: AsyncConnection) -> Mapping[str, int]:
    """How many records of living connections could not be read."""
    c, q = connections.c, quarantine.c
    per = select(q.connection_id, func.count().label("n")).group_by(q.connection_id).subquery()
    query = select(c.system, func.sum(per.c.n)).join(per, per.c.connection_id == c.id)
    rows = await connection.execute(query.where(c.deleted_at.is_(None)).group_by(c.system))
    return {system: int(count) for system, count in rows}


async def processes_by_role(connection: AsyncConnection) -> Mapping[str, int]:
    """How many processes are running in each role."""
    c = processes.c
    query = select(c.role, func.count()).where(c.seen_at > now(-GONE_SECONDS)).group_by(c.role)
    found = {role: int(count) for role, count in await connection.execute(query)}
    return dict.fromkeys(ROLES, 0) | found


async def paused_hosts(connection: AsyncConnection) -> int:
    """How many hosts asked for no requests for now."""
    query = select(func.count()).select_from(host_pauses).where(host_pauses.c.until > now())
    return int((await connection.execute(query)).scalar_one())
