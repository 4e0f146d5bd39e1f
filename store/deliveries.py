"""Inbound webhooks that were taken: the same delivery again opens nothing."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import deliveries


async def note(
    connection: AsyncConnection, connection_id: int, uids: Collection[str], at: datetime
) -> set[str]:
    """Remember these deliveries of one connection; which of them are new.

    The connection's row is locked by the caller, so that nobody else notes one of them meanwhile.
    """
    if not uids:
        return set()
    known = select(deliveries.c.uid).where(
        deliveries.c.connection_id == connection_id, deliveries.c.uid.in_(uids)
    )
    new = set(uids) - set((await connection.execute(known)).scalars())
    if new:
        rows = [{"connection_id": connection_id, "uid": uid, "at": at} for uid in sorted(new)]
        await connection.execute(insert(deliveries), rows)
    return new


async def forget(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete what came before a time, some at once: senders give up long before that. How many."""
    c = deliveries.c
    old = select(c.connection_id, c.uid).where(c.at < before).order_by(c.at).limit(limit)
    gone = await connection.execute(delete(deliveries).where(tuple_(c.connection_id, c.uid).in_(old)))
    return gone.rowcount
