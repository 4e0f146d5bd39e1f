"""The census of issues: only their ids, and not one page of it from a Jira that may not know us."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from adapters.base import Keys, QueryRejected, Unreadable
from adapters.jira.question import Question
from adapters.jira.tokens import Loops


class Listed(Struct, frozen=True):
    """A page of ids, and the place of the next one; None if this is the last."""

    sent_at: datetime
    issues: Sequence[str]
    place: str | None

    def following(self) -> str | None:
        return self.place


class Listing(Protocol):
    """A site that lists the ids of a query."""

    async def listed(self, jql: str, place: str | None) -> Listed: ...


class _Cursor(Struct, frozen=True, omit_defaults=True):
    """`query` is the fingerprint of what is asked; `place` where the next page begins."""

    query: str
    place: str | None = None


class _Identified(Struct):
    id: str | int


_CURSOR = msgspec.json.Decoder(_Cursor)
_IDENTIFIED = msgspec.json.Decoder(_Identified)


async def walk(
    site: Listing, question: Question, cursor: str | None, prove: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Keys, None]:
    """Pages of ids in the order of creation.

    `prove` raises unless we are still who we were: it is asked after each page, before that counts. A place
    that Jira does not take any more, and a cursor of another question, begin anew: no id is lost by that.
    """
    at, loops, again = _resumed(cursor, question.query), Loops(), False
    jql = question.jql(None, None)
    while True:
        try:
            found = await site.listed(jql, at.place)
        except QueryRejected:
            if at.place is None or again:
                raise
            at, loops, again = _Cursor(question.query), Loops(), True
            continue
        place = loops.passed(at.place, found)
        await prove()
        at = _Cursor(question.query, place)
        yield Keys(found.sent_at, msgspec.json.encode(at).decode(), found.issues, end=place is None)
        if place is None:
            return


def ids_of(raws: Sequence[Raw]) -> list[str]:
    """The legible ids of a page. An issue without one is asked for by its key, as all that is not seen."""
    found = []
    for raw in raws:
        try:
            id_ = str(_IDENTIFIED.decode(raw).id)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            continue
        if id_.isascii() and id_.isdigit():
            found.append(id_)
    if raws and not found:
        raise Unreadable("Jira lists issues without ids.")
    return found


def _resumed(cursor: str | None, query: str) -> _Cursor:
    try:
        known = _CURSOR.decode(cursor) if cursor else None
    except msgspec.DecodeError:
        known = None
    return known if known and known.query == query else _Cursor(query)
