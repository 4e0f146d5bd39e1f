"""Queue triggers: whoever can write to Redis asks for a sync by adding to a stream, in any language.

An entry is acknowledged once its sync is in the database. What a consumer that died left unacknowledged is
taken over, and what cannot be understood is put aside with the reason.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import SQLAlchemyError

from config.failpoints import Step, passed
from scheduler.dispatch import ClosedError, RememberedError, Request, open_sync
from scheduler.scheduler import Bell
from store import connections
from store.connections import Connection
from store.database import Database, clock
from store.streams import StreamTables
from store.syncs import Ring

log = structlog.get_logger()

STREAM = "tidegate:triggers"
REJECTED = "tidegate:triggers:rejected"
GROUP = "tidegate"
FIELDS = ("connection", "scope", "stream", "keys")
BATCH = 100
BLOCK_SECONDS = 2.0
#: What another consumer has held for so long without acknowledging it is taken over.
TAKEN_OVER_SECONDS = 30.0
AGAIN_SECONDS = 1.0
REJECTED_KEPT = 10_000
KEYS_MOST = 10_000

Entry = tuple[bytes, Mapping[bytes, bytes]]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an entry asks for. `connection` is an id or a name; `keys` are a JSON list, or apart by commas."""

    connection: str
    scope: Literal["incremental", "full", "census", "records"] = "incremental"
    stream: str | None = None
    keys: str | None = None


class RefusedError(Exception):
    """An entry that no sync can be opened for; the text says why, for whoever sent it."""


class Triggers:
    """Takes triggers until it is stopped. Any number may run side by side; Redis gives each entry to one."""

    def __init__(
        self,
        database: Database,
        tables: StreamTables,
        redis: Redis,
        bell: Bell,
        owner: str,
        taken_over_seconds: float = TAKEN_OVER_SECONDS,
    ) -> None:
        self._database = database
        self._tables = tables
        self._redis = redis
        self._bell = bell
        self._owner = owner
        self._taken_over_ms = round(taken_over_seconds * 1000)
        self._look_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. While Redis or the database is away, entries stay where they are."""
        while not stop.is_set():
            try:
                await self.take(BLOCK_SECONDS)
            except (SQLAlchemyError, RedisError, OSError) as e:
                log.warning("triggers.failed", error=str(e))
                await asyncio.sleep(AGAIN_SECONDS)

    async def take(self, block_seconds: float) -> int:
        """Open syncs for the entries that are there, or come within some seconds. How many entries."""
        entries = [*await self._abandoned(), *await self._new(block_seconds)]
        rings = [await self._settle(entry) for entry in entries]
        await self._bell.ring([ring for ring in rings if ring is not None])
        return len(entries)

    async def _new(self, block_seconds: float) -> Sequence[Entry]:
        try:
            found = await self._redis.xreadgroup(
                GROUP, self._owner, {STREAM: ">"}, count=BATCH, block=round(block_seconds * 1000)
            )
        except ResponseError as e:
            # A Redis that is new, or was emptied, has no group.
            if "NOGROUP" not in str(e):
                raise
            await self._make_group()
            return ()
        return found[0][1] if found else ()

    async def _abandoned(self) -> Sequence[Entry]:
        """What was given out and never acknowledged: its consumer died, or the database was away."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return ()
        self._look_at = now + self._taken_over_ms / 3000
        try:
            _, entries, *_ = await self._redis.xautoclaim(
                STREAM, GROUP, self._owner, min_idle_time=self._taken_over_ms, count=BATCH
            )
        except ResponseError as e:
            if "NOGROUP" not in str(e):
                raise
            await self._make_group()
            return ()
        return [entry for entry in entries if entry[1] is not None]

    async def _make_group(self) -> None:
        try:
            # From the beginning: what was sent before there was a group is wanted, too.
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as e:
            if "BUSYGROUP" not in str(e):
                raise

    async def _settle(self, entry: Entry) -> Ring | None:
        number, fields = entry
        ring = None
        passed(Step.TRIGGER_READ)
        try:
            ring = await self._open(_wanted(fields))
            passed(Step.TRIGGER_COMMITTED)
        except RefusedError as e:
            log.warning("triggers.rejected", entry=number.decode(), reason=str(e))
            told: Any = {**fields, b"reason": str(e), b"id": number}
            await self._redis.xadd(REJECTED, told, maxlen=REJECTED_KEPT, approximate=True)
        await self._redis.xack(STREAM, GROUP, number)
        await self._redis.xdel(STREAM, number)
        passed(Step.TRIGGER_ACKNOWLEDGED)
        return ring

    async def _open(self, wanted: Wanted) -> Ring | None:
        """Raises `RefusedError` for what cannot be; a paused connection only remembers."""
        async with self._database.write() as connection:
            found = None
            if wanted.connection.isascii() and wanted.connection.isdigit() and len(wanted.connection) < 19:
                found = await connections.get(connection, int(wanted.connection))
            found = found or await connections.by_name(connection, wanted.connection)
            if found is None:
                raise RefusedError(f"There is no connection {wanted.connection[:200]}.")
            request = self._request(found, wanted)
            try:
                opened = await open_sync(connection, found.id, request, await clock(connection))
                passed(Step.TRIGGER_WRITTEN)
                return opened.ring
            except ClosedError as e:
                raise RefusedError(str(e)) from None
            except RememberedError as e:
                log.info("triggers.remembered", connection=found.id, reason=str(e))
                return None

    def _request(self, found: Connection, wanted: Wanted) -> Request:
        if wanted.scope != "records":
            if wanted.stream or wanted.keys:
                raise RefusedError("stream and keys belong to the scope records.")
            return Request("queue", wanted.scope)
        known = found.streams or [table.stream.name for table in self._tables.of(found.system)]
        if wanted.stream not in known:
            raise RefusedError(f"The scope records needs a stream: one of {', '.join(known)}.")
        keys = _keys(wanted.keys or "")
        if not 0 < len(keys) <= KEYS_MOST:
            raise RefusedError(f"The scope records needs keys: 1 to {KEYS_MOST}, apart by commas or as JSON.")
        return Request("queue", "records", {wanted.stream: keys})


def _wanted(fields: Mapping[bytes, bytes]) -> Wanted:
    try:
        told = {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError:
        raise RefusedError("The entry is not UTF-8.") from None
    if any("\x00" in value for value in told.values()):
        raise RefusedError("The entry holds a NUL character.")
    try:
        return msgspec.convert(told, Wanted)
    except msgspec.ValidationError as e:
        raise RefusedError(f"{e}. The fields are {', '.join(FIELDS)}.") from None


def _keys(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            return list(dict.fromkeys(msgspec.json.decode(text, type=list[str])))
        except msgspec.DecodeError as e:
            raise RefusedError(f"keys are no JSON list of texts: {e}.") from None
    return list(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))
