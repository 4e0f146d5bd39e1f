"""The budget of a host: so that no more is asked than is agreed. Here the one for a single process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

from adapters.base import RateLimited
from adapters.reply import Reply

Lane = Literal["bulk", "records"]
AT_ONCE = timedelta(0)


class Place:
    """A place at a host, held for one request. `good` is whether the answer allows to ask more at once."""

    def __init__(self) -> None:
        self.good = True


class Asked(msgspec.Struct, frozen=True):
    """A request that is about to be made, after so many seconds of waiting for the budget."""

    method: str
    url: str
    authorization: str | None
    waited: float

    def __repr__(self) -> str:
        # The URL can hold a query, and the header is a secret.
        return f"<Asked {self.method}>"


#: Awaits the answer to a request in its caller's place, and gives it back as it is.
Watch = Callable[[Asked, Awaitable[Reply]], Awaitable[Reply]]


class Meter:
    """Counts what a sync cost: requests made, bytes received, seconds spent waiting for the budget.

    With a `watch` that is told of each request, too; and `limited` of each answer that it was too many.
    """

    def __init__(self, requests: int = 0, received: int = 0, waited: float = 0.0) -> None:
        """Counting goes on from what earlier slices of the sync came to."""
        self.requests = requests
        self.bytes = received
        self.waited = waited
        self.watch: Watch | None = None
        self.limited: Callable[[], None] | None = None


class Ceiling(msgspec.Struct, frozen=True):
    """What an operator allows at most at any one host, whatever its adapter would: requests at once, and
    requests a second. None leaves it to the adapter.
    """

    parallel: int | None = None
    rate: float | None = None

    def lowered(self, parallel: int) -> int:
        return parallel if self.parallel is None else min(parallel, self.parallel)

    @property
    def apart(self) -> float:
        """Seconds from one request to the next."""
        return 1 / self.rate if self.rate else 0.0


NO_CEILING = Ceiling()


class Budget(Protocol):
    """Requests to a host, shared fairly: how many at once, and none before the host's stated time."""

    def slot(self, host: str, parallel: int, lane: Lane = "bulk") -> AbstractAsyncContextManager[Place]:
        """Hold one of `parallel` places. Raises `RateLimited` if the wait would be long.

        One place more is kept for the records lane, so that a webhook's record does not stand behind a
        first sync of the same host.
        """

    async def pause(self, host: str, until: datetime, reason: str, asked: timedelta = AT_ONCE) -> None:
        """No request to this host before `until`, by anyone, and fewer at once; with now only the latter.

        `asked`: how long ago the request was sent to which this is the answer. Of several that were under
        way together and come back alike, only the first makes it fewer.
        """


class LocalBudget:
    """A budget for one process: used where there is no Redis, and in tests."""

    def __init__(
        self, clock: Callable[[], datetime], patience: float = 5.0, ceiling: Ceiling = NO_CEILING
    ) -> None:
        """`patience`: a pause of up to so many seconds is waited out, a longer one is `RateLimited`."""
        self._clock = clock
        self._patience = patience
        self._ceiling = ceiling
        self._next: dict[str, datetime] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._kept: dict[str, asyncio.Semaphore] = {}
        self._paused: dict[str, datetime] = {}

    @asynccontextmanager
    async def slot(self, host: str, parallel: int, lane: Lane = "bulk") -> AsyncIterator[Place]:
        places = self._slots.setdefault(host, asyncio.Semaphore(self._ceiling.lowered(parallel)))
        if lane == "records" and places.locked():
            places = self._kept.setdefault(host, asyncio.Semaphore(1))
        async with places:
            waited_out = None
            # While this one sleeps, another answer may ask for a longer pause.
            while (until := self._paused.get(host)) != waited_out:
                await wait_or_raise(host, until, self._clock(), self._patience)
                waited_out = until
            await self._in_turn(host)
            yield Place()

    async def _in_turn(self, host: str) -> None:
        """Wait for a moment of one's own, where requests are to be some time apart."""
        if not self._ceiling.rate:
            return
        now = self._clock()
        mine = max(now, self._next.get(host, now))
        wait_seconds = (mine - now).total_seconds()
        if wait_seconds > self._patience:
            raise too_often(host, mine)
        self._next[host] = mine + timedelta(seconds=self._ceiling.apart)
        await asyncio.sleep(wait_seconds)

    async def pause(self, host: str, until: datetime, reason: str, asked: timedelta = AT_ONCE) -> None:
        self._paused[host] = max(until, self._paused.get(host, until))


def too_often(host: str, until: datetime) -> RateLimited:
    """That our own limit leaves no request to this host before a time."""
    return RateLimited(f"{host} is asked no more often than TIDEGATE_HOST_RATE allows.", until)


async def wait_or_raise(host: str, until: datetime | None, now: datetime, patience: float) -> None:
    """Wait out a short pause; raise `RateLimited` for a long one, so that it holds no worker."""
    wait = (until - now).total_seconds() if until else 0.0
    if wait > patience:
        raise RateLimited(f"{host} asked for no requests before {until:%H:%M:%S} UTC.", until)
    if wait > 0:
        await asyncio.sleep(wait)
