"""The worker process: jobs in, slices done, whatever happens to Redis, the remote or the code."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from arq.connections import ArqRedis
from msgspec.structs import replace
from structlog.testing import capture_logs

from adapters.base import AuthFailed, Readable
from scheduler.due import open_due
from scheduler.scheduler import Scheduler
from scheduler.upkeep import checks_due, reap
from store.database import now
from store.health import Problem
from store.syncs import Ring, Sync
from tests.adapter_double import SYSTEM, Script, thing
from tests.engine import claim, claimable, connect, connection_row, lose_lease, set_connection, sync_row
from tests.house import House
from tests.valkey import Valkey
from worker.budget import Clock
from worker.queue import QUEUES, Queue
from worker.worker import Worker


@asynccontextmanager
async def working(house: House, redis: ArqRedis, page_grace: float = 8.0) -> AsyncIterator[asyncio.Event]:
    """A worker that runs; it is stopped at the end, unless it was before."""
    stop = asyncio.Event()
    deps = replace(house.deps, stopping=stop.is_set)
    worker = Worker(deps, redis, Clock(await house.database.time()), page_grace)
    running = asyncio.create_task(worker.run(stop))
    try:
        yield stop
        assert not running.done() or stop.is_set()
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110 - it is the database that tells
            await asyncio.sleep(0.02)


async def ended(house: House, sync_id: int) -> Sync:
    async def has_ended() -> bool:
        return (await house.status(sync_id)).finished_at is not None

    await until(has_ended)
    return await house.status(sync_id)


async def rung(house: House, redis: ArqRedis, connection_id: int) -> int:
    sync = await house.open(connection_id)
    await Queue(redis).ring([Ring(sync.id, sync.fence, sync.lane)])
    return sync.id


async def test_a_ring_is_worked_on_until_the_sync_has_ended(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", *[[thing(str(number))] for number in range(5)])
    engine.deps = replace(engine.deps, slice_seconds=0.0)
    async with working(engine, redis):
        sync = await ended(engine, await rung(engine, redis, (await connect(engine)).id))
    assert (sync.state, sync.pages) == ("succeeded", 5)
    assert sync.fence >= 5
    assert await redis.zcard(QUEUES["bulk"]) == 0


async def test_a_job_that_raises_unexpectedly_does_not_end_the_worker(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")])
    script.defect = ZeroDivisionError("a bug")
    async with working(engine, redis):
        broken = await rung(engine, redis, (await connect(engine, 1)).id)

        async def was_tried() -> bool:
            return bool(script.asked)

        await until(was_tried)
        script.defect = None
        good = await ended(engine, await rung(engine, redis, (await connect(engine, 2)).id))
    assert good.state == "succeeded"
    row = await sync_row(engine, broken)
    assert (row["state"], row["claim_pages"], row["lease_owner"]) == ("running", 0, None)
    assert (await connection_row(engine, row["connection_id"]))["crashes"] == 1


async def test_a_sync_whose_job_failed_is_let_go_by_a_worker_that_lives_on(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")])
    script.defect = ZeroDivisionError("a bug")
    async with working(engine, redis):
        broken = await rung(engine, redis, (await connect(engine, 1)).id)

        async def was_tried() -> bool:
            return bool(script.asked)

        async def is_to_be_had() -> bool:
            return broken in await claimable(engine)

        await until(was_tried)
        script.defect = None
        await until(is_to_be_had)
        await Queue(redis).ring(await reap(engine.database))
        assert (await ended(engine, broken)).state == "succeeded"


async def test_a_worker_outlives_a_restart_of_redis(
    engine: House, script: Script, redis: ArqRedis, valkey: Valkey
) -> None:
    script.add("all", [thing("1")])
    async with working(engine, redis):
        await ended(engine, await rung(engine, redis, (await connect(engine, 1)).id))
        await valkey.kill()
        lost = await engine.open((await connect(engine, 2)).id)
        await valkey.start()
        # What Redis forgot, the reaper rings again.
        await Queue(redis).ring(await reap(engine.database))
        assert (await ended(engine, lost.id)).state == "succeeded"


async def test_emptying_redis_loses_no_sync(engine: House, script: Script, redis: ArqRedis) -> None:
    script.add("all", *[[thing(str(number))] for number in range(4)])
    made = await connect(engine, frequency="hourly")
    await set_connection(engine, made.id, next_due_at=now(-1))
    [ring] = await open_due(engine.database)
    await Queue(redis).ring([ring])
    await redis.flushall()
    async with working(engine, redis):
        await Scheduler(engine.database, engine.deps.tables, Queue(redis)).reap()
        assert (await ended(engine, ring.sync_id)).state == "succeeded"


async def test_a_worker_that_stops_hands_over_what_it_holds_though_the_remote_hangs(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")])
    script.silence = asyncio.Event()
    made = await connect(engine)
    async with working(engine, redis, page_grace=0.1) as stop:
        sync_id = await rung(engine, redis, made.id)

        async def is_waiting() -> bool:
            return bool(script.asked)

        await until(is_waiting)
        stop.set()
    row = await sync_row(engine, sync_id)
    assert (row["state"], row["lease_owner"], row["lease_until"]) == ("running", None, None)
    script.silence.set()
    assert (await engine.work(sync_id)).state == "succeeded"
    assert (await connection_row(engine, made.id))["crashes"] == 0


async def test_a_worker_that_stops_lets_the_page_under_way_finish(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")], [thing("2")])
    script.silence = asyncio.Event()
    async with working(engine, redis) as stop:
        sync_id = await rung(engine, redis, (await connect(engine)).id)

        async def is_waiting() -> bool:
            return bool(script.asked)

        await until(is_waiting)
        stop.set()
        script.silence.set()
    row = await sync_row(engine, sync_id)
    assert (row["pages"] >= 1, row["lease_owner"]) == (True, None)
    assert "1" in await engine.keys(SYSTEM, "things")


async def test_what_a_dead_worker_held_goes_on_with_another(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")])
    sync_id = (await engine.open((await connect(engine)).id)).id
    assert await claim(engine, sync_id, "dead") is not None
    assert await reap(engine.database) == []
    await lose_lease(engine, sync_id)
    async with working(engine, redis):
        await Queue(redis).ring(await reap(engine.database))
        assert (await ended(engine, sync_id)).state == "succeeded"


# --- the daily check of a paused connection


async def paused(house: House) -> int:
    made = await connect(house, frequency="hourly")
    facts: dict[str, object] = {"failure": Problem("auth", "refused"), "health": "failed", "cause": "auth"}
    await set_connection(house, made.id, **facts, next_check_at=now(-1))
    return made.id


async def checked(house: House, script: Script, redis: ArqRedis) -> None:
    async with working(house, redis):
        for connection_id in await checks_due(house.database):
            await Queue(redis).ring_check(connection_id)
        assert await checks_due(house.database) == []

        async def was_checked() -> bool:
            return script.checks > 0 and not await redis.exists("arq:job:check:1")

        await until(was_checked)


async def test_a_good_check_of_a_paused_connection_opens_one_sync_to_catch_up(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    connection_id = await paused(engine)
    await checked(engine, script, redis)
    found = await engine.get(connection_id)
    assert (found.health, found.paused) == ("pending", False)
    [ring] = await open_due(engine.database)
    assert (await engine.status(ring.sync_id)).trigger == "catch_up"


async def test_a_check_that_is_refused_leaves_the_connection_paused_until_tomorrow(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    connection_id = await paused(engine)
    script.check_error = AuthFailed("Still not.")
    await checked(engine, script, redis)
    row = await connection_row(engine, connection_id)
    assert row["failure"]["message"] == "Still not."
    assert row["next_check_at"] > await engine.database.time()
    assert await open_due(engine.database) == []


async def test_a_check_that_finds_nothing_readable_is_no_good_check(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    connection_id = await paused(engine)
    script.checked = Readable(False, problem="The filter is gone.", kind="not_found")
    await checked(engine, script, redis)
    failure = (await connection_row(engine, connection_id))["failure"]
    assert (failure["kind"], failure["message"]) == ("not_found", "The filter is gone.")
    assert await open_due(engine.database) == []


async def test_a_lane_outlives_what_no_job_of_ours_could_be(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")])
    async with working(engine, redis):
        # arq itself fails on an id that is no text, and its own loop ends with that.
        with capture_logs() as told:

            async def failed() -> bool:
                return any(line["event"] == "worker.lane_failed" for line in told)

            await redis.zadd(QUEUES["bulk"], {b"\xff": 0})
            await until(failed)
        await redis.zrem(QUEUES["bulk"], b"\xff")
        sync = await ended(engine, await rung(engine, redis, (await connect(engine)).id))
    assert sync.state == "succeeded"
