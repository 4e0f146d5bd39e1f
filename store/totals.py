"""Totals for whoever watches the installation."""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store.health import HEALTHS
from store.schema import LIVE, connections, syncs


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
