"""The sync job: claim, read page by page, commit each, pass on. The main path of Tidegate.

A slice is some seconds of one sync. It claims the sync, takes turns over the partitions that are left,
commits every page with its cursor under the fence of the claim, and says how to go on: the next slice,
later, or the end. Whatever kills a slice, the next goes on after the last page that was committed.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing, nullcontext
from datetime import datetime, timedelta
from functools import partial
from random import Random

import msgspec
import structlog
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import (
    Adapter,
    AdapterError,
    BadTarget,
    Feed,
    Later,
    Missing,
    Page,
    Partition,
    QueryRejected,
)
from adapters.http import Meter
from config.failpoints import Step, passed
from config.logs import Redactor
from store import claims, connections, parts, records, rows
from store.connections import Connection
from store.database import Database
from store.parts import BY_KEY, CENSUS, CONFIRM, LOOK_AGAIN, NAMED, Part, Planned
from store.records import Prepared, Progress, Target, commit_page, prepare_page
from store.streams import StreamTables, analyse
from store.syncs import Counts, LostLeaseError, Ring, Sync
from worker import census, ending
from worker.ahead import ahead
from worker.holding import Holding
from worker.journal import Journal
from worker.outcome import End, Outcome, PassOn, conclude, gives_up_on, problem_of, wait, whole_connection
from worker.remote import Remotes
from worker.stumbling import caught

log = structlog.get_logger()

SLICE_SECONDS = 10.0
#: So long one partition is read while others wait for their turn.
TURN_SECONDS = 2.0
#: After so many new records within a sync the table is analysed.
ANALYSE_AT = (300, 3_000, 30_000, 300_000)
#: A partition that could not be read goes behind those that had fewer turns than this more.
TURNS_BACK = 10


class Deps(msgspec.Struct, frozen=True):
    """What a slice may touch. `owner` names this process; `stopping` says that it is to end."""

    database: Database
    tables: StreamTables
    remotes: Remotes
    owner: str
    stopping: Callable[[], bool]
    random: Random
    slice_seconds: float = SLICE_SECONDS
    turn_seconds: float = TURN_SECONDS
    #: What debug logs are masked by.
    redactor: Redactor = msgspec.field(default_factory=Redactor)
    holding: Holding = msgspec.field(default_factory=Holding)


class Slice(msgspec.Struct):
    """One slice at work: the claim, the remote, what was counted, and until when it may go on."""

    deps: Deps
    target: Target
    connection: Connection
    adapter: Adapter
    clock: Callable[[], datetime]
    meter: Meter
    progress: Progress
    until: float
    #: Parts whose state is to be written at the end of the slice: done without a page, failed, put back.
    touched: list[Part]
    #: The part whose turn it is, as it was last committed.
    current: Part | None = None
    #: A page answered another question than the pages before this sync, so that a census is wanted.
    renewed: bool = False
    #: The debug log, for a connection with `debug`.
    journal: Journal | None = None

    @property
    def sync(self) -> Sync:
        return self.target.sync

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until or self.deps.stopping()

    def measure(self) -> None:
        """Bring what the meter shows into what is written with the next page."""
        self.progress.requests = self.meter.requests
        self.progress.bytes = self.meter.bytes
        self.progress.waited = round(self.meter.waited * 1000)

    def touch(self, part: Part) -> Part:
        self.touched.append(part)
        if self.journal and part.error:
            self.journal.error(part.error, part)
        return part


async def run_slice(deps: Deps, sync_id: int) -> Sequence[Ring]:
    """Work on a sync for one slice. What is to be rung now: its next slice, or the next of its lane.

    Does nothing if the sync is not to be had. Raises only the database's failure or that of Redis; the sync
    then goes on when they are back.
    """
    async with deps.database.write() as connection:
        claimed = await claims.claim(connection, sync_id, deps.owner, shaken=deps.holding.shaken)
        passed(Step.CLAIM_WRITTEN)
    if claimed is None:
        return ()
    passed(Step.CLAIM_COMMITTED)
    sync, now = claimed
    with structlog.contextvars.bound_contextvars(
        connection=sync.connection_id, sync=sync.id, fence=sync.fence
    ):
        rings: list[Ring] = []
        async with caught(deps.database, deps.holding, deps.owner, sync):
            rings += await _run(deps, sync, now)
        return rings


async def _run(deps: Deps, sync: Sync, now: datetime) -> Sequence[Ring]:
    progress = Progress(sync.counters, sync.requests, sync.bytes, sync.waited, sync.progress_at or now)
    try:
        work = await _open(deps, sync, now, progress)
    except BadTarget as e:
        refused = QueryRejected(f"{e.field}: {e.message}")
        return await ending.write(deps, sync, progress, End("failed", {}, problem_of(refused), failure=True))
    async with work.journal or nullcontext():
        return await _to_its_end(work)


async def _to_its_end(work: Slice) -> Sequence[Ring]:
    deps, sync, progress = work.deps, work.sync, work.progress
    try:
        outcome = await _work(work)
    except Later as e:
        outcome = wait(sync, e, work.clock(), deps.random, pages=progress.pages)
    except AdapterError as e:
        outcome = End("failed", {}, problem_of(e), failure=True)
    except asyncio.CancelledError:
        # The process ends while the remote is silent: that is no crash, so the sync is handed over.
        await asyncio.shield(ending.write(deps, sync, progress, PassOn(), work.touched))
        raise
    work.measure()
    rings = await ending.write(deps, sync, progress, outcome, work.touched)
    if work.journal:
        work.journal.ended(outcome)
    return rings


async def _open(deps: Deps, sync: Sync, now: datetime, progress: Progress) -> Slice:
    began = time.monotonic()

    def clock() -> datetime:
        """The database's clock at the claim, plus the time since."""
        return now + timedelta(seconds=time.monotonic() - began)

    meter = Meter(sync.requests, sync.bytes, sync.waited / 1000)
    async with deps.database.read() as connection:
        of = await connections.get(connection, sync.connection_id)
        if of is None:
            raise LostLeaseError(f"connection {sync.connection_id} is gone")
        adapter = await deps.remotes.open(connection, of, clock, meter, sync.lane)
        quarantined = await records.is_quarantined(connection, of.id)
    chosen = None if of.streams is None else frozenset(of.streams)
    target = Target(sync, deps.owner, of.system, deps.tables, quarantined, chosen, adapter.overlap)
    work = Slice(deps, target, of, adapter, clock, meter, progress, began + deps.slice_seconds, [])
    if of.debug:
        work.journal = Journal(deps.database, deps.redactor, sync, clock)
        meter.watch = work.journal.watch
    return work


