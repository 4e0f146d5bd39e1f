"""How far the issues have been read: the cursor, and the walk that it can be in the middle of."""

from datetime import datetime, timedelta
from hashlib import blake2b

import msgspec

from adapters.base import Unreadable
from adapters.times import to_millis

#: How late Jira's index may show a change: minutes by its documentation, and no cursor goes nearer to now.
OVERLAP = timedelta(minutes=10)

_MINUTE = 60_000
_OVERLAP_MS = int(OVERLAP.total_seconds() * 1000)


class Walk(msgspec.Struct, frozen=True, omit_defaults=True):
    """One pass over the issues, which may go through many calls of `read`. Times are epoch ms.

    `asked_at` is when its first request was made, by the remote's clock. `start` bounds the query that
    `token` goes on with. Everything before `after` has been read. `stuck` says that a token was refused
    already since the last progress.
    """

    asked_at: int | None = None
    start: int | None = None
    token: str | None = None
    after: int | None = None
    stuck: bool = False

    def stepped(self, token: str, after: int | None, asked_at: datetime) -> "Walk":
        """One page further."""
        began = self.asked_at if self.asked_at is not None else to_millis(asked_at)
        return Walk(began, self.start, token, after, self.stuck)

    def restarted(self) -> "Walk":
        """Without the token, which Jira no longer takes: from what has been read on.

        Raises `Unreadable` if that happened before without getting a minute further in between.
        """
        start = _minute(self.after if self.after is not None else self.start)
        progress = start is not None and (self.start is None or start > self.start)
        if self.stuck and not progress:
            raise Unreadable(
                "Jira keeps refusing the page token that it gave itself.",
                "Tidegate tries again with the next sync; if it stays so, narrow this connection's query.",
            )
        return Walk(self.asked_at, start, None, self.after, not progress)


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered between calls. `query` is the fingerprint of what was asked.

    `since` (epoch ms) is where the next incremental walk starts; None means that no walk has ended yet,
    so that the issues are read in the order of their creation.
    """

    query: str
    since: int | None = None
    walk: Walk | None = None

    def text(self) -> str:
        return _ENCODER.encode(self).decode()

    def done(self, asked_at: datetime) -> "Cursor":
        """After the last page: the next walk starts an overlap before this one was begun."""
        begun = self.walk.asked_at if self.walk and self.walk.asked_at is not None else to_millis(asked_at)
        return Cursor(self.query, begun - _OVERLAP_MS)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Cursor)


def resumed(text: str | None, query: str) -> Cursor:
    """Where to go on, always inside a walk. A cursor of another query, or garbage, reads from the start."""
    cursor = Cursor(query)
    try:
        known = _DECODER.decode(text) if text else cursor
    except msgspec.DecodeError:
        known = cursor
    if known.query == query:
        cursor = known
    return cursor if cursor.walk else Cursor(query, cursor.since, Walk(start=cursor.since))


def fingerprint(*parts: str) -> str:
    """Short and equal for equal parts."""
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


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


def _minute(millis: int | None) -> int | None:
    return None if millis is None else millis // _MINUTE * _MINUTE
