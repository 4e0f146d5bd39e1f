"""The worker process: takes jobs of both lanes off Redis, and ends cleanly at page boundaries.

arq carries the jobs; nothing else of it is relied on. Its retries, results and in-progress keys are closed
off: what is to run, and who runs it, is said by the database.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.typing import WorkerCoroutine
from arq.worker import Worker as ArqWorker
from arq.worker import func
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from config.failpoints import Step, passed
from store.database import clock
from store.syncs import Lane
from worker.budget import Clock
from worker.check import run_check
from worker.ears import Ears
from worker.lease import keep_leases
from worker.queue import QUEUES, RUN_CHECK, RUN_SYNC, RUN_WEBHOOK, Queue, pack, unpack
from worker.registrar import Registrar
from worker.sync import Deps, run_slice

log = structlog.get_logger()

#: Slices of the bulk lane at once per process, and half as many of the other. They wait for remotes most of
#: the time.
SLICES = 40
#: How often to look without having been woken: a ring that nobody heard waits for so long.
POLL_SECONDS = 0.5
#: More than all jobs of all workers, or the running ones would hide the waiting ones.
QUEUE_READ_LIMIT = 5000
#: arq's own hold on a job: only ever waited for by a job that died before its claim.
ARQ_HOLD_SECONDS = 10
#: A slice that hangs for so long is cut off; its sync goes on elsewhere.
JOB_TIMEOUT_SECONDS = 600
#: From SIGTERM to the end: first pages may finish, then requests are broken off.
PAGE_GRACE_SECONDS = 8.0
CANCEL_GRACE_SECONDS = 5.0
_RECONNECT_MOST = 5.0


# Of these jobs those that nobody has, as many as there is room for, each with its place in the line. What
# this worker was given before, in an answer that did not arrive, it is given again.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local taken = {}
for at = 5, #ARGV do
  local key, score = ARGV[1] .. ARGV[at], redis.call('ZSCORE', KEYS[1], ARGV[at])
  if score and tonumber(score) <= now
    and (redis.call('SET', key, ARGV[4], 'PX', ARGV[2], 'NX') or redis.call('GET', key) == ARGV[4]) then
    table.insert(taken, ARGV[at])
    table.insert(taken, score)
    if #taken == 2 * ARGV[3] then break end
  end
end
return taken
"""


class _Woken(ArqWorker):
    """arq's worker, which looks when something was rung instead of many times a second, and takes what it
    finds in one trip to Redis instead of four for each job."""

    def __init__(self, ears: Ears, **options: Any) -> None:
        super().__init__(**options)
        self._ears = ears
        self._token = uuid4().hex

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """As arq does."""
        room = self.max_jobs - self.job_counter
        others = [job_id for job_id in job_ids if job_id.decode() not in self.tasks]
        if room <= 0 or not others:
            return
        hold = int(self.in_progress_timeout_s * 1000)
        args: list[bytes | str | int] = [in_progress_key_prefix, hold, room, self._token, *others]
        taken = await self.pool.register_script(_TAKE)([self.queue_name], args)
        for job_id, score in zip(taken[::2], taken[1::2], strict=True):
            await self.sem.acquire()
            self.job_counter += 1
            task = self.loop.create_task(self.run_job(job_id.decode(), int(float(score))))
            task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
            self.tasks[job_id.decode()] = task

    async def main(self) -> None:
        """What arq does once it has its pool, without its options that are not used here."""
        self.ctx["redis"] = self.pool
        while True:
            rung = self._ears.rung()
            await self._poll_iteration()
            await self._ears.wait(rung, self.poll_delay_s)