async def _work(work: Slice) -> Outcome:
    """Take turns over the parts that are left, until none is or the slice is over."""
    if not work.sync.planned:
        await _plan(work)
    async with work.deps.database.read() as connection:
        listed = await parts.listed(connection, work.sync.id)
    todo = deque(part for part in listed if not part.done)
    done = [part for part in listed if part.done]
    failing = 0
    while not (todo and work.deps.stopping()):
        if not todo and not await _more(work, todo, done):
            return await _concluded(work, done)
        part = work.current = todo.popleft()
        try:
            part = await _turn(work, part, alone=not todo)
            failing = 0
        except Later as e:
            failing += 1
            part = work.touch(replace(work.current, turns=part.turns + TURNS_BACK))
            if whole_connection(e):
                raise
            if _gives_up(work, done):
                part = work.touch(replace(part, error=problem_of(e), done=True))
            elif failing > 1 or not todo:
                # One stubborn partition lets the others go first; two in a row are the remote.
                raise
        except AdapterError as e:
            if whole_connection(e):
                raise
            part = work.touch(replace(work.current, error=problem_of(e), done=True))
        (done if part.done else todo).append(part)
        # Asked after the turn: even the shortest slice gets a page further.
        if todo and work.over:
            break
    return PassOn()


async def _more(work: Slice, todo: deque[Part], done: list[Part]) -> bool:
    """Whether a census, or what it leaves in doubt, follows now that nothing is left."""
    for part in await census.further(work, done):
        (done if part.done else todo).append(part)
    return bool(todo)


async def _concluded(work: Slice, done: Sequence[Part]) -> End:
    """What it came to; a stream that was read without finding anything is counted, too, with zeros."""
    counted = await census.receipts(work, done)
    end = conclude(done, work.progress.counters, _streams_read(work), counted)
    for stream in end.receipt:
        work.progress.counters.setdefault(stream, Counts())
    return end


def _gives_up(work: Slice, done: Sequence[Part]) -> bool:
    """Whether a part that does not answer is to end like that: others could be read, and long ago."""
    return gives_up_on(work.sync, work.clock()) and any(part.error is None for part in done)


def _feeds(work: Slice) -> list[Feed]:
    """The feeds with at least one stream that the connection selects."""
    chosen = work.connection.streams
    return [
        feed
        for feed in work.adapter.feeds
        if chosen is None or any(stream.name in chosen for stream in feed.streams)
    ]


def _streams_read(work: Slice) -> dict[str, list[str]]:
    """The streams that the receipt is about, by feed."""
    if work.sync.lane == "records" or work.sync.scope == "census":
        return {}
    chosen = work.connection.streams
    return {
        feed.name: [s.name for s in feed.streams if chosen is None or s.name in chosen]
        for feed in _feeds(work)
    }


