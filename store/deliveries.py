"""Inbound webhooks that were taken: the same delivery again opens nothing."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import deliveries


async def note(
    connection: AsyncConnection, connection_id: int, uids: Collection[str], at: datetime
) -> set[str]:
    """Remember these deliveries of one connection; which of them are new."""
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    new: set[str] = set()
    for uid in uids:
        made = insert(deliveries).values(connection_id=connection_id, uid=uid, at=at)
        noted = await connection.execute(made.on_conflict_do_nothing().returning(deliveries.c.uid))
        new.update(noted.scalars())
    return new


async def forget(connection: AsyncConnection, before: datetime) -> None:
    """Senders give up long before that."""
    await connection.execute(delete(deliveries).where(deliveries.c.at < before))
