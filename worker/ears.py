"""Hearing the doorbell: who waits for work is woken by a ring, and looks now and then anyway."""

import asyncio
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from worker.queue import RUNG

log = structlog.get_logger()

AGAIN_SECONDS = 1.0
#: The line is asked whether it is alive by waiting no longer than this for a message.
SILENCE_SECONDS = 2.0


class Ears:
    """Counts rings. Deaf while Redis is away; then only looking helps, as it always does."""

    def __init__(self, redis: Redis, *channels: str) -> None:
        """What is said on these channels; without any, that something is to be worked on."""
        self._redis = redis
        self._channels = channels or (RUNG,)
        self._count = 0
        self._rung = asyncio.Event()

    async def listen(self) -> None:
        """Hear until cancelled."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as line:
                    await line.subscribe(*self._channels)
                    # What was rung before the line was open was not heard.
                    self._ring()
                    while True:
                        if await line.get_message(timeout=SILENCE_SECONDS):
                            self._ring()
            except (RedisError, OSError) as e:
                log.info("ears.deaf", error=str(e) or type(e).__name__)
            await asyncio.sleep(AGAIN_SECONDS)

    def rung(self) -> int:
        """How often it has rung: handed to `wait`, so that a ring in between is not missed."""
        return self._count

    async def wait(self, since: int, seconds: float) -> None:
        """Until it rings, or has rung since, or some seconds are over."""
        if self._count != since:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()

    def _ring(self) -> None:
        self._count += 1
        self._rung.set()
        self._rung = asyncio.Event()
