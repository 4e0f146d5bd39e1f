"""An answer of a remote, what its status and headers mean, and its body as a value."""

import math
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
_REASON = re.compile(r"[a-z0-9-]{1,60}")
_QUOTA = "jira-quota-"
_QUOTA_HINT = (
    "The hourly quota of points is used up, which all users of the same OAuth app share. Tidegate goes on "
    "when it is filled again; a lower frequency, or an API token instead of the app, needs less of it."
)
_POLICY = re.compile(r"(?:^|,)[^,]*?;\s*r=0\s*;\s*t=(\d{1,9})")


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
    reason = limit_reason(reply)
    said = f"{reply.summary} ({reason})." if reason else f"{reply.summary}."
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
            hint = _QUOTA_HINT if reason.startswith(_QUOTA) else ""
            return RateLimited(said, retry_after(reply, reply.sent_at), hint)
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

    `Retry-After` counts on every answer: Azure DevOps delays a request, answers 200 and asks for a pause.
    What else tells a time counts only on a 429, for elsewhere it is no demand, and in this order:
    `X-RateLimit-Reset`, the used-up policies of `RateLimit`, and for an hourly quota the end of the hour.
    Seconds, dates, nonsense and times gone by are told apart; what asks for no wait is as if left out.
    """
    waits = [_wait(reply, reply.headers.get("Retry-After", ""), now)]
    if reply.status == 429:
        waits.append(_wait(reply, reply.headers.get("X-RateLimit-Reset", ""), now, epoch=True))
        waits.append(_used_up(reply))
        waits.append(_rest_of_the_hour(reply, now))
    wait = next((wait for wait in waits if wait is not None and wait > timedelta(0)), None)
    return None if wait is None else now + min(wait, _RETRY_AFTER_MOST)


def strained(reply: Reply) -> bool:
    """Whether the remote says that it has had nearly enough of us, whatever the status.

    Jira warns below a fifth of a limit (`X-RateLimit-NearLimit`), Azure DevOps says how long it held the
    request back (`X-RateLimit-Delay`), and both say when nothing is left (`X-RateLimit-Remaining`).
    """
    near = reply.headers.get("X-RateLimit-NearLimit", "").strip().lower() == "true"
    delay, remaining = (_number(reply, f"X-RateLimit-{name}") for name in ("Delay", "Remaining"))
    return near or (delay or 0.0) > 0 or (remaining is not None and remaining <= 0)


def limit_reason(reply: Reply) -> str:
    """Which limit was reached, as Jira names it (`jira-burst-based`); empty if it does not say."""
    reason = reply.headers.get("RateLimit-Reason", "").strip().lower()
    return reason if _REASON.fullmatch(reason) else ""


def _used_up(reply: Reply) -> timedelta | None:
    """The longest wait among the policies of which nothing is left: `"quota";r=0;t=600, "burst";r=5;t=1`."""
    found = _POLICY.findall(reply.headers.get("RateLimit", ""))
    return timedelta(seconds=max(map(int, found))) if found else None


def _rest_of_the_hour(reply: Reply, now: datetime) -> timedelta | None:
    """A quota of points is filled again at the full hour (vendor docs)."""
    if not limit_reason(reply).startswith(_QUOTA):
        return None
    there = parse_http_date(reply.headers.get("Date")) or now
    return timedelta(hours=1) - timedelta(minutes=there.minute, seconds=there.second)


def _number(reply: Reply, header: str) -> float | None:
    try:
        number = float(reply.headers.get(header, ""))
    except ValueError:
        return None
    return None if math.isnan(number) else number


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
