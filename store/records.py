"""One page, one transaction: records, quarantine, cursor, counters and events, guarded by the fence."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

import msgspec
from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Keys, Missing, Page, Rejected, Stream
from config.failpoints import Step, passed
from store import census, claims, parts, rows, syncs
from store.database import Database
from store.health import settle
from store.parts import LOOK_AGAIN, Part
from store.rows import Ready
from store.schema import connections, quarantine
from store.streams import StreamTables
from store.syncs import PERSONAL, Counts, Sync
from store.tombstones import Buried, When, bury, count_buried, settle_families

PROGRESS_EVERY = timedelta(seconds=1)


class Progress(msgspec.Struct):
    """What a sync has come to, kept by whoever holds it and written with every page. `waited` in ms."""

    counters: dict[str, Counts]
    requests: int = 0
    bytes: int = 0
    waited: int = 0
    told_at: datetime | None = None
    #: Pages committed since the claim.
    pages: int = 0

    def columns(self) -> dict[str, object]:
        """For the sync's row."""
        return {
            "counters": self.counters,
            "requests": self.requests,
            "bytes": self.bytes,
            "waited": self.waited,
            "progress_at": self.told_at,
        }


class Target(msgspec.Struct, frozen=True):
    """Where pages go: the sync, who holds it, and the tables of its system.

    `quarantined`: the connection has records in quarantine, which a good reading frees. `streams` are those
    that the connection selects; a feed may bring more. `lag` is by how much the remote's lists may be late.
    """

    sync: Sync
    owner: str
    system: str
    tables: StreamTables
    quarantined: bool = False
    streams: frozenset[str] | None = None
    lag: timedelta = timedelta(0)

    def takes(self, stream: str) -> bool:
        return self.streams is None or stream in self.streams

    def stream(self, name: str) -> Stream:
        return self.tables.get(self.system, name).stream


class Prepared(msgspec.Struct, frozen=True):
    """A page that is ready to be written: the hashes are made, what no database can hold is rejected."""

    page: Page
    ready: Mapping[str, Sequence[Ready]]
    rejected: Sequence[Rejected]

    @property
    def is_empty(self) -> bool:
        return not self.ready and not self.rejected


def prepare_page(to: Target, page: Page) -> Prepared:
    """The work on a page that needs no transaction."""
    passed(Step.PAGE_FETCHED)
    ready: dict[str, list[Ready]] = {}
    rejected = [one for one in page.rejected if to.takes(one.stream)]
    for record in page.records:
        if not to.takes(record.stream):
            continue
        one = rows.prepare(record, to.tables.get(to.system, record.stream).stream)
        if isinstance(one, Rejected):
            rejected.append(one)
        else:
            ready.setdefault(record.stream, []).append(one)
    passed(Step.PAGE_PREPARED)
    return Prepared(page, ready, rejected)


class _Sum(msgspec.Struct):
    """What a transaction adds up to while it is written."""

    change: int
    look_at: datetime | None
    counted: dict[str, Counts]
    stored: dict[str, int]

    def bury(self, buried: Buried) -> None:
        self.change = buried.change
        for stream, number in buried.counts.items():
            self.counted.setdefault(stream, Counts()).deleted += number


async def commit_page(
    database: Database,
    to: Target,
    part: Part,
    prepared: Prepared,
    progress: Progress,
    missing: Sequence[Missing] = (),
) -> Part:
    """Write a page and all that follows from it, or nothing. The part as it stands afterwards.

    Raises `LostLeaseError` if the sync is not ours any more. `progress` counts the page once it is in.
    `missing` are keys of the part that were asked for and are not there; the part's partition is then
    their stream.
    """
    page, rejected = prepared.page, prepared.rejected
    counted = {name: msgspec.structs.replace(counts) for name, counts in progress.counters.items()}
    async with database.write() as connection:
        held, now = await claims.hold(connection, to.sync, to.owner)
        sums = _Sum(int(held["change_sequence"]), held["next_look_at"], counted, dict(part.stored))
        when = When(to.sync.connection_id, page.observed_at, now)
        await _write(connection, to, part, prepared, sums, when)
        if missing:
            await _write_missing(connection, to, part, missing, sums, when)
        for one in rejected:
            counts = counted.setdefault(one.stream, Counts())
            counts.read, counts.rejected = counts.read + 1, counts.rejected + 1
        if to.quarantined:
            await _release(connection, to.sync.connection_id, prepared.ready)
        await _quarantine(connection, to.sync, rejected, now)
        await _see(connection, to, part, prepared)
        after = await _advance(connection, to.sync, part, page, sums.stored, now)
        await _tally(connection, to.sync, progress, counted, now)
        await _note(connection, held, now, sums.change, sums.look_at)
        passed(Step.PAGE_WRITTEN)
    passed(Step.PAGE_COMMITTED)
    progress.counters = counted
    progress.pages += 1
    return after


