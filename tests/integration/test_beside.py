"""What must be written in time is, however many others use the database."""

import asyncio

from sqlalchemy import select

from store.database import Database
from store.schema import connections


async def test_leases_are_renewed_while_all_connections_are_taken(database: Database) -> None:
    """A worker has more slices at work than connections; its heartbeat may not stand behind them."""
    taken, over = asyncio.Event(), asyncio.Event()
    readers = 0

    async def read() -> None:
        nonlocal readers
        async with database.read() as connection:
            await connection.execute(select(connections.c.id).limit(1))
            readers += 1
            if readers == 15:
                taken.set()
            await over.wait()

    reading = [asyncio.create_task(read()) for _ in range(40)]
    await asyncio.wait_for(taken.wait(), 30)
    async with asyncio.timeout(5), database.beside() as connection:
        await connection.execute(select(connections.c.id).limit(1))
    over.set()
    await asyncio.gather(*reading)
