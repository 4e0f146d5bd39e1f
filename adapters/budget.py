"""The budget of a host: so that no more is asked than is agreed. Here the one for a single process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Protocol

from adapters.base import RateLimited


class Budget(Protocol):
    """Requests to a host, shared fairly: how many at once, and none before the host's stated time."""

    def slot(self, host: str, parallel: int) -> AbstractAsyncContextManager[None]:
        """Hold one of `parallel` places. Raises `RateLimited` if the wait would be long."""

    async def pause(self, host: str, until: datetime, reason: str) -> None:
        """No request to this host before `until`, by anyone."""


class LocalBudget:
    """A budget for one process: used where there is no Redis, and in tests."""

    def __init__(self, clock: Callable[[], datetime], patience: float = 5.0) -> None:
        """`patience`: a pause of up to so many seconds is waited out, a longer one is `RateLimited`."""
        self._clock = clock
        self._patience = patience
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._paused: dict[str, datetime] = {}

    @asynccontextmanager
    async def slot(self, host: str, parallel: int) -> AsyncIterator[None]:
        async with self._slots.setdefault(host, asyncio.Semaphore(parallel)):
            waited_out = None
            # While this one sleeps, another answer may ask for a longer pause.
            while (until := self._paused.get(host)) != waited_out:
                await wait_or_raise(host, until, self._clock(), self._patience)
                waited_out = until
            yield

    async def pause(self, host: str, until: datetime, reason: str) -> None:
        self._paused[host] = max(until, self._paused.get(host, until))


async def wait_or_raise(host: str, until: datetime | None, now: datetime, patience: float) -> None:
    """Wait out a short pause; raise `RateLimited` for a long one, so that it holds no worker."""
    wait = (until - now).total_seconds() if until else 0.0
    if wait > patience:
        raise RateLimited(f"{host} asked for no requests before {until:%H:%M:%S} UTC.", until)
    if wait > 0:
        await asyncio.sleep(wait)
