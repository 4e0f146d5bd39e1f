"""A walk over a chain of page tokens: Jira Cloud's way, where each page needs the token of the one before."""

import asyncio
from collections.abc import AsyncGenerator, Sequence, Sized
from typing import Protocol

from msgspec import Raw
from msgspec.structs import replace

from adapters.base import Page, QueryRejected, Unreadable
from adapters.http import Reply
from adapters.jira.issue import decode_issues
from adapters.jira.question import Question
from adapters.jira.walk import Cursor, Tokens, minute, order_of, page_of, reached
from adapters.jira.whole import Lists, completed, grouped
from adapters.times import to_millis

#: So many pages without an issue may follow each other before that is called a loop.
_EMPTY_MOST = 3


class Chained(Protocol):
    """A page of something, which knows the next."""

    @property
    def issues(self) -> Sized: ...

    def following(self) -> str | None:
        """The token of the next page; None if this is the last one. Raises `Unreadable`."""


class Found(Chained, Protocol):
    """A page of search results."""

    @property
    def issues(self) -> Sequence[Raw]: ...


class Searched(Lists, Protocol):
    """A site that is searched by tokens."""

    async def search(self, jql: str, token: str | None = None) -> tuple[Reply, Found]: ...


async def walk(site: Searched, question: Question, cursor: Cursor) -> AsyncGenerator[Page, None]:
    """The next page is asked for before this one is decoded: a chain of tokens is bound by latency.

    A token that Jira no longer takes is done without: the walk goes on from what has been read.
    """

    def ask(start: int | None, token: str | None) -> asyncio.Task[tuple[Reply, Found]]:
        return asyncio.ensure_future(_search(site, question.jql(cursor.since, start), token))

    at = cursor.walk if isinstance(cursor.walk, Tokens) else Tokens(start=cursor.since)
    loops, asking = Loops(), ask(at.start, at.token)
    try:
        while True:
            try:
                reply, found = await asking
            except QueryRejected:
                # A token expires after days; a query that is wrong in itself is refused without one too.
                if at.token is None:
                    raise
                at, loops = restarted(at), Loops()
                asking = ask(at.start, None)
                continue
            if token := loops.passed(at.token, found):
                asking = ask(at.start, token)
                await _leave()
            issues, rejected = decode_issues(found.issues)
            begun = at.asked_at if at.asked_at is not None else to_millis(reply.asked_at)
            at = replace(at, asked_at=begun)
            *groups, last = grouped(site, [issue for issue in issues if issue.key not in at.given])
            for group in groups:
                part = await completed(site, group)
                at = replace(at, given=(*at.given, *part.ids))
                yield page_of(reply, cursor.at(at), part)
            whole = await completed(site, last)
            if token is None:
                yield page_of(reply, cursor.done(begun), whole, rejected, end=True)
                return
            after = reached(at.after, order_of(cursor.since, issues), reply.asked_at)
            at = Tokens(begun, at.start, token, after, at.stuck)
            yield page_of(reply, cursor.at(at), whole, rejected)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _search(site: Searched, jql: str, token: str | None) -> tuple[Reply, Found]:
    return await site.search(jql, token)


def restarted(at: Tokens) -> Tokens:
    """Without the token, which Jira no longer takes: from what has been read on.

    Raises `Unreadable` if that happened before without getting a minute further in between.
    """
    start = minute(at.after if at.after is not None else at.start)
    progress = start is not None and (at.start is None or start > at.start)
    if at.stuck and not progress:
        raise Unreadable(
            "Jira keeps refusing the page token that it gave itself.",
            "Tidegate tries again with the next sync; if it stays so, narrow this connection's query.",
        )
    return Tokens(at.asked_at, start, None, at.after, not progress)


async def _leave() -> None:
    """Lets a request that was just begun leave, before decoding keeps the loop busy.

    It takes two turns: one to begin, one in which the client's writer sends it.
    """
    for _ in range(2):
        await asyncio.sleep(0)


class Loops:
    """Notices a remote that gives pages for ever."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._empty = 0

    def passed(self, token: str | None, found: Chained) -> str | None:
        """The token of the page after this one, None if it is the last. Raises `Unreadable` for a loop."""
        following = found.following()
        self._tokens.add(token or "")
        self._empty = 0 if found.issues else self._empty + 1
        if following in self._tokens:
            raise Unreadable("Jira gives the same page token again: its pages go in a circle.")
        if following and self._empty >= _EMPTY_MOST:
            raise Unreadable("Jira gives one empty page after the other.")
        return following
