"""Everything at a glance: who runs, how connections stand, what is worked on, which hosts make us wait."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import claims, connections, outbox, processes, totals
from store.connections import Connection
from store.database import clock, now
from store.processes import Process
from store.schema import LIVE, host_pauses, syncs
from store.schema import connections as table
from store.syncs import Sync, from_row

#: The order in which connections want somebody's attention; what is healthy wants none.
_URGENT = ("failed", "partial", "stale", "rate_limited", "pending", "processing", "disabled", "healthy")


class Work(msgspec.Struct, frozen=True):
    """A sync that has not ended, with the name of its connection."""

    name: str
    sync: Sync

    @property
    def read(self) -> int:
        return sum(counts.read for counts in self.sync.counters.values())


class Pause(msgspec.Struct, frozen=True):
    """A host that asked for no requests until a time."""

    host: str
    until: datetime
    reason: str


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """How things are at a moment of the database's clock.

    `connections` are the most urgent first, `work` what runs before what waits and is queued, both some at
    most; `healths` and `live` count all. `due` is since when the longest due sync waits for a worker,
    `unsent` since when the oldest event waits for the relay.
    """

    at: datetime
    processes: Sequence[Process]
    healths: Mapping[str, int]
    connections: Sequence[Connection]
    live: Mapping[str, int]
    work: Sequence[Work]
    due: datetime | None
    unsent: datetime | None
    hosts: Sequence[Pause]


async def glance(connection: AsyncConnection, limit: int) -> Glance:
    """At most `limit` connections, and as many syncs."""
    return Glance(
        at=await clock(connection),
        processes=await processes.seen(connection),
        healths=await totals.connections_by_health(connection),
        connections=await _urgent(connection, limit),
        live=await totals.live_syncs_by_state(connection),
        work=await _work(connection, limit),
        due=await claims.longest_due(connection),
        unsent=await outbox.oldest_unsent(connection),
        hosts=await _hosts(connection),
    )


async def _urgent(connection: AsyncConnection, limit: int) -> Sequence[Connection]:
    c = table.c
    rank = case({health: n for n, health in enumerate(_URGENT)}, value=c.health, else_=len(_URGENT))
    query = select(table).where(c.deleted_at.is_(None)).order_by(rank, c.since.desc(), c.id).limit(limit)
    return [connections.from_row(row) for row in (await connection.execute(query)).mappings()]


async def _work(connection: AsyncConnection, limit: int) -> Sequence[Work]:
    c = syncs.c
    rank = case({"running": 0, "waiting": 1}, value=c.state, else_=2)
    query = (
        select(syncs, table.c.name)
        .join(table, table.c.id == c.connection_id)
        .where(c.state.in_(LIVE))
        .order_by(rank, c.id)
        .limit(limit)
    )
    return [Work(row["name"], from_row(row)) for row in (await connection.execute(query)).mappings()]


async def _hosts(connection: AsyncConnection) -> Sequence[Pause]:
    c = host_pauses.c
    query = select(c.host, c.until, c.reason).where(c.until > now()).order_by(c.until.desc())
    return [Pause(*row) for row in await connection.execute(query)]
