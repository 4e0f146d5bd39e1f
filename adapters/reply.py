"""An answer of a remote, what its status and headers mean, and its body as a value."""

import re
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from multidict import CIMultiDictProxy

from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    QueryRejected,
    RateLimited,
    Unavailable,
    Unreadable,
)
from adapters.times import parse_http_date, parse_time

T = TypeVar("T")

_RETRY_AFTER_MOST = timedelta(hours=1)


class Reply(msgspec.Struct, frozen=True):
    """A complete answer. `sent_at` is when the request was sent, by the clock of the sync."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: str
    sent_at: datetime

    def __repr__(self) -> str:
        # Headers can hold cookies, the URL a query, and the body is long.
        return f"<Reply {self.summary}>"

    @property
    def is_json(self) -> bool:
        return "json" in self.headers.get("Content-Type", "").lower()

    @property
    def asked_at(self) -> datetime:
        """The time of the request by the remote's clock where it tells, never later than by ours.

        What a cursor is made from: `updated` is stamped by the remote's clock.
        """
        date = parse_http_date(self.headers.get("Date"))
        return min(date, self.sent_at) if date else self.sent_at

    @property
    def summary(self) -> str:
        """The answer in one short line, without query and body."""
        return f"{urlsplit(self.url).path} answered {self.status}"


# A text that was cut in the middle of a character leaves half of its pair of escapes behind. No database
# and no strict parser takes that, so that one cut emoji would spoil its whole page.
_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u[dD]"
    rb"(?:[89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[c-fC-F][0-9a-fA-F]{2})"
)


def mended(body: bytes) -> bytes:
    """The body with each lone surrogate escape replaced by U+FFFD; any other body as it is."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    return _SURROGATE.sub(lambda m: m[0] if m[2] else m[1] + b"\\ufffd", body)


def decode(reply: Reply, shape: type[T]) -> T:
    """The JSON body as `shape`. Raises `Unreadable`, naming the path, for anything else.

    All of the body is then valid UTF-8, `msgspec.Raw` members included.
    """
    if not reply.is_json:
        kind = reply.headers.get("Content-Type", "no content type")[:80]
        raise Unreadable(f"{reply.summary} with {kind} instead of JSON.")
    try:
        # msgspec checks only the texts that `shape` asks for; the stored bytes must be text throughout.
        reply.body.decode()
        return msgspec.json.decode(reply.body, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        problem = str(e)
    # Raised out here: a UnicodeDecodeError would keep the whole body attached.
    raise Unreadable(f"{reply.summary} with JSON that does not fit: {problem}")


def error_of(reply: Reply) -> AdapterError | None:
    """What a status means where the adapter knows no better; None for 200."""
    said = f"{reply.summary}."
    match reply.status:
        case 200:
            return None
        case 401:
            return AuthFailed(said)
        case 407:
            return Unavailable(said, hint="The proxy asks for a credential: check TIDEGATE_PROXY.")
        case 403:
            return Forbidden(said)
        case 404:
            return NotFound(said)
        case 429:
            return RateLimited(said, retry_after(reply, reply.sent_at))
        case 408 | 425 | 500 | 502 | 503 | 504:
            return Unavailable(said, retry_after(reply, reply.sent_at))
        case status if 400 <= status < 500:
            return QueryRejected(said)
        case status if status > 504:
            return Unavailable(said, retry_after(reply, reply.sent_at))
        case _:
            return Unreadable(said)


def retry_after(reply: Reply, now: datetime) -> datetime | None:
    """When the remote says to come back, at most an hour from `now`; None if it does not, or at once.

    `Retry-After` counts on every answer, `X-RateLimit-Reset` only on a 429: elsewhere it is no demand.
    """
    wait = _wait(reply, reply.headers.get("Retry-After", ""), now)
    if wait is None and reply.status == 429:
        wait = _wait(reply, reply.headers.get("X-RateLimit-Reset", ""), now, epoch=True)
    if wait is None or wait <= timedelta(0):
        return None
    return now + min(wait, _RETRY_AFTER_MOST)


def _wait(reply: Reply, text: str, now: datetime, *, epoch: bool = False) -> timedelta | None:
    """How long a header says to wait: seconds (or, with `epoch`, seconds since 1970), a date, or None.

    A date is by the remote's clock, so it is measured against the answer's own `Date`.
    """
    there = parse_http_date(reply.headers.get("Date")) or now
    try:
        seconds = float(text) - (there.timestamp() if epoch else 0.0)
        return timedelta(seconds=min(seconds, 86_400.0))
    except (ValueError, OverflowError):
        moment = parse_http_date(text) or parse_time(text)
        return moment - there if moment else None
