"""What all syncs ever came to, in numbers that only grow: kept though the syncs are forgotten.

Whatever ends or waits is told by an event of a known position. The tally is of all events up to one of
them, and is written with it, so that each is counted once, whoever counts and whatever dies meanwhile.
"""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store import instance as facts
from store.database import Database, to_moment
from store.schema import OPEN, connections, instance, outbox, syncs
from store.syncs import STATUS, Counts

TALLY = "tally"
#: Events that are looked through in one transaction.
BATCH = 2000
#: The upper bounds of durations, in seconds. What took longer is beyond the last.
BOUNDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class Ended(msgspec.Struct):
    """Syncs of one system and lane. `durations` are how many took up to each bound and no less than the one
    before, the last of them longer; `waits` are of syncs that were put off, by the kind of the reason.
    """

    states: dict[str, int] = {}
    durations: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0
    read: int = 0
    written: int = 0
    rejected: int = 0
    requests: int = 0
    bytes: int = 0
    waited: float = 0.0
    waits: dict[str, float] = {}


#: By system and lane.
Totals = dict[tuple[str, str], Ended]


class _Tally(msgspec.Struct):
    """As it is kept: of all events up to `position`, by system and lane with a blank between them."""

    position: int = 0
    ended: dict[str, Ended] = {}


class _Status(msgspec.Struct):
    """What is counted of the data of an event."""

    lane: str
    state: str
    counters: dict[str, Counts]
    requests: int
    bytes: int
    waited: int
    resume_at: str | None
    started_at: str | None
    finished_at: str | None
    error: "_Error | None" = None


class _Error(msgspec.Struct):
    kind: str


async def advance(database: Database) -> bool:
    """Count some of the events that were published since. Whether there may be more."""
    async with database.read() as connection:
        tally = _tally(await facts.get(connection, TALLY))
        if await _upto(connection, tally.position) is None:
            return False
    async with database.write() as connection:
        await facts.settle(connection, TALLY, "{}")
        held = select(instance.c.value).where(instance.c.name == TALLY).with_for_update()
        tally = _tally((await connection.execute(held)).scalar_one())
        upto = await _upto(connection, tally.position)
        if upto is None:
            return False
        some = outbox.c.position.between(tally.position + 1, upto)
        totals = _totals(tally)
        await _add_events(connection, totals, some)
        kept = _Tally(upto, {" ".join(key): ended for key, ended in totals.items()})
        await facts.change(connection, TALLY, msgspec.json.encode(kept).decode())
    return True


async def totals(connection: AsyncConnection) -> Totals:
    """What all syncs came to until now, those at work included as far as they are.

    It never goes down from one transaction to a later one. The caller's sees one moment of the database.
    """
    tally = _tally(await facts.get(connection, TALLY))
    found = _totals(tally)
    await _add_events(connection, found, outbox.c.position > tally.position)
    await _add_events(connection, found, outbox.c.position.is_(None))
    await _add_live(connection, found)
    return found


def _tally(kept: str | None) -> _Tally:
    return msgspec.json.decode(kept, type=_Tally) if kept else _Tally()


def _totals(tally: _Tally) -> Totals:
    found: Totals = {}
    for key, ended in tally.ended.items():
        system, _, lane = key.partition(" ")
        found[system, lane] = ended
    return found


async def _upto(connection: AsyncConnection, position: int) -> int | None:
    """The last position of the next batch; None if nothing was published since."""
    c = outbox.c.position
    some = select(c).where(c > position).order_by(c).limit(BATCH).subquery()
    last = (await connection.execute(select(func.max(some.c.position)))).scalar()
    return None if last is None else int(last)


async def _add_events(connection: AsyncConnection, totals: Totals, chosen: ColumnElement[bool]) -> None:
    o, c = outbox.c, connections.c
    # Told apart by the database: most events are progress, which is not looked at.
    matters = or_(o.data.like('%"finished_at":"%'), o.data.like('%"resume_at":"%'))
    query = select(c.system, o.at, o.data).join(connections, c.id == o.connection_id)
    query = query.where(o.type == STATUS, matters, chosen)
    for system, at, data in await connection.execute(query):
        _add_event(totals, system, at, msgspec.json.decode(data, type=_Status))


def _add_event(totals: Totals, system: str, at: datetime, status: _Status) -> None:
    ended = totals.setdefault((system, status.lane), Ended())
    if status.finished_at is None:
        if status.resume_at is not None:
            kind = status.error.kind if status.error else "other"
            seconds = max(0.0, (to_moment(status.resume_at) - at).total_seconds())
            ended.waits[kind] = ended.waits.get(kind, 0.0) + seconds
        return
    ended.states[status.state] = ended.states.get(status.state, 0) + 1
    if status.started_at is not None:
        took = (to_moment(status.finished_at) - to_moment(status.started_at)).total_seconds()
        ended.durations[bisect_left(BOUNDS, took)] += 1
        ended.seconds += max(0.0, took)
    _add_work(ended, status.counters.values(), status.requests, status.bytes, status.waited)


async def _add_live(connection: AsyncConnection, totals: Totals) -> None:
    c, of = syncs.c, connections.c
    query = (
        select(of.system, c.lane, c.counters, c.requests, c.bytes, c.waited)
        .join(connections, of.id == c.connection_id)
        .where(c.state.in_(OPEN), c.requests > 0)
    )
    for system, lane, counters, requests, received, waited in await connection.execute(query):
        counts = msgspec.convert(counters, dict[str, Counts]).values()
        _add_work(totals.setdefault((system, lane), Ended()), counts, requests, received, waited)


def _add_work(ended: Ended, counts: Iterable[Counts], requests: int, received: int, waited: int) -> None:
    """What a sync did. `waited` is in ms."""
    for each in counts:
        ended.read += each.read
        ended.written += each.new + each.changed + each.deleted
        ended.rejected += each.rejected
    ended.requests += requests
    ended.bytes += received
    ended.waited += waited / 1000
