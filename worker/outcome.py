"""What an error means for a sync, and what a sync came to: decisions without side effects."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Literal

import msgspec

from adapters.base import AdapterError, AuthFailed, Later, RateLimited
from store.health import Problem
from store.parts import BY_KEY, CONFIRM, NAMED, Part
from store.syncs import Counts, Receipt, Sync

#: A sync that waited so long without a page ends.
WAIT_AT_MOST = timedelta(hours=24)
#: So long one partition is waited for when all others are read.
STRAGGLER_AT_MOST = timedelta(minutes=15)
BACKOFF_LAST = 300.0


class PassOn(msgspec.Struct, frozen=True):
    """The slice is over, the sync is not."""


class Wait(msgspec.Struct, frozen=True):
    """Not before `until`: nothing is held meanwhile."""

    until: datetime
    error: Problem
    limited: bool


class End(msgspec.Struct, frozen=True):
    """The sync has ended. `failure` is of the whole connection; else an error is a part's."""

    state: Literal["succeeded", "partial", "failed"]
    receipt: dict[str, Receipt]
    error: Problem | None = None
    failure: bool = False


Outcome = PassOn | Wait | End


def problem_of(error: AdapterError) -> Problem:
    return Problem(error.kind, error.message, error.hint)


def whole_connection(error: AdapterError) -> bool:
    """Whether an error met in one partition speaks for all: nobody else would be let in either."""
    return isinstance(error, AuthFailed | RateLimited)


def back_off(tries: int, random: Random) -> timedelta:
    """Full jitter, doubling from a second to five minutes."""
    return timedelta(seconds=max(0.1, random.uniform(0, min(BACKOFF_LAST, 2.0 ** min(tries, 20)))))


def wait(sync: Sync, error: Later, now: datetime, random: Random, *, pages: int) -> Wait | End:
    """When to go on after the remote said not now; or that it has been long enough.

    `pages` were committed since the claim; with one, the waiting begins anew.
    """
    since = now if pages or sync.waiting_since is None else sync.waiting_since
    if now - since >= WAIT_AT_MOST:
        return End("partial" if sync.pages else "failed", {}, problem_of(error), failure=not sync.pages)
    jittered = now + back_off(0 if pages else sync.tries, random)
    until = max(error.retry_at, jittered) if error.retry_at else jittered
    return Wait(until, problem_of(error), isinstance(error, RateLimited))


def gives_up_on(sync: Sync, now: datetime) -> bool:
    """Whether a straggling partition has been waited for long enough."""
    return sync.waiting_since is not None and now - sync.waiting_since >= STRAGGLER_AT_MOST


def conclude(
    parts: Sequence[Part],
    counters: Mapping[str, Counts],
    streams: Mapping[str, Sequence[str]],
    counted: Mapping[str, Receipt] = {},
) -> End:
    """What the sync came to, once no part is left to read. `streams` are those of each feed read; a stream
    that a census `counted` is measured by that.
    """
    receipt = receipts(parts, counters, streams)
    receipt |= {stream: _united(receipt.get(stream), by_count) for stream, by_count in counted.items()}
    failed = [part for part in parts if part.error is not None]
    reading = [part for part in parts if part.feed not in BY_KEY]
    if reading and all(part.error is not None for part in reading):
        return End("failed", receipt, reading[0].error, failure=True)
    if not reading and failed and len(failed) == len(parts):
        # Named records say nothing about the connection as a whole.
        return End("failed", receipt, _of_parts(failed, len(parts)))
    if failed:
        return End("partial", receipt, _of_parts(failed, len(parts)))
    if shortfall := _shortfall(receipt, counters, parts):
        return End("partial", receipt, shortfall)
    return End("succeeded", receipt)


def _united(by_reading: Receipt | None, by_count: Receipt) -> Receipt:
    """A count says what is stored now; what was expected is known from reading, unless that was counted."""
    if by_reading is None or by_count.expected is not None:
        return by_count
    enough = by_reading.expected is None or by_count.stored >= by_reading.expected
    whole = by_reading.complete or by_count.stored > by_reading.stored
    return Receipt(by_reading.expected, by_count.stored, by_count.complete and whole and enough)


def receipts(
    parts: Sequence[Part], counters: Mapping[str, Counts], streams: Mapping[str, Sequence[str]]
) -> dict[str, Receipt]:
    """Expected and stored of each stream that was read, and whether that is all of it."""
    return {
        stream: _receipt(stream, [part for part in parts if part.feed == feed], counters)
        for feed, names in streams.items()
        for stream in names
    } | {part.partition: _receipt(part.partition, [part], counters) for part in parts if part.feed == NAMED}


def _receipt(stream: str, parts: Sequence[Part], counters: Mapping[str, Counts]) -> Receipt:
    stated = [part.expected.get(stream) if part.expected else None for part in parts]
    expected = sum(n for n in stated if n is not None) if stated and None not in stated else None
    stored = sum(part.stored.get(stream, 0) for part in parts)
    rejected = counters[stream].rejected if stream in counters else 0
    whole = all(part.ended and part.error is None for part in parts)
    return Receipt(expected, stored, whole and not rejected and (expected is None or stored >= expected))


def _of_parts(failed: Sequence[Part], of: int) -> Problem:
    first = failed[0]
    assert first.error is not None
    if len(failed) == 1 and (of == 1 or first.feed == CONFIRM):
        return first.error
    named = ", ".join(
        f"{part.feed} of {part.partition}" if part.partition != "all" else part.feed for part in failed[:3]
    )
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    message = (
        f"{len(failed)} of {of} parts could not be read ({named}{more}). The first: {first.error.message}"
    )
    return Problem(first.error.kind, message, first.error.hint)


def _shortfall(
    receipt: Mapping[str, Receipt], counters: Mapping[str, Counts], parts: Sequence[Part]
) -> Problem | None:
    rejected = {stream: counts.rejected for stream, counts in counters.items() if counts.rejected}
    if rejected:
        what = ", ".join(f"{count} of {stream}" for stream, count in rejected.items())
        return Problem(
            "unreadable",
            f"Some records could not be read and are in quarantine with their reasons: {what}.",
            "All others are stored. Look at the reasons; the next full sync reads them again.",
        )
    if any(part.feed == NAMED for part in parts):
        short = {s: r for s, r in receipt.items() if r.expected is not None and r.stored < r.expected}
        what = ", ".join(
            f"{r.expected - r.stored} of {r.expected} {s}" for s, r in short.items() if r.expected
        )
        hint = "They may be deleted, outside of what this connection reads, or hidden from its account."
        return Problem("not_found", f"Not found: {what}.", hint) if short else None
    if any(not part.ended for part in parts if part.feed not in BY_KEY):
        return Problem(
            "unreadable",
            "The remote stopped answering before it said that nothing follows.",
            "The next sync goes on from there.",
        )
    short = {s: r for s, r in receipt.items() if not r.complete}
    what = ", ".join(f"{r.stored} of {r.expected} {s}" for s, r in short.items())
    hint = "Records may have moved while they were read; the next sync looks again."
    return Problem("incomplete", f"Fewer records than the remote counted: {what}.", hint) if short else None
