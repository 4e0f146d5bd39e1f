"""The roles of one process, each kept at work: one that fails is begun again, and the others live on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

log = structlog.get_logger()

FIRST_BACKOFF = 0.5
MOST_BACKOFF = 30.0
#: Who has worked for so long since it failed works again.
STEADY_SECONDS = 10.0


class Roles:
    """Which roles a process has, and which parts of it fail at the moment."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._failing: set[str] = set()

    def fails(self, part: str) -> None:
        self._failing.add(part)

    def works(self, part: str) -> None:
        self._failing.discard(part)

    @property
    def failing(self) -> Sequence[str]:
        """The roles, and parts of roles, that failed and have not worked for a while since."""
        return sorted(self._failing)

    @property
    def working(self) -> Sequence[str]:
        """The roles in which this process may be counted on."""
        return [name for name in self._names if name not in self._failing]


async def keep(roles: Roles, part: str, run: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Have `run` at work until `stop`, which ends it. What ends by itself is begun anew, after half a second
    first and half a minute at last, and is told of each time.
    """
    wait = FIRST_BACKOFF
    while not stop.is_set():
        began = time.monotonic()
        task = asyncio.ensure_future(run())
        try:
            await _watched(roles, part, task)
            error = task.exception()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if stop.is_set():
            if error is not None:
                # What it held runs out by itself.
                log.warning("role.not_ended", role=part, error=str(error))
            return
        roles.fails(part)
        wait = FIRST_BACKOFF if time.monotonic() - began > STEADY_SECONDS else wait
        log.error("role.failed", role=part, again_in=wait, exc_info=error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait)
        wait = min(wait * 2, MOST_BACKOFF)


async def _watched(roles: Roles, part: str, task: asyncio.Future[None]) -> None:
    """Until it ends. Whoever failed before works again once it has held out for a while."""
    _, going_on = await asyncio.wait([task], timeout=STEADY_SECONDS)
    if going_on:
        roles.works(part)
        await asyncio.wait([task])
