"""What follows the reading where a census is wanted: counting keys, and asking for what that leaves in doubt.

A record is called gone only when a census misses it and the remote says so by its key. What a census finds
and we do not have is read by its key, too.
"""

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import AdapterError, Feed, Later, Partition
from store import census, claims, parts
from store.census import Count, Span
from store.health import Problem
from store.parts import CENSUS, CONFIRM, INNER, Part, Planned
from store.records import commit_keys
from store.syncs import Receipt
from worker.outcome import problem_of, whole_connection

if TYPE_CHECKING:
    from worker.sync import Slice

#: So many records may vanish at once whatever share of all that is.
FEW = 9
#: A larger share than this of a stream does not vanish at once without being asked about.
SHARE = 0.5


async def further(work: "Slice", done: Sequence[Part]) -> list[Part]:
    """What is left to do when all that was planned is done; nothing if that was the whole sync."""
    if work.sync.lane != "bulk" or any(part.feed == CONFIRM for part in done):
        return []
    reading = [part for part in done if part.feed not in INNER]
    if reading and all(part.error is not None for part in reading):
        return []
    if not _wanted(work):
        return []
    counted = work.sync.scope == "full" or any(part.feed == CENSUS for part in done)
    # A census without a single partition is over at once.
    planned = ([] if counted else await _partitions(work)) or await _doubts(work, done)
    return await _written(work, planned, len(done)) if planned else []


async def count_keys(work: "Slice", part: Part) -> Part:
    """Note the keys of one partition, until its end or that of the slice."""
    stream, _, name = part.partition.partition("/")
    reading = work.adapter.census(stream, Partition(name, part.mark), part.cursor)
    async with aclosing(reading) as pages:
        async for keys in pages:
            work.measure()
            part = await commit_keys(work.deps.database, work.target, part, keys, work.progress)
            work.current = part
            if work.journal:
                work.journal.keys(part, keys)
            if part.done or work.over:
                return part
    return work.touch(replace(part, done=True))


async def in_doubt(work: "Slice", part: Part, limit: int) -> list[str]:
    """The next keys that are to be asked for."""
    async with work.deps.database.read() as connection:
        return await census.in_doubt(connection, _span(work, part.partition), part.cursor or "", limit)


async def receipts(work: "Slice", done: Sequence[Part]) -> dict[str, Receipt]:
    """Of each stream that was counted to its end: what the remote has, and what of it is stored. A full sync
    has read what the remote has, and expects what it was told there: `expected` is None.
    """
    full = work.sync.scope == "full"
    if not full and not any(part.feed == CENSUS for part in done):
        return {}
    found: dict[str, Receipt] = {}
    async with work.deps.database.read() as connection:
        for _, stream in _streams(work):
            if _whole(work, done, stream):
                seen, stored = await census.matched(connection, _span(work, stream))
                settled = all(part.error is None for part in done if _confirms(part, stream))
                found[stream] = Receipt(None if full else seen, stored, settled and stored >= seen)
    return found


def _wanted(work: "Slice") -> bool:
    return work.sync.scope in ("full", "census") or work.sync.census or work.renewed


async def _partitions(work: "Slice") -> list[Planned]:
    planned: list[Planned] = []
    for feed in dict.fromkeys(feed for feed, _ in _streams(work)):
        names = [stream for of, stream in _streams(work) if of is feed]
        found: list[tuple[str, str, Problem | None]]
        try:
            found = [(one.name, one.mark, None) for one in await work.adapter.plan(feed.name)]
        except AdapterError as e:
            if isinstance(e, Later) or whole_connection(e):
                raise
            found = [("all", "", problem_of(e))]
        planned += [
            Planned(CENSUS, Partition(f"{stream}/{name}", mark), error)
            for stream in names
            for name, mark, error in found
        ]
    return planned


async def _doubts(work: "Slice", done: Sequence[Part]) -> list[Planned]:
    """For each stream that was counted to its end: what is to be asked by key, or why it is not."""
    planned: list[Planned] = []
    async with work.deps.database.read() as connection:
        for _, stream in _streams(work):
            if _whole(work, done, stream):
                told = await census.count(connection, _span(work, stream))
                if _suspicious(told) and not work.sync.accept_loss:
                    planned.append(Planned(CONFIRM, Partition(stream), _mass_loss(stream, told)))
                elif told.lost or told.unknown:
                    planned.append(Planned(CONFIRM, Partition(stream)))
    return planned


def _suspicious(told: Count) -> bool:
    everything = told.lost == told.living and told.lost > 1
    return everything or (told.lost > FEW and told.lost > SHARE * told.living)


def _mass_loss(stream: str, told: Count) -> Problem:
    return Problem(
        "mass_loss",
        f"{told.lost} of {told.living} {stream} would be gone at once, so not one was marked as gone.",
        "See whether the account lost a permission or the query changed. If they are really gone, ask for a "
        "census that accepts the loss: tidegate sync CONNECTION --scope census --accept-loss.",
    )


async def _written(work: "Slice", planned: Sequence[Planned], behind: int) -> list[Part]:
    async with work.deps.database.write() as connection:
        await claims.hold(connection, work.sync, work.deps.owner)
        await parts.plan(connection, work.sync, planned, behind)
        return await _unread(connection, work.sync.id, planned)


async def _unread(connection: AsyncConnection, sync_id: int, planned: Sequence[Planned]) -> list[Part]:
    names = {(one.feed, one.partition.name) for one in planned}
    return [part for part in await parts.listed(connection, sync_id) if (part.feed, part.partition) in names]


def _streams(work: "Slice") -> Iterator[tuple[Feed, str]]:
    """The streams that a census asks for, with their feeds."""
    for feed in work.adapter.feeds:
        for stream in feed.streams:
            if not stream.embedded and work.target.takes(stream.name):
                yield feed, stream.name


def _whole(work: "Slice", done: Sequence[Part], stream: str) -> bool:
    """Whether all keys of the stream were seen: of a part that failed nothing can be said."""
    if work.sync.scope == "full":
        feeds = {feed.name for feed, name in _streams(work) if name == stream}
        mine = [part for part in done if part.feed in feeds]
    else:
        mine = [part for part in done if part.feed == CENSUS and part.partition.startswith(f"{stream}/")]
    return all(part.ended and part.error is None for part in mine)


def _confirms(part: Part, stream: str) -> bool:
    return part.feed == CONFIRM and part.partition == stream


def _span(work: "Slice", stream: str) -> Span:
    table = work.deps.tables.get(work.connection.system, stream)
    return Span(work.sync.id, work.connection.id, table, work.sync.started_at or work.sync.queued_at)
