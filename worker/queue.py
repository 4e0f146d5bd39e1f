"""The doorbell: arq jobs in Redis that say which sync to look at. All they hold can be rebuilt."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis
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
_CLOCKS_DIFFER = timedelta(days=1)

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


class Queue:
    """Rings the workers. A ring that fails is only logged: the reaper rings again from the database."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Wake a worker for each; the id makes ringing twice one job, and a takeover another."""
        try:
            if not rings:
                return
            since = await self._since()
            for number, ring in enumerate(rings):
                await self._redis.enqueue_job(
                    RUN_SYNC,
                    ring.sync_id,
                    _job_id=f"{ring.sync_id}:{ring.fence}",
                    _queue_name=QUEUES[ring.lane],
                    _defer_until=since + timedelta(milliseconds=number),
                )
            await self._redis.publish(RUNG, "")
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
            await self._redis.enqueue_job(
                job,
                connection_id,
                _job_id=f"{name}:{connection_id}",
                _queue_name=QUEUES["records"],
                _defer_until=await self._since(),
            )
            await self._redis.publish(RUNG, "")
        except (RedisError, OSError) as e:
            log.warning("queue.ring_failed", job=job, connection=connection_id, error=str(e))

    async def _since(self) -> datetime:
        """Since when a job of now is due: by Redis's clock, so that all who ring stand in one line, and long
        ago, so that no worker takes it for one of later."""
        seconds, micro = await self._redis.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micro) - _CLOCKS_DIFFER
