"""How far the issues have been read: the cursor, and what every walk over them needs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

import msgspec

from adapters.base import Page, Rejected
from adapters.http import Reply
from adapters.jira.issue import ISSUES, Issue
from adapters.jira.whole import Whole
from adapters.times import to_millis

#: How late Jira's index may show a change: minutes by its documentation, and no cursor goes nearer to now.
OVERLAP = timedelta(minutes=10)

_MINUTE = 60_000
_OVERLAP_MS = int(OVERLAP.total_seconds() * 1000)
_CREATED = [column.name for column in ISSUES.columns].index("created_at")


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True, tag="tokens"):
    """One pass over a chain of page tokens, which may go through many calls of `read`. Times are epoch ms.

    `asked_at` is when its first request was made, by the remote's clock. `start` bounds the query that
    `token` goes on with. Everything before `after` has been read. `stuck` says that a token was refused
    already since the last progress. `given` are the issues of the next page that were read already, with
    all that is embedded in them: a page that holds very much is given in parts.
    """

    asked_at: int | None = None
    start: int | None = None
    token: str | None = None
    after: int | None = None
    stuck: bool = False
    given: tuple[str, ...] = ()


class Offsets(msgspec.Struct, frozen=True, omit_defaults=True, tag="offsets"):
    """One pass over pages by offset, which may go through many calls of `read`. Times are epoch ms.

    `asked_at`, `start`, `after` and `given` are as in `Tokens`. The next page begins at `at`, with the rows
    of `tail` (id, and the time that it is sorted by) once more: they prove that nothing slipped between.
    `rows` counts what was read since `start`.
    """

    asked_at: int | None = None
    start: int | None = None
    at: int = 0
    tail: tuple[tuple[str, int | None], ...] = ()
    after: int | None = None
    rows: int = 0
    given: tuple[str, ...] = ()


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered between calls. `query` is the fingerprint of what was asked.

    `site` is the product that was found there, so that it is not asked again each time. `since` (epoch
    ms) is where the next incremental walk starts; None means that no walk has ended yet, so that the
    issues are read in the order of their creation. `renewed`: until this walk, another question was asked.
    """

    query: str
    site: str = ""
    since: int | None = None
    walk: Tokens | Offsets | None = None
    renewed: bool = False

    def text(self) -> str:
        return _ENCODER.encode(self).decode()

    def at(self, walk: Tokens | Offsets) -> "Cursor":
        """In the middle of a walk."""
        return Cursor(self.query, self.site, self.since, walk, self.renewed)

    def done(self, begun: int) -> "Cursor":
        """After a walk that was begun then: the next one starts an overlap earlier."""
        return Cursor(self.query, self.site, begun - _OVERLAP_MS)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Cursor)


def known(text: str | None) -> Cursor | None:
    """The cursor that a text holds; None for garbage."""
    try:
        return _DECODER.decode(text) if text else None
    except msgspec.DecodeError:
        return None


def resumed(text: str | None, query: str, site: str) -> Cursor:
    """Where to go on. A cursor of another query or site, or garbage, reads from the start, renewed."""
    cursor = known(text)
    if cursor and (cursor.query, cursor.site) == (query, site):
        return cursor
    return Cursor(query, site, renewed=bool(text))


def fingerprint(*parts: str) -> str:
    """Short and equal for equal parts."""
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def order_of(since: int | None, issues: Iterable[Issue]) -> list[datetime | None]:
    """The times by which a walk from `since` goes: of creation in a first one, then of the last change."""
    records = (issue.record for issue in issues)
    if since is not None:
        return [record.updated_at for record in records]
    return [created if isinstance(created := r.columns[_CREATED], datetime) else None for r in records]


def page_of(
    reply: Reply,
    cursor: Cursor,
    whole: Whole,
    rejected: Sequence[Rejected] = (),
    expected: Mapping[str, int] | None = None,
    *,
    end: bool = False,
) -> Page:
    """The page of what a search brought, with all that is embedded in it."""
    bad = [*rejected, *whole.rejected]
    return Page(reply.sent_at, cursor.text(), whole.records, bad, expected, end, whole.families)


def reached(after: int | None, seen: list[datetime | None], asked_at: datetime) -> int | None:
    """How far a page, asked for at `asked_at`, got in the order of the walk.

    The index may still have sorted an issue by an older time than it now shows, but not after the
    overlap has passed: younger times prove nothing.
    """
    proven = [at for at in seen if at is not None and at < asked_at - OVERLAP]
    if not proven:
        return after
    newest = to_millis(max(proven))
    return newest if after is None else max(after, newest)


def minute(millis: int | None) -> int | None:
    """The full minute before: Jira's queries know no seconds."""
    return None if millis is None else millis // _MINUTE * _MINUTE