async def commit_keys(database: Database, to: Target, part: Part, keys: Keys, progress: Progress) -> Part:
    """Note a page of a census, like `commit_page`. The part's partition begins with the stream."""
    stream = part.partition.partition("/")[0]
    async with database.write() as connection:
        held, now = await claims.hold(connection, to.sync, to.owner)
        await census.see(connection, to.sync.id, stream, keys.keys)
        page = Page(keys.observed_at, keys.cursor, end=keys.end)
        after = await _advance(connection, to.sync, part, page, part.stored, now)
        await _tally(connection, to.sync, progress, progress.counters, now)
        await _note(connection, held, now, int(held["change_sequence"]), held["next_look_at"])
        passed(Step.KEYS_WRITTEN)
    passed(Step.KEYS_COMMITTED)
    progress.pages += 1
    return after


async def _write(
    connection: AsyncConnection, to: Target, part: Part, prepared: Prepared, sums: _Sum, when: When
) -> None:
    """The records of a page. What is embedded comes after what it is embedded in, and shares its fate: of a
    parent that is known newer, older children prove nothing.
    """
    older: dict[str, frozenset[str]] = {}
    settled: dict[str, frozenset[str]] = {}
    for name in sorted(prepared.ready, key=lambda name: to.stream(name).embedded):
        table, mine = to.tables.get(to.system, name), prepared.ready[name]
        if table.stream.embedded and (stale := older.get(table.stream.parent or "")):
            mine = [item for item in mine if item.record.parent not in stale]
        written = await rows.write(
            connection,
            table,
            when.connection_id,
            mine,
            when.observed_at,
            when.now,
            sums.change,
            looking=part.feed == LOOK_AGAIN,
            lag=timedelta(0) if part.feed in parts.BY_KEY else to.lag,
        )
        older[name] = written.older
        # Of a parent that is new nothing can be missing.
        settled[name] = written.older | written.fresh
        sums.change = written.change
        sums.look_at = min(filter(None, (sums.look_at, written.look_at)), default=None)
        sums.stored[name] = sums.stored.get(name, 0) + written.stored
        _count(sums.counted, name, written)
    told = {family.stream for family in prepared.page.families if to.takes(family.stream)}
    known = {name: settled.get(to.stream(name).parent or "", frozenset()) for name in told}
    families = [
        family
        for family in prepared.page.families
        if family.stream in known and family.parent not in known[family.stream]
    ]
    if families:
        sums.bury(await settle_families(connection, to.tables, to.system, when, families, sums.change))


async def _write_missing(
    connection: AsyncConnection, to: Target, part: Part, missing: Sequence[Missing], sums: _Sum, when: When
) -> None:
    """What was asked for by key and is not there.

    An unfinished record that no census missed stays as known and is asked for later. For the receipt of
    named records, one with a tombstone is settled; and of one that was never known there is nothing to
    settle, unless a person asked for it.
    """
    table = to.tables.get(to.system, part.partition)
    if part.feed == LOOK_AGAIN:
        keys = [one.key for one in missing]
        await rows.miss(connection, table, when.connection_id, keys, when.observed_at)
        return
    gone = {one.key: one.reason for one in missing}
    sums.bury(await bury(connection, to.tables, table, when, gone, sums.change))
    settled = len(gone)
    if to.sync.trigger in PERSONAL:
        settled = await count_buried(connection, table, when.connection_id, list(gone))
    sums.stored[part.partition] = sums.stored.get(part.partition, 0) + settled


async def _see(connection: AsyncConnection, to: Target, part: Part, prepared: Prepared) -> None:
    """A full read is a census, too. A page of another question than before asks for one."""
    if prepared.page.renewed and to.sync.scope == "incremental":
        await syncs.set_values(connection, to.sync.id, {"census": True})
    if to.sync.scope != "full" or part.feed in parts.INNER:
        return
    for name, mine in prepared.ready.items():
        if not to.stream(name).embedded:
            await census.see(connection, to.sync.id, name, [item.record.key for item in mine])
    for one in prepared.rejected:
        if one.key and not to.stream(one.stream).embedded:
            await census.see(connection, to.sync.id, one.stream, [one.key])


