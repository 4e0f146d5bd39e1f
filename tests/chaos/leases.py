"""Leases of syncs, as tests make them run out and see them refused."""

from sqlalchemy import select, update
from sqlalchemy.engine import RowMapping

from store.database import now
from store.schema import connections, syncs
from tests.chaos.roles import Role
from tests.chaos.town import Town


async def let_run_out(town: Town, sync: RowMapping) -> None:
    """The ten seconds of a lease are over at once."""
    async with town.database.beside() as connection:
        mine = update(syncs).where(syncs.c.id == sync["id"], syncs.c.fence == sync["fence"])
        await connection.execute(mine.values(lease_until=now(-0.001)))


async def let_run_at(town: Town, sync: RowMapping, seconds: float) -> None:
    """Nobody takes it before then."""
    async with town.database.beside() as connection:
        mine = update(syncs).where(syncs.c.id == sync["id"])
        await connection.execute(mine.values(run_at=now(seconds)))


async def refused(town: Town, worker: Role, sync: RowMapping) -> None:
    """The worker was told that this claim is not its own any more."""

    async def told() -> bool:
        return bool(worker.said("sync.lease_lost", sync=sync["id"], fence=sync["fence"]))

    await town.until(told, 10, f"the commit of fence {sync['fence']} is refused")


async def suspended(town: Town, connection_id: int) -> bool:
    c = connections.c
    async with town.database.read() as connection:
        row = (await connection.execute(select(c.health, c.cause).where(c.id == connection_id))).one()
    return tuple(row) == ("failed", "crashing")