async def _plan(work: Slice) -> None:
    """Ask the remote what there is to read, and write it down for this and the next slices."""
    planned: list[Planned] = []
    if work.sync.lane == "bulk" and work.sync.scope != "census":
        for feed in _feeds(work):
            try:
                planned += [Planned(feed.name, partition) for partition in await work.adapter.plan(feed.name)]
            except AdapterError as e:
                if isinstance(e, Later) or whole_connection(e):
                    raise
                if work.journal:
                    work.journal.error(problem_of(e))
                planned.append(Planned(feed.name, Partition("all"), problem_of(e)))
    planned += [Planned(NAMED, Partition(stream)) for stream in work.sync.keys]
    async with work.deps.database.write() as connection:
        await claims.hold(connection, work.sync, work.deps.owner)
        planned += [Planned(LOOK_AGAIN, Partition(name)) for name in await _unfinished(work, connection)]
        await parts.plan(connection, work.sync, planned)
        passed(Step.PLAN_WRITTEN)
    passed(Step.PLAN_COMMITTED)


async def _unfinished(work: Slice, connection: AsyncConnection) -> list[str]:
    """The streams with records to be looked at again: all unfinished with a bulk sync, else what is due."""
    if work.sync.scope == "census" or (work.sync.lane == "records" and not work.sync.look):
        return []
    names = [stream.name for feed in _feeds(work) for stream in feed.streams]
    return [name for name in names if await _looked_at(work, connection, name, "", 1)]


async def _looked_at(
    work: Slice, connection: AsyncConnection, stream: str, after: str, limit: int
) -> list[str]:
    table = work.deps.tables.get(work.connection.system, stream)
    due = None if work.sync.lane == "bulk" else work.clock()
    return await rows.unfinished(connection, table, work.connection.id, after, limit, due)


async def _turn(work: Slice, part: Part, *, alone: bool) -> Part:
    """Read a part until its end, or until it is another's turn."""
    if part.feed in BY_KEY:
        return await _by_key(work, part)
    if part.feed == CENSUS:
        return await census.count_keys(work, part)
    until = time.monotonic() + work.deps.turn_seconds
    partition = Partition(part.partition, part.mark)
    reading = work.adapter.read(part.feed, partition, part.cursor)
    async with aclosing(ahead(reading, partial(prepare_page, work.target))) as pages:
        async for prepared in pages:
            part = await _commit(work, part, prepared)
            if part.done or work.over or (not alone and time.monotonic() >= until):
                return part
    return work.touch(replace(part, done=True))


async def _by_key(work: Slice, part: Part) -> Part:
    """Read named or unfinished records, a batch at a time. The cursor is the last key that was asked."""
    while True:
        keys = await _next_keys(work, part)
        if not keys:
            return work.touch(replace(part, ended=True, done=True))
        fetched = await work.adapter.fetch(part.partition, keys)
        asked = len(work.sync.keys.get(part.partition, ()))
        page = Page(
            fetched.observed_at,
            cursor=keys[-1],
            records=fetched.records,
            rejected=fetched.rejected,
            expected={part.partition: asked} if part.feed == NAMED else None,
            families=fetched.families,
        )
        prepared = prepare_page(work.target, page)
        part = await _commit(work, part, prepared, fetched.missing)
        if work.over:
            return part


async def _next_keys(work: Slice, part: Part) -> list[str]:
    after, limit = part.cursor or "", work.adapter.batch
    if part.feed == CONFIRM:
        return await census.in_doubt(work, part, limit)
    if part.feed == NAMED:
        return [key for key in sorted(work.sync.keys[part.partition]) if key > after][:limit]
    async with work.deps.database.read() as connection:
        return await _looked_at(work, connection, part.partition, after, limit)


async def _commit(work: Slice, part: Part, prepared: Prepared, missing: Sequence[Missing] = ()) -> Part:
    """Commit a page. One that says nothing but that this is the end writes only that."""
    page = prepared.page
    if prepared.is_empty and not missing and page.cursor == part.cursor:
        ended = replace(part, ended=page.end, done=page.end)
        return work.touch(ended) if page.end else ended
    work.measure()
    work.renewed = work.renewed or page.renewed
    deps = work.deps
    before = work.progress.counters
    after = await commit_page(deps.database, work.target, part, prepared, work.progress, missing)
    work.current = after
    if work.journal:
        work.journal.page(after, prepared, before, work.progress.counters)
    for stream, counts in work.progress.counters.items():
        if _grown(before[stream].new if stream in before else 0, counts.new):
            await analyse(deps.database, deps.tables.get(work.connection.system, stream))
    return after


def _grown(before: int, after: int) -> bool:
    """Whether so many new records came that the database's idea of the table is outdated."""
    return any(before < size <= after for size in ANALYSE_AT)
