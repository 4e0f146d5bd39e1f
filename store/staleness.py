"""How far behind connections are: the time since the last success, in intervals of their frequency."""

from collections.abc import Sequence
from heapq import nlargest

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.frequency import FrequencyError, parse_frequency
from store.database import clock
from store.schema import connections

#: Rows that are read at once; others get their turn in between.
_PAGE = 2000


class Behind(msgspec.Struct, frozen=True, order=True):
    """One connection. `ratio` is (now - last success) / interval; without a success since it was made."""

    ratio: float
    id: int
    name: str
    system: str


class Staleness(msgspec.Struct, frozen=True):
    """The highest ratio, how many connections are above each of the bounds, and those furthest behind."""

    highest: float
    above: dict[int, int]
    worst: Sequence[Behind]


async def staleness(
    connection: AsyncConnection, most: int, bounds: Sequence[int] = (2, 3), periods: "Periods | None" = None
) -> Staleness:
    """Of connections that are enabled, complete, and due by themselves: the `most` that are worst, first."""
    above = dict.fromkeys(bounds, 0)
    worst: list[Behind] = []
    now, last, periods = await clock(connection), 0, periods or Periods()
    c = connections.c
    since = func.coalesce(c.last_success_at, c.created_at, type_=c.created_at.type)
    query = (
        select(c.id, c.name, c.system, c.frequency, c.timezone, since)
        .where(c.enabled, c.deleted_at.is_(None), c.canonical.is_not(None), c.frequency != "manually")
        .order_by(c.id)
        .limit(_PAGE)
    )
    while True:
        rows = (await connection.execute(query.where(c.id > last))).all()
        found = []
        for number, name, system, frequency, timezone, at in rows:
            seconds = periods.seconds(frequency, timezone)
            if seconds is not None:
                found.append(Behind(max(0.0, (now - at).total_seconds() / seconds), number, name, system))
        for bound in above:
            above[bound] += sum(one.ratio > bound for one in found)
        worst = nlargest(max(1, most), [*worst, *found], key=lambda one: one.ratio)
        if len(rows) < _PAGE:
            return Staleness(worst[0].ratio if worst else 0.0, above, worst[:most])
        last = rows[-1][0]


class Periods:
    """The intervals of frequencies, each worked out once: of a cron expression that takes milliseconds."""

    def __init__(self, most: int = 10_000) -> None:
        self._known: dict[tuple[str, str], float | None] = {}
        self._most = most

    def seconds(self, frequency: str, timezone: str) -> float | None:
        """None where there is none."""
        key = (frequency, timezone)
        if key not in self._known:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[key] = _seconds(frequency, timezone)
        return self._known[key]


def _seconds(frequency: str, timezone: str) -> float | None:
    try:
        period = parse_frequency(frequency, timezone).period
    except FrequencyError:
        return None
    return None if period is None else period.total_seconds()
