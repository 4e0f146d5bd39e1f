"""What the tests of the engine do to its database, and what they read there."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.engine import RowMapping

from adapters.base import Page, Partition
from store import claims, parts
from store.connections import Connection
from store.database import now
from store.parts import Part, Planned
from store.records import Progress, Target, commit_page, prepare_page
from store.schema import connections as connections_table
from store.schema import syncs as syncs_table
from store.syncs import Ring, Sync
from tests.adapter_double import SYSTEM
from tests.house import House

ME = "test"


async def connect(house: House, number: int = 0, **values: object) -> Connection:
    told = {"callback_token": f"token {number}", **values}
    return await house.connection(SYSTEM, f"http://double/{number}", None, **told)


async def claim(house: House, sync_id: int, owner: str = ME) -> Sync | None:
    async with house.database.write() as connection:
        claimed = await claims.claim(connection, sync_id, owner)
    return None if claimed is None else claimed[0]


async def claimed(house: House, connection_id: int) -> Sync:
    """A sync that was opened and claimed, with one part to read."""
    opened = await house.open(connection_id)
    sync = await claim(house, opened.id)
    assert sync is not None
    async with house.database.write() as connection:
        await parts.plan(connection, sync, [Planned("things", Partition("all"))])
    return sync


async def lose_lease(house: House, sync_id: int) -> None:
    """As if its holder had not been heard of for longer than a lease."""
    await set_sync(house, sync_id, lease_until=now(-1))


async def set_sync(house: House, sync_id: int, **values: object) -> None:
    async with house.database.write() as connection:
        await connection.execute(update(syncs_table).where(syncs_table.c.id == sync_id).values(values))


async def set_connection(house: House, connection_id: int, **values: object) -> None:
    c = connections_table.c
    async with house.database.write() as connection:
        await connection.execute(update(connections_table).where(c.id == connection_id).values(values))


async def connection_row(house: House, connection_id: int) -> RowMapping:
    query = select(connections_table).where(connections_table.c.id == connection_id)
    async with house.database.read() as connection:
        return (await connection.execute(query)).mappings().one()


async def sync_row(house: House, sync_id: int) -> RowMapping:
    async with house.database.read() as connection:
        query = select(syncs_table).where(syncs_table.c.id == sync_id)
        return (await connection.execute(query)).mappings().one()


async def claimable(house: House) -> set[int]:
    async with house.database.read() as connection:
        found: Sequence[Ring] = await claims.claimable(connection, 1000)
    return {ring.sync_id for ring in found}


async def part_of(house: House, sync_id: int) -> Part:
    """The one part of a sync."""
    async with house.database.read() as connection:
        [part] = await parts.listed(connection, sync_id)
    return part


async def commit(
    house: House, sync: Sync, page: Page, progress: Progress | None = None, part: Part | None = None
) -> Part:
    """Commit a page as the worker that claimed `sync` would; of its one part, unless another is given."""
    target = Target(sync, ME, SYSTEM, house.deps.tables, quarantined=True)
    held = progress or Progress(sync.counters, told_at=sync.progress_at)
    part = part or await part_of(house, sync.id)
    return await commit_page(house.database, target, part, prepare_page(target, page), held)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)
