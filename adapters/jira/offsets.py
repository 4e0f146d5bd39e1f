"""A walk over pages by offset: side by side, and proven to have no gap between them.

Rows move while they are read: one that is deleted, or leaves the filter, shifts all behind it. So each page
begins with the last rows of the page before. Where one of them is met again, nothing slipped between: an
issue that nobody touched keeps its place among the others. Where none is, the walk goes back to the
minute that it had come to, and asks for what lies behind by time instead of by offset.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters.base import AdapterError, Page, Rejected, TooLarge, Unavailable, Unreadable
from adapters.http import Reply
from adapters.jira.issue import ISSUES, Issue, decode_issue
from adapters.jira.question import Question
from adapters.jira.walk import OVERLAP, Cursor, Offsets, fingerprint, minute, order_of, page_of, reached
from adapters.jira.whole import Lists, completed, grouped
from adapters.times import from_millis, to_millis

#: So many pages are on their way behind the one that is worked on.
AHEAD = 4
#: One row in so many is read twice, to prove that pages join.
_SHARE = 20
#: So often in a row the walk goes back to the same minute.
_RESTARTS_MOST = 5

_OVERLAP_MS = int(OVERLAP.total_seconds() * 1000)

#: The id of a row, and the time by which it is sorted, in epoch ms.
Row = tuple[str, int | None]


class Found(Protocol):
    """A page of search results; `total` counts all rows of the query, exactly."""

    @property
    def issues(self) -> Sequence[Raw]: ...

    @property
    def total(self) -> int: ...


class Searched(Lists, Protocol):
    """A site that is searched by offset."""

    async def search(self, jql: str, at: int) -> tuple[Reply, Found]:
        """One page, with fewer rows than asked for where the site is set so. Raises `TooLarge`."""

    async def count(self, jql: str) -> int: ...

    def smaller(self) -> bool:
        """Ask for smaller pages from now on; False if that cannot be."""


class _Seen(msgspec.Struct, frozen=True):
    """A page as it was understood, in the order of its rows."""

    reply: Reply
    total: int
    issues: list[Issue | Rejected]
    rows: tuple[Row, ...]
    times: list[datetime | None]


async def walk(site: Searched, question: Question, cursor: Cursor) -> AsyncGenerator[Page, None]:
    """Pages in order; `expected` is the exact number of the whole range.

    Raises `Unavailable` where issues change faster than they can be read.
    """
    at = cursor.walk if isinstance(cursor.walk, Offsets) else Offsets(start=cursor.since)
    restarts = 0
    async with aclosing(_Ahead(site)) as pages:
        while True:
            reply, found = await pages.get(question.jql(cursor.since, at.start), at.at)
            seen = _understood(reply, found, cursor)
            if at.asked_at is None:
                at = replace(at, asked_at=to_millis(reply.asked_at))
            if not _joins(at, seen):
                again = _back(at)
                restarts = restarts + 1 if again.start == at.start else 1
                if restarts > _RESTARTS_MOST:
                    raise _restless(seen)
                at = again
                continue
            fresh, spoilt = _new(at, seen)
            *groups, last = grouped(site, fresh)
            for group in groups:
                part = await completed(site, group)
                at = replace(at, given=(*at.given, *part.ids))
                yield page_of(reply, cursor.at(at), part)
            whole = await completed(site, last)
            at = _stepped(at, seen)
            if not _is_last(seen, at):
                total = {ISSUES.name: seen.total} if at.start == cursor.since else None
                yield page_of(reply, cursor.at(at), whole, spoilt, total)
                continue
            total = {ISSUES.name: await _total(site, question, cursor, at, seen)}
            yield page_of(reply, cursor.done(at.asked_at or 0), whole, spoilt, total, end=True)
            return


def overlap(rows: int) -> int:
    """How many rows of a page begin the next one, too; fewer than it has."""
    return min(max(1, rows // _SHARE), rows - 1) if rows else 0


def _understood(reply: Reply, found: Found, cursor: Cursor) -> _Seen:
    issues = [decode_issue(raw) for raw in found.issues]
    times = [order_of(cursor.since, [one])[0] if isinstance(one, Issue) else None for one in issues]
    rows = tuple((_name(one), to_millis(t) if t else None) for one, t in zip(issues, times, strict=True))
    return _Seen(reply, found.total, issues, rows, times)


def _name(one: Issue | Rejected) -> str:
    """What a row is known by from page to page, also where its id is not legible."""
    return one.key if isinstance(one, Issue) else one.key or fingerprint(one.body.decode(errors="replace"))


def _joins(at: Offsets, seen: _Seen) -> bool:
    """Whether nothing can lie between this page and what was read before.

    A row that changed in the last minutes proves nothing: the index may move it to the end only now. What
    lies behind such rows is as young, and the next walk reads it in any case.
    """
    if not seen.rows:
        return at.at == 0 and seen.total <= 0
    if at.at == 0:
        return True
    settled = [row for row in at.tail if _settled(at, row)]
    if not settled:
        return not any(_settled(at, row) for row in seen.rows)
    met = any(row in seen.rows for row in settled)
    stands_still = at.at + len(seen.rows) < seen.total and seen.rows[-1] in at.tail
    return met and not stands_still


def _settled(at: Offsets, row: Row) -> bool:
    """Whether the index had time enough to know the row's present time when the walk began."""
    return row[1] is None or row[1] < (at.asked_at or 0) - _OVERLAP_MS


