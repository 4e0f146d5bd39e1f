"""How many records connections have: counted only now and then, for it costs as much as there are."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from store.streams import StreamTable, kept

MOST_KNOWN = 20_000
#: A connection is counted again no sooner than so many times as long as counting it took.
PATIENCE = 50.0


class Counted(msgspec.Struct, frozen=True):
    """What one stream has, and when its newest record changed at the remote."""

    records: int
    newest: datetime | None


class Known(msgspec.Struct, frozen=True):
    """What was counted of a connection, as of one of its changes."""

    change: int
    streams: Mapping[str, Counted]
    at: float
    took: float

    @property
    def total(self) -> int:
        return sum(one.records for one in self.streams.values())


class Counts:
    """The memory of one process; losing it costs counting again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[int, Known] = OrderedDict()

    async def of(
        self, context: Context, wanted: Sequence[tuple[int, str, int]], seconds: float
    ) -> Mapping[int, Known]:
        """What is known of connections, given as (id, system, change), after counting for so long at most.

        One that is missing was never counted yet.
        """
        until = self._clock() + seconds
        for connection_id, system, change in wanted:
            if self._clock() >= until:
                break
            if self._due(connection_id, change):
                await self._count(context, connection_id, system, change)
        return {one: self._known[one] for one, _, _ in wanted if one in self._known}

    def _due(self, connection_id: int, change: int) -> bool:
        known = self._known.get(connection_id)
        if known is None:
            return True
        return known.change != change and self._clock() - known.at >= known.took * PATIENCE

    async def _count(self, context: Context, connection_id: int, system: str, change: int) -> None:
        began = self._clock()
        tables = context.tables.of(system)
        async with context.database.read() as connection:
            streams = {one.stream.name: await _counted(connection, one, connection_id) for one in tables}
        ended = self._clock()
        self._known[connection_id] = Known(change, streams, ended, ended - began)
        self._known.move_to_end(connection_id)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


async def _counted(connection: AsyncConnection, table: StreamTable, connection_id: int) -> Counted:
    c = table.table.c
    query = select(func.count(), func.max(c.updated_at)).where(c.connection_id == connection_id)
    count, newest = (await connection.execute(query.where(kept(table.table)))).one()
    return Counted(count, newest)