def _count(counted: dict[str, Counts], stream: str, written: rows.Written) -> None:
    counts = counted.setdefault(stream, Counts())
    counts.read += written.new + written.changed + written.unchanged
    counts.new += written.new
    counts.changed += written.changed
    counts.unchanged += written.unchanged


async def _advance(
    connection: AsyncConnection, sync: Sync, part: Part, page: Page, stored: Mapping[str, int], now: datetime
) -> Part:
    """Move the part's cursor, and the connection's where the sync reads incrementally."""
    after = msgspec.structs.replace(
        part,
        cursor=page.cursor,
        ended=page.end,
        done=page.end,
        turns=part.turns + 1,
        expected=dict(page.expected) if page.expected is not None else part.expected,
        stored=dict(stored),
    )
    await parts.advance(connection, sync.id, after)
    if sync.scope == "incremental" and part.feed not in parts.INNER and page.cursor != part.cursor:
        await parts.keep_cursor(connection, sync.connection_id, part, page.cursor, now)
    return after


async def _tally(
    connection: AsyncConnection, sync: Sync, progress: Progress, counted: Mapping[str, Counts], now: datetime
) -> None:
    """Count the page on the sync, and tell how it gets on, once a second at most."""
    tell = progress.told_at is None or now - progress.told_at >= PROGRESS_EVERY
    if tell:
        progress.told_at = now
    await syncs.tally(connection, sync.id, {**progress.columns(), "counters": counted})
    if tell:
        await syncs.tell(connection, sync.id, now)


_NOTE = (
    update(connections)
    .where(connections.c.id == bindparam("connection"))
    .values(
        change_sequence=bindparam("new_change_sequence"),
        next_look_at=bindparam("new_next_look_at"),
        unavailable=bindparam("new_unavailable"),
        crashes=bindparam("new_crashes"),
        limited_until=bindparam("new_limited_until"),
    )
)


async def _note(
    connection: AsyncConnection, held: RowMapping, now: datetime, change: int, look_at: datetime | None
) -> None:
    """What a page means for the connection: its counter, its next look, and that the remote answers."""
    before = {
        name: held[name]
        for name in ("change_sequence", "next_look_at", "unavailable", "crashes", "limited_until")
    }
    after = {
        "change_sequence": change,
        "next_look_at": look_at,
        "unavailable": 0,
        "crashes": 0,
        "limited_until": None,
    }
    news = {name: value for name, value in after.items() if before[name] != value}
    if news:
        await connection.execute(
            _NOTE, {"connection": held["id"], **{f"new_{k}": v for k, v in after.items()}}
        )
    if news.keys() & {"unavailable", "limited_until"}:
        await settle(connection, held["id"], now)


async def is_quarantined(connection: AsyncConnection, connection_id: int) -> bool:
    """Whether any record of the connection is in quarantine."""
    query = select(exists().where(quarantine.c.connection_id == connection_id))
    return bool((await connection.execute(query)).scalar())


async def _release(
    connection: AsyncConnection, connection_id: int, ready: Mapping[str, Sequence[Ready]]
) -> None:
    """What can be read again leaves the quarantine."""
    c = quarantine.c
    for stream, items in ready.items():
        keys = [item.record.key for item in items]
        where = (c.connection_id == connection_id, c.stream == stream, c.key.in_(keys))
        await connection.execute(quarantine.delete().where(*where))


async def _quarantine(
    connection: AsyncConnection, sync: Sync, rejected: Sequence[Rejected], now: datetime
) -> None:
    """Keep what could not be read, once per key; without a key, once per content."""
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    for one in rejected:
        values = {
            "connection_id": sync.connection_id,
            "stream": one.stream,
            "key": (one.key or "").replace("\x00", "") or "?" + blake2b(one.body, digest_size=8).hexdigest(),
            "reason": one.reason.replace("\x00", ""),
            "body": one.body.decode(errors="replace").replace("\x00", "\ufffd"),
            "sync_id": sync.id,
            "at": now,
        }
        keep = {name: values[name] for name in ("reason", "body", "sync_id", "at")}
        made = upsert(quarantine).values(values)
        where = ["connection_id", "stream", "key"]
        await connection.execute(made.on_conflict_do_update(index_elements=where, set_=keep))
