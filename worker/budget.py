"""The budget of each remote host, shared by all workers through Redis: places, pauses, and how fast to go.

The number of places grows by one for each round of good answers and is halved by a host that says no, or
that it has nearly enough. One place more is for the records lane alone.
What Redis forgets is begun anew with caution; stated pauses are in the database too.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import cast
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.base import RateLimited
from adapters.budget import AT_ONCE, NO_CEILING, Ceiling, too_often
from adapters.http import Lane, LocalBudget, Place, wait_or_raise
from store import pauses
from store.database import Database

log = structlog.get_logger()

#: A place that its holder lost (killed, cut off) is free again after so long; as long as a sync's lease.
PLACE_SECONDS = 10
#: How long to stand in the line for a place.
LINE_SECONDS = 30.0
#: Pauses from this length on are kept in the database.
KEPT_FROM = timedelta(seconds=5)
_CAUTIOUS = 2
_PREFIX = "tidegate:budget:"

# Answers: {granted, wait in ms, known}. A host unknown to Redis starts with few places; ARGV[5] is how many
# there are besides. Requests are ARGV[6] ms apart: who has a place waits for the moment that comes with it,
# which is at most ARGV[7] ms away; {0, wait, known, 1} is for who would wait for longer.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('EXISTS', KEYS[1])
local paused = tonumber(redis.call('HGET', KEYS[1], 'paused') or 0)
if paused > now then return {0, paused - now, known} end
local limit = tonumber(redis.call('HGET', KEYS[1], 'limit') or ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local places = math.floor(math.min(limit, tonumber(ARGV[1])))
if redis.call('ZCARD', KEYS[2]) >= places + ARGV[5] then return {0, 0, known} end
local turn = now
if tonumber(ARGV[6]) > 0 then
  turn = math.max(now, tonumber(redis.call('HGET', KEYS[1], 'turn') or 0))
  if turn - now > tonumber(ARGV[7]) then return {0, math.ceil(turn - now), known, 1} end
  redis.call('HSET', KEYS[1], 'turn', turn + ARGV[6])
end
redis.call('ZADD', KEYS[2], now + ARGV[3] * 1000, ARGV[2])
redis.call('HSETNX', KEYS[1], 'limit', ARGV[4])
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
return {1, math.ceil(turn - now), known}
"""
_FREE = """
redis.call('ZREM', KEYS[2], ARGV[2])
local limit = tonumber(redis.call('HGET', KEYS[1], 'limit') or 0)
if ARGV[3] == '1' and limit > 0 and limit < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'limit', math.min(tonumber(ARGV[1]), limit + 1 / limit))
end
return 1
"""
_KEEP = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[2], 'XX', now + ARGV[2] * 1000, ARGV[1])
return 1
"""
_PAUSE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local until_ = now + ARGV[1]
local paused = tonumber(redis.call('HGET', KEYS[1], 'paused') or 0)
if until_ > paused then redis.call('HSET', KEYS[1], 'paused', until_) end
local limit = tonumber(redis.call('HGET', KEYS[1], 'limit') or 0)
local eased = tonumber(redis.call('HGET', KEYS[1], 'eased') or 0)
if ARGV[2] == '1' and limit > 1 and now - ARGV[3] >= eased then
  redis.call('HSET', KEYS[1], 'limit', math.max(1, limit / 2), 'eased', now)
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return 1
"""


class Clock:
    """The database's time without asking each time: set now and then, monotonic in between."""

    def __init__(self, moment: datetime) -> None:
        self.set(moment)

    def set(self, moment: datetime) -> None:
        self._moment, self._at = moment, time.monotonic()

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=time.monotonic() - self._at)


