"""Removing the records of connections that were deleted with them: in the background, some at a time."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import census
from store.schema import connections, cursors, debug_log, quarantine
from store.streams import StreamTables

#: Rows per transaction and table: on SQLite nobody else writes meanwhile.
ROWS = 500


async def purge_some(connection: AsyncConnection, tables: StreamTables) -> bool:
    """Delete some of what is of no use any more: keys that ended censuses noted, and records of one
    connection that is to be purged. False if there is nothing left to purge.
    """
    if await census.forget_some(connection, ROWS):
        return True
    c = connections.c
    query = select(c.id, c.system).where(c.purge, c.deleted_at.is_not(None)).limit(1)
    found = (await connection.execute(query)).first()
    if found is None:
        return False
    connection_id, system = found
    left = 0
    for table in tables.of(system):
        t = table.table.c
        some = select(t.key).where(t.connection_id == connection_id).limit(ROWS)
        gone = await connection.execute(
            table.table.delete().where(t.connection_id == connection_id, t.key.in_(some))
        )
        left += gone.rowcount
    if not left:
        for kept in (quarantine, cursors, debug_log):
            await connection.execute(kept.delete().where(kept.c.connection_id == connection_id))
        await connection.execute(update(connections).where(c.id == connection_id).values(purge=False))
    return True