class Worker:
    """Works until `stop` is set, then hands over what it holds. Redis may come and go meanwhile."""

    def __init__(
        self,
        deps: Deps,
        redis: ArqRedis,
        time: Clock,
        page_grace: float = PAGE_GRACE_SECONDS,
        registrar: Registrar | None = None,
        slices: int = SLICES,
    ) -> None:
        """`page_grace`: after `stop`, a page that is under way may take so many seconds more. Without a
        `registrar` webhooks at remotes are left alone. `slices` of the bulk lane are at work at once.
        """
        self._jobs: Mapping[Lane, int] = {"bulk": slices, "records": max(1, slices // 2)}
        self._deps = deps
        self._registrar = registrar
        self._redis = redis
        self._queue = Queue(redis)
        self._time = time
        self._page_grace = page_grace
        self._running: set[asyncio.Task[Any]] = set()
        self._ears = Ears(redis)

    async def run(self, stop: asyncio.Event) -> None:
        """Returns within 15 s of `stop`; a page that takes longer is broken off and goes on elsewhere."""
        deps = self._deps
        beat = asyncio.create_task(keep_leases(deps.database, deps.owner, self._time, deps.holding))
        hearing = asyncio.create_task(self._ears.listen())
        lanes = [asyncio.create_task(self._supervise(lane)) for lane in QUEUES]
        try:
            await stop.wait()
        finally:
            await _cancelled(lanes)
            await self._drain()
            await _cancelled([beat, hearing])

    async def _supervise(self, lane: Lane) -> None:
        """Keep an arq worker going: it ends with any error of Redis, and with its own."""
        wait = 0.1
        while True:
            started = time.monotonic()
            try:
                await self._serve(self._arq(lane))
            except (RedisError, OSError) as e:
                log.warning("worker.redis_lost", lane=lane, error=str(e) or type(e).__name__)
            except Exception:
                # What runs goes on by itself; a lane that ended unnoticed would be far worse.
                log.exception("worker.lane_failed", lane=lane)
            wait = 0.1 if time.monotonic() - started > 10 else min(wait * 2, _RECONNECT_MOST)
            await asyncio.sleep(wait)

    async def _serve(self, worker: ArqWorker) -> None:
        hold = asyncio.create_task(self._hold(worker))
        try:
            await worker.async_run()
        finally:
            await _cancelled([hold])

    async def _hold(self, worker: ArqWorker) -> None:
        """Keep arq's own keys of the running jobs, which are short so that a dead worker's are soon gone."""
        while True:
            await asyncio.sleep(ARQ_HOLD_SECONDS / 3)
            running = [job for job, task in worker.tasks.items() if not task.done()]
            try:
                async with self._redis.pipeline(transaction=False) as keys:
                    for job in running:
                        keys.pexpire(in_progress_key_prefix + job, ARQ_HOLD_SECONDS * 1000)
                    await keys.execute()
            except (RedisError, OSError) as e:
                log.warning("worker.hold_failed", error=str(e) or type(e).__name__)

    def _arq(self, lane: Lane) -> ArqWorker:
        worker = _Woken(
            self._ears,
            functions=[
                func(self._tracked(self._run_sync), name=RUN_SYNC),
                func(self._tracked(self._run_check), name=RUN_CHECK),
                func(self._tracked(self._run_webhook), name=RUN_WEBHOOK),
            ],
            queue_name=QUEUES[lane],
            redis_pool=self._redis,
            handle_signals=False,
            max_jobs=self._jobs[lane],
            job_timeout=JOB_TIMEOUT_SECONDS,
            keep_result=0,
            poll_delay=POLL_SECONDS,
            queue_read_limit=QUEUE_READ_LIMIT,
            max_tries=1_000_000,
            health_check_interval=3600,
            health_check_key=f"{QUEUES[lane]}:health:{self._deps.owner}",
            job_serializer=pack,
            job_deserializer=unpack,
            log_results=False,
        )
        worker.in_progress_timeout_s = ARQ_HOLD_SECONDS
        return worker

    def _tracked(self, job: Callable[[int], Awaitable[None]]) -> WorkerCoroutine:
        """A job as arq calls it, known to `_drain`. What ends it in disorder is for the log, not for arq."""

        async def run(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:  # noqa: ARG001 - arq's interface
            about = int(args[0])
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            try:
                await job(about)
            except (SQLAlchemyError, OSError) as e:
                self._deps.holding.shake()
                log.warning("worker.database_failed", about=about, error=str(e))
            except RedisError as e:
                log.warning("worker.redis_failed", about=about, error=str(e) or type(e).__name__)
            except Exception:
                log.exception("worker.job_failed", about=about)
            finally:
                self._running.discard(task)

        return run

    async def _run_sync(self, sync_id: int) -> None:
        rings = await run_slice(self._deps, sync_id)
        await self._queue.tell()
        await self._queue.ring(rings)
        passed(Step.SLICE_RUNG)

    async def _run_webhook(self, connection_id: int) -> None:
        if self._registrar is not None:
            await self._registrar.settle(connection_id)

    async def _run_check(self, connection_id: int) -> None:
        async with self._deps.database.read() as connection:
            now = await clock(connection)
        await run_check(self._deps, connection_id, now)

    async def _drain(self) -> None:
        """Let pages finish, then break off what still waits for its remote."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._page_grace)
        left = list(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_GRACE_SECONDS)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until they heard it: a library may swallow a cancellation that meets an answer."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    await asyncio.gather(*tasks, return_exceptions=True)
