"""The debug log of a slice: what it asks, waits for and commits, for a connection with `debug`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.auth import secrets_in
from adapters.base import AdapterError, Keys
from adapters.budget import Asked
from adapters.reply import Reply
from config.logs import Redactor
from store import debug_log
from store.database import Database
from store.debug_log import Note
from store.health import Problem
from store.parts import Part
from store.records import Prepared
from store.syncs import Counts, LostLeaseError, Sync
from worker.outcome import End, Outcome, PassOn, Wait

log = structlog.get_logger()

#: How often lines are written while the slice runs.
WRITE_SECONDS = 1.0
#: Lines that wait to be written; a database that does not take them must not fill the memory.
WAITING_AT_MOST = 5_000
#: Shorter waits for the budget are not worth a line.
WAITED_FROM = 0.1
_LONGEST = 2_000  # characters
#: Times over; addresses that lead to addresses are encoded more than once.


class Journal:
    """Kept while a slice runs (`async with`): lines are noted at once, and written beside the pages.

    Whatever is noted goes through the redactor, which also learns what each request is signed with. Lines
    that the database does not take are dropped, and so are the last ones when the process is killed: a log
    never stops a sync.
    """

    def __init__(
        self, database: Database, redactor: Redactor, sync: Sync, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._redactor = redactor
        self._sync = sync
        self._clock = clock
        self._notes: list[Note] = []
        self._over = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        sync = self._sync
        named = {"lane": sync.lane, "scope": sync.scope, "trigger": sync.trigger, "fence": sync.fence}
        self._note("slice_begun", {**named, "keys": sum(map(len, sync.keys.values()))})
        self._writer = asyncio.create_task(self._write_now_and_then())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, LostLeaseError):
            self._note("slice_lost", {"message": str(error)})
        elif isinstance(error, asyncio.CancelledError):
            self._note("slice_ended", {"outcome": "handed over: the worker stops"})
        elif kind is not None:
            self._note("slice_broken", {"error": kind.__name__})
        self._over.set()
        # Also when the process ends, and with it this slice.
        await asyncio.shield(self._finish())

    async def watch(self, asked: Asked, answer: Awaitable[Reply]) -> Reply:
        """Await an answer, and note what was asked and what came of it."""
        for secret in secrets_in(asked.authorization):
            self._redactor.register(secret)
        if asked.waited >= WAITED_FROM:
            self._note("wait", {"ms": round(asked.waited * 1000), "url": asked.url})
        began = time.monotonic()
        told: dict[str, object] = {"method": asked.method, "url": asked.url}
        try:
            reply = await answer
        except AdapterError as e:
            took = round((time.monotonic() - began) * 1000)
            self._note("request", {**told, "ms": took, "error": e.kind, "message": e.message})
            raise
        took = round((time.monotonic() - began) * 1000)
        self._note("request", {**told, "status": reply.status, "ms": took, "bytes": len(reply.body)})
        return reply

    def page(
        self, part: Part, prepared: Prepared, before: Mapping[str, Counts], after: Mapping[str, Counts]
    ) -> None:
        """A page that was committed, with what it changed."""
        grown = {
            name: sum(getattr(counts, name) for counts in after.values())
            - sum(getattr(counts, name) for counts in before.values())
            for name in ("read", "new", "changed", "unchanged", "deleted", "rejected")
        }
        records = sum(map(len, prepared.ready.values()))
        named = {"feed": part.feed, "partition": part.partition, "records": records}
        self._note("page", {**named, **grown, "end": part.done})

    def keys(self, part: Part, keys: Keys) -> None:
        """A page of a census that was committed."""
        named = {"feed": part.feed, "partition": part.partition, "keys": len(keys.keys)}
        self._note("census", {**named, "end": part.done})

    def error(self, problem: Problem, part: Part | None = None) -> None:
        """What went wrong, and in which part if not everywhere."""
        where = {} if part is None else {"feed": part.feed, "partition": part.partition}
        told = {"kind": problem.kind, "message": problem.message, "hint": problem.hint}
        self._note("error", {**where, **told})

    def ended(self, outcome: Outcome) -> None:
        """What the slice came to."""
        match outcome:
            case PassOn():
                self._note("slice_ended", {"outcome": "goes on"})
            case Wait():
                self.error(outcome.error)
                self._note("slice_ended", {"outcome": "waits", "until": outcome.until.isoformat()})
            case End():
                if outcome.error is not None:
                    self.error(outcome.error)
                self._note("slice_ended", {"outcome": outcome.state})

    def _note(self, event: str, detail: Mapping[str, object]) -> None:
        if len(self._notes) < WAITING_AT_MOST:
            # Cut only when masked: of half a secret nobody would know that it is one.
            short = {
                name: self._redactor.text(value)[:_LONGEST] if isinstance(value, str) else value
                for name, value in detail.items()
            }
            self._notes.append(Note(self._clock(), event, short))

    async def _write_now_and_then(self) -> None:
        while not self._over.is_set():
            await self._write()
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._over.wait()

    async def _finish(self) -> None:
        if self._writer is not None:
            await self._writer
        await self._write(trim=True)

    async def _write(self, *, trim: bool = False) -> None:
        notes, self._notes = self._notes, []
        if not notes:
            return
        try:
            async with self._database.write() as connection:
                await debug_log.add(connection, self._sync.connection_id, self._sync.id, notes)
                if trim:
                    await debug_log.trim(connection, self._sync.connection_id)
        except (SQLAlchemyError, OSError) as e:
            log.warning("journal.lost", lines=len(notes), error=type(e).__name__)
