"""Until when a host asked for no requests: kept here too, so that it outlives Redis."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import now
from store.schema import host_pauses


async def keep(connection: AsyncConnection, host: str, until: datetime, reason: str) -> None:
    """Remember a pause; of two the longer counts."""
    is_sqlite = connection.dialect.name == "sqlite"
    made = (sqlite_insert if is_sqlite else postgresql_insert)(host_pauses).values(
        host=host, until=until, reason=reason
    )
    longer = (func.max if is_sqlite else func.greatest)(host_pauses.c.until, made.excluded.until)
    await connection.execute(
        made.on_conflict_do_update(
            index_elements=["host"], set_={"until": longer, "reason": made.excluded.reason}
        )
    )


async def of(connection: AsyncConnection, host: str) -> datetime | None:
    """The end of the host's pause, if that is still to come."""
    query = select(host_pauses.c.until).where(host_pauses.c.host == host, host_pauses.c.until > now())
    return (await connection.execute(query)).scalar()
