"""When an event is sent again that did not arrive."""

import math
from datetime import datetime, timedelta
from random import Random

import msgspec

from adapters.http import Reply
from adapters.times import parse_http_date

_MINUTE = 60.0
_HOUR = 3600.0
#: Seconds before each further attempt, and by how much they vary, so that not all come back at once.
DELAYS = (
    *(5.0, 5 * _MINUTE, 30 * _MINUTE),
    *(2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR),
)
SPREAD = 0.2
#: After so long it is over, also for an endpoint that asks again and again to be asked sooner.
LONGEST = timedelta(seconds=sum(DELAYS) * (1 + SPREAD))
#: What `Retry-After` may ask for.
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=24)


class Again(msgspec.Struct, frozen=True):
    """The next attempt, and how many steps of the schedule are behind it."""

    at: datetime
    step: int


def again(
    step: int, first_at: datetime, now: datetime, asked: timedelta | None, random: Random
) -> Again | None:
    """When to try again after a failure, with `step` steps taken since `first_at`; None when it is over.

    `asked` is what `Retry-After` says, which wins. Being asked to come sooner than the schedule would
    takes no step of it: not yet is not failed.
    """
    if step >= len(DELAYS) or now - first_at >= LONGEST:
        return None
    delay = timedelta(seconds=DELAYS[step] * random.uniform(1 - SPREAD, 1 + SPREAD))
    if asked is None:
        return Again(now + delay, step + 1)
    wait = min(max(asked, SOONEST), LATEST)
    return Again(now + wait, step if wait < delay else step + 1)


def retry_after(reply: Reply, now: datetime) -> timedelta | None:
    """What `Retry-After` asks for, in seconds or as a date by the clock of the endpoint; None for nothing."""
    text = reply.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
        if math.isfinite(seconds):
            return timedelta(seconds=min(max(seconds, 0.0), LATEST.total_seconds()))
    except ValueError:
        pass
    moment = parse_http_date(text)
    there = parse_http_date(reply.headers.get("Date")) or now
    return None if moment is None else max(moment - there, timedelta(0))
