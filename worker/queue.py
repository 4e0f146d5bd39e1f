"""The doorbell: arq jobs in Redis that say which sync to look at. All they hold can be rebuilt."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from store.syncs import Lane, Ring

log = structlog.get_logger()

QUEUES: dict[Lane, str] = {"bulk": "tidegate:queue:bulk", "records": "tidegate:queue:records"}
#: Said whenever something was rung, so that nobody has to look all the time. Nothing depends on hearing it.
RUNG = "tidegate:rung"
#: Said when something has happened that is to be published.
TOLD = "tidegate:told"
RUN_SYNC = "run_sync"
RUN_CHECK = "run_check"
RUN_WEBHOOK = "run_webhook"
#: Longer than any outage worth mentioning: a job that expires is rung again by the reaper anyway.
_JOB_KEPT_MS = 7 * 24 * 3600 * 1000
#: A worker looks for what is due by the clock of its own machine, which may be behind by so much.
_CLOCKS_DIFFER_MS = 24 * 3600 * 1000

# As arq's own enqueueing leaves them, in the order of Redis's clock and not of those who ring.
_ADD = """
local clock = redis.call('TIME')
local since = clock[1] * 1000 + clock[2] / 1000 - ARGV[1]
for at = 1, #KEYS / 2 do
  local id, packed = ARGV[2 + 2 * at], ARGV[3 + 2 * at]
  if redis.call('SET', KEYS[2 * at], packed, 'PX', ARGV[2], 'NX') then
    redis.call('ZADD', KEYS[2 * at - 1], since + at / 1000, id)
  end
end
redis.call('PUBLISH', ARGV[3], '')
"""

pack = msgspec.msgpack.Encoder().encode
unpack: Any = msgspec.msgpack.Decoder().decode


def connect(url: str, connections: int = 64) -> ArqRedis:
    """A client of Redis that outlives restarts of it. `url` is redis://, rediss:// or unix://.

    The library retries what it calls connection errors; a refused connection reaches us as `OSError`, so
    that is named too. Every command has a time limit, as a link may die without a word.
    """
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": 10,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, BusyLoadingError, OSError],
        "socket_timeout": 5,
        "health_check_interval": 15,
    }
    if url.startswith("unix://"):
        options["connection_class"] = UnixDomainSocketConnection
        pool = BlockingConnectionPool(path=url.removeprefix("unix://"), **options)
    else:
        options |= {"socket_connect_timeout": 2, "socket_keepalive": True}
        pool = BlockingConnectionPool.from_url(url, **options)
    redis = ArqRedis(pool, job_serializer=pack, job_deserializer=unpack, expires_extra_ms=_JOB_KEPT_MS)
    # The pool is this client's alone: closing one closes the other.
    redis.auto_close_connection_pool = True
    return redis


class _Job(msgspec.Struct, frozen=True):
    """What arq is to call, about what, under which id, in which line."""

    function: str
    about: int
    id: str
    lane: Lane

    def packed(self, now_ms: int) -> bytes:
        return serialize_job(self.function, (self.about,), {}, None, now_ms, serializer=pack)


class Queue:
    """Rings the workers. A ring that fails is only logged: the reaper rings again from the database."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._script = redis.register_script(_ADD)

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Wake a worker for each; the id makes ringing twice one job, and a takeover another."""
        if not rings:
            return
        try:
            await self._add([_Job(RUN_SYNC, r.sync_id, f"{r.sync_id}:{r.fence}", r.lane) for r in rings])
        except (RedisError, OSError) as e:
            log.warning("queue.ring_failed", rings=len(rings), error=str(e))

    async def answers(self) -> bool:
        """Whether Redis does, within two seconds."""
        try:
            async with asyncio.timeout(2):
                await self._redis.ping()
        except (RedisError, OSError):  # a TimeoutError is one
            return False
        return True

    async def tell(self) -> None:
        """Have what happened be published at once; the relay looks for it by itself before long."""
        try:
            await self._redis.publish(TOLD, "")
        except (RedisError, OSError) as e:
            log.info("queue.tell_failed", error=str(e))

    async def ring_check(self, connection_id: int) -> None:
        """Have a worker check a paused connection."""
        await self._ring_for(RUN_CHECK, "check", connection_id)

    async def ring_webhook(self, connection_id: int) -> None:
        """Have a worker see after the webhook that a connection has at its remote."""
        await self._ring_for(RUN_WEBHOOK, "webhook", connection_id)

    async def _ring_for(self, job: str, name: str, connection_id: int) -> None:
        try:
            await self._add([_Job(job, connection_id, f"{name}:{connection_id}", "records")])
        except (RedisError, OSError) as e:
            log.warning("queue.ring_failed", job=job, connection=connection_id, error=str(e))

    async def _add(self, jobs: Sequence[_Job]) -> None:
        """Put jobs in their lines, those that are in one already excepted, and say so: all in one step, as a
        line to Redis may be slow."""
        keys = [key for job in jobs for key in (QUEUES[job.lane], job_key_prefix + job.id)]
        now = timestamp_ms()
        args = [text for job in jobs for text in (job.id, job.packed(now))]
        await self._script(keys, [_CLOCKS_DIFFER_MS, _JOB_KEPT_MS, RUNG, *args])