class RedisBudget:
    """Requests to a host, counted over all workers. While Redis is away each process counts for itself."""

    def __init__(
        self,
        redis: Redis,
        database: Database,
        clock: Clock,
        patience: float = 5.0,
        place_seconds: float = PLACE_SECONDS,
        line_seconds: float = LINE_SECONDS,
        ceiling: Ceiling = NO_CEILING,
    ) -> None:
        """`patience`: a pause of up to so many seconds is waited out, a longer one is `RateLimited`."""
        self._ceiling = ceiling
        self._redis = redis
        self._database = database
        self._clock = clock
        self._patience = patience
        self._place_seconds = place_seconds
        self._line_seconds = line_seconds
        self._alone = LocalBudget(clock, patience, ceiling)

    @asynccontextmanager
    async def slot(self, host: str, parallel: int, lane: Lane = "bulk") -> AsyncIterator[Place]:
        member = uuid4().hex
        parallel = self._ceiling.lowered(parallel)
        try:
            shared = await self._take(host, parallel, member, lane)
        except (RedisError, OSError) as e:
            log.warning("budget.alone", host=host, error=str(e))
            shared = False
        except asyncio.CancelledError:
            # A place may have been given that nobody heard of.
            await asyncio.shield(self._free(host, parallel, member, good=False))
            raise
        if not shared:
            async with self._alone.slot(host, max(1, parallel // 2), lane) as place:
                yield place
            return
        place, good = Place(), False
        keeping = asyncio.create_task(self._keep(host, member))
        try:
            yield place
            good = place.good
        finally:
            keeping.cancel()
            await asyncio.shield(self._free(host, parallel, member, good=good))

    async def pause(self, host: str, until: datetime, reason: str, asked: timedelta = AT_ONCE) -> None:
        await self._alone.pause(host, until, reason)
        wait = until - self._clock()
        if wait >= KEPT_FROM:
            async with self._database.write() as connection:
                await pauses.keep(connection, host, until, reason)
        try:
            await self._pause(host, wait, asked)
        except (RedisError, OSError) as e:
            log.warning("budget.alone", host=host, error=str(e))

    async def _take(self, host: str, parallel: int, member: str, lane: Lane = "bulk") -> bool:
        """Stand in the line for a place. Raises `RateLimited` for a long pause or a long line."""
        line_ends = time.monotonic() + self._line_seconds
        while True:
            args = (parallel, member, self._place_seconds, _CAUTIOUS, int(lane == "records"), *self._spacing)
            granted, wait_ms, known, *ours = await self._run(_TAKE, host, *args)
            if not known and (until := await self._kept(host)):
                await self._pause(host, until - self._clock())
                if granted:
                    await self._free(host, parallel, member, good=False)
                continue
            if granted:
                await asyncio.sleep(wait_ms / 1000)
                return True
            now = self._clock()
            if ours:
                raise too_often(host, now + timedelta(milliseconds=wait_ms))
            if wait_ms:
                await wait_or_raise(host, now + timedelta(milliseconds=wait_ms), now, self._patience)
            elif time.monotonic() > line_ends:
                raise RateLimited(f"{host} is busy with other syncs.", now + timedelta(seconds=1))
            else:
                await asyncio.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - so that waiters do not march in step

    @property
    def _spacing(self) -> tuple[float, float]:
        """How far apart requests are, and how long one is waited for; in ms."""
        return self._ceiling.apart * 1000, self._patience * 1000

    async def _kept(self, host: str) -> datetime | None:
        async with self._database.read() as connection:
            return await pauses.of(connection, host)

    async def _keep(self, host: str, member: str) -> None:
        """Say now and then that a slow request is still under way. Runs until cancelled."""
        while True:
            await asyncio.sleep(self._place_seconds / 3)
            try:
                await self._run(_KEEP, host, member, self._place_seconds)
            except (RedisError, OSError) as e:
                log.warning("budget.place_not_kept", host=host, error=str(e))

    async def _free(self, host: str, parallel: int, member: str, *, good: bool) -> None:
        try:
            await self._run(_FREE, host, parallel, member, int(good))
        except (RedisError, OSError) as e:
            log.warning("budget.alone", host=host, error=str(e))

    async def _pause(self, host: str, wait: timedelta, asked: timedelta | None = None) -> None:
        """With `asked` also fewer at once, unless they became fewer since that question was sent."""
        slower, age = int(asked is not None), round((asked or AT_ONCE).total_seconds() * 1000)
        await self._run(_PAUSE, host, round(wait.total_seconds() * 1000), slower, age)

    async def _run(self, script: str, host: str, *args: object) -> list[int]:
        keys = (f"{_PREFIX}{host}", f"{_PREFIX}{host}:places")
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        made = self._redis.eval(script, len(keys), *keys, *map(str, args))
        answer = cast(list[int], await cast(Awaitable[object], made))
        # On Python 3.11 the library loses a cancellation that meets the end of its sending.
        if task and task.cancelling() > cancelled:
            raise asyncio.CancelledError
        return answer