def _new(at: Offsets, seen: _Seen) -> tuple[list[Issue], list[Rejected]]:
    """The rows that were not in the page before, and not given already."""
    known = set(at.tail)
    new = [one for one, row in zip(seen.issues, seen.rows, strict=True) if row not in known]
    issues = [one for one in new if isinstance(one, Issue) and one.key not in at.given]
    return issues, [one for one in new if isinstance(one, Rejected)]


def _stepped(at: Offsets, seen: _Seen) -> Offsets:
    """Behind a page that joins: where the next one begins, which is before this one's end."""
    again = overlap(len(seen.rows))
    joint = max((i for i, row in enumerate(seen.rows, 1) if row in at.tail), default=0)
    begun = from_millis(at.asked_at) or seen.reply.asked_at
    return replace(
        at,
        at=at.at + len(seen.rows) - again,
        tail=seen.rows[len(seen.rows) - again :],
        after=reached(at.after, seen.times, begun),
        rows=at.rows + len(seen.rows) - joint,
        given=(),
    )


def _is_last(seen: _Seen, after: Offsets) -> bool:
    """Whether Jira counts no row behind this page."""
    return after.at + len(after.tail) >= seen.total


def _back(at: Offsets) -> Offsets:
    """From the minute on that was reached, by time: no offset is left that could have shifted."""
    start = at.start if at.after is None else minute(max(at.after, at.start or 0))
    return Offsets(at.asked_at, start, after=at.after)


def _restless(seen: _Seen) -> AdapterError:
    if not seen.rows:
        return Unreadable(
            f"Jira says that {seen.total} issues match, and gives none of them.",
            "If it stays so, have the site's search index rebuilt, or narrow this connection's query.",
        )
    return Unavailable(
        "Issues change faster than Jira's pages can be read.",
        hint="Nothing is lost: Tidegate tries again; if it stays so, narrow this connection's query.",
    )


async def _total(site: Searched, question: Question, cursor: Cursor, at: Offsets, last: _Seen) -> int:
    """The exact number of the range. Where rows came or went, of those that nobody touched meanwhile:

    others may have entered where the walk had been already, and the next one reads them.
    """
    if at.start == cursor.since and at.rows >= last.total:
        return last.total
    begun = from_millis(at.asked_at) or last.reply.asked_at
    return await site.count(question.untouched(cursor.since, begun))


class _Ahead:
    """Asks for the pages that will follow while one is worked on, and gives each when its turn has come."""

    def __init__(self, site: Searched) -> None:
        self._site = site
        self._jql = ""
        self._asked: dict[int, asyncio.Task[tuple[Reply, Found]]] = {}

    async def get(self, jql: str, at: int) -> tuple[Reply, Found]:
        """The page from this offset on, in smaller pieces where it was too large for one answer."""
        while True:
            if jql != self._jql or at not in self._asked:
                await self.aclose()
                self._jql = jql
                self._ask(at)
            try:
                reply, found = await self._asked.pop(at)
            except TooLarge:
                if not self._site.smaller():
                    raise
                continue
            self._go_on(at, len(found.issues), found.total)
            return reply, found

    def _ask(self, at: int) -> None:
        self._asked[at] = asyncio.ensure_future(_search(self._site, self._jql, at))

    def _go_on(self, at: int, rows: int, total: int) -> None:
        again = overlap(rows)
        for _ in range(AHEAD):
            at += rows - again
            if rows == again or at + again >= total:
                break
            if at not in self._asked:
                self._ask(at)

    async def aclose(self) -> None:
        """Drop what is on its way."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        self._asked.clear()


async def _search(site: Searched, jql: str, at: int) -> tuple[Reply, Found]:
    return await site.search(jql, at)
