"""The worker processes of `up`: started, restarted when they die, stopped and waited for."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from subprocess import Popen

import structlog

from tidegate.keeping import STEADY_SECONDS as HELD_OUT_SECONDS
from tidegate.keeping import Roles
from tidegate.spawning import spawn_worker

log = structlog.get_logger()

#: A worker hands over what it holds within 15 s.
STOP_SECONDS = 16.0
STEADY_SECONDS = 60.0
MOST_BACKOFF = 30.0
#: A worker that died so often, each time soon after its start, is not to be counted on, until one holds out.
_DYING_FROM = 3


class Workers:
    """Keeps so many `tidegate worker` processes running, on the settings of this process."""

    def __init__(
        self,
        count: int,
        redis_url: str | None,
        early: Sequence[Popen[bytes]] = (),
        roles: Roles | None = None,
    ) -> None:
        """`redis_url` is the embedded Redis, which the workers are told of; None if the settings name one.

        `early` are workers that were started already and wait to be told. `roles` are told when no worker
        holds out any more.
        """
        self._roles = roles or Roles()
        self._dying: set[int] = set()
        self._count = count
        self._told = f"{redis_url or ''}\n".encode()
        self._early = list(early)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; every worker has ended then, also if this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._count + 1):
                group.create_task(self._keep(number, stop))

    async def _keep(self, number: int, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            began = time.monotonic()
            code = await self._one(number, stop)
            if stop.is_set():
                return
            failures = 1 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            wait = min(MOST_BACKOFF, 0.25 * 2**failures)
            log.error("up.worker_died", number=number, code=code, again_in=wait)
            self._died(number, failures)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)

    def _died(self, number: int, failures: int) -> None:
        if failures < _DYING_FROM:
            return
        self._dying.add(number)
        if len(self._dying) == self._count:
            self._roles.fails("worker")

    def _lives(self, number: int) -> None:
        self._dying.discard(number)
        self._roles.works("worker")

    async def _one(self, number: int, stop: asyncio.Event) -> int:
        """Start a worker and wait for its end, which `stop` brings about. Its exit code."""
        child = self._early.pop() if self._early else spawn_worker()
        ended = asyncio.create_task(asyncio.to_thread(child.wait))
        stopping = asyncio.create_task(stop.wait())
        try:
            _tell(child, self._told)
            log.info("up.worker_started", number=number, pid=child.pid)
            holding_out = asyncio.get_running_loop().call_later(HELD_OUT_SECONDS, self._lives, number)
            stopping.add_done_callback(lambda _: holding_out.cancel())
            await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            code = await asyncio.shield(_ended(child, ended))
        return code


def _tell(child: Popen[bytes], line: bytes) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it died already
        child.stdin.write(line)
        child.stdin.flush()


async def _ended(child: Popen[bytes], ended: asyncio.Task[int]) -> int:
    """The exit code of a child, which is asked to end, and made to if it does not."""
    if not ended.done():
        child.terminate()
        await asyncio.wait([ended], timeout=STOP_SECONDS)
    if not ended.done():
        log.error("up.worker_killed", pid=child.pid)
        child.kill()
    if child.stdin is not None:
        with suppress(BrokenPipeError):
            child.stdin.close()
    return await ended
