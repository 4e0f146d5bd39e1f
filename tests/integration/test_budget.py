"""The budget of a host, shared through Redis by workers that know nothing of each other."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import cast

import pytest
from arq.connections import ArqRedis

from adapters.base import RateLimited
from adapters.budget import Ceiling
from adapters.http import Budget, LocalBudget, utc_now
from store import pauses
from store.database import Database
from tests.house import House
from tests.valkey import Valkey
from worker.budget import LINE_SECONDS, PLACE_SECONDS, Clock, RedisBudget

HOST = "https://jira.example.com"


@pytest.fixture
async def budgets(engine: House, redis: ArqRedis) -> list[RedisBudget]:
    """Those of two workers. No pause is waited out unless a test says so."""
    return [await budget(engine.database, redis) for _ in range(2)]


async def budget(
    database: Database,
    redis: ArqRedis,
    patience: float = 0.0,
    place_seconds: float = PLACE_SECONDS,
    line_seconds: float = LINE_SECONDS,
) -> RedisBudget:
    return RedisBudget(redis, database, Clock(await database.time()), patience, place_seconds, line_seconds)


async def grow(one: Budget, parallel: int, requests: int = 60) -> None:
    """Good answers, one after the other."""
    for _ in range(requests):
        async with one.slot(HOST, parallel):
            pass


async def most_at_once(budgets: Sequence[Budget], parallel: int, requests: int = 40) -> int:
    """How many requests were under way at the same time, at most."""
    here = most = 0

    async def request(one: Budget) -> None:
        nonlocal here, most
        async with one.slot(HOST, parallel):
            here += 1
            most = max(most, here)
            await asyncio.sleep(0.02)  # longer than a trip to Redis, on a busy machine, too
            here -= 1

    await asyncio.gather(*(request(budgets[i % len(budgets)]) for i in range(requests)))
    return most


async def test_the_places_of_a_host_are_shared_by_all_workers(budgets: list[RedisBudget]) -> None:
    await grow(budgets[0], 4)
    assert await most_at_once(budgets, 4) == 4


async def test_a_host_that_is_new_gets_few_requests_and_more_with_each_good_round(
    budgets: list[RedisBudget], redis: ArqRedis
) -> None:
    async with AsyncExitStack() as held:
        for one in budgets:
            await held.enter_async_context(one.slot(HOST, 8))
        third = asyncio.create_task(grow(budgets[0], 8, 1))
        await asyncio.wait([third], timeout=0.2)
        assert not third.done()
    await third
    await grow(budgets[0], 8)
    assert await limit(redis) == 8.0


async def limit(redis: ArqRedis) -> float:
    found = await cast(Awaitable[bytes | None], redis.hget(f"tidegate:budget:{HOST}", "limit"))
    return float(found or 0)


async def test_a_host_that_says_no_gets_half_as_many(budgets: list[RedisBudget], redis: ArqRedis) -> None:
    await grow(budgets[0], 8)
    now = budgets[0]._clock()
    for expected in (4, 2, 1, 1):
        await budgets[0].pause(HOST, now, "429")
        assert await limit(redis) == expected
    await grow(budgets[0], 8, 1)
    assert await limit(redis) == 2


async def test_a_failed_request_does_not_raise_the_limit(budgets: list[RedisBudget], redis: ArqRedis) -> None:
    for _ in range(5):
        with pytest.raises(OSError, match="reset"):
            async with budgets[0].slot(HOST, 8):
                raise OSError("reset")
    assert await limit(redis) == 2.0
    assert await redis.zcard(f"tidegate:budget:{HOST}:places") == 0


async def test_a_pause_asked_of_one_worker_holds_for_all(budgets: list[RedisBudget]) -> None:
    until = budgets[0]._clock() + timedelta(minutes=1)
    await budgets[0].pause(HOST, until, "429")
    for one in budgets:
        with pytest.raises(RateLimited) as e:
            async with one.slot(HOST, 4):
                pass
        assert e.value.retry_at is not None
        assert abs(e.value.retry_at - until) < timedelta(seconds=2)
        async with one.slot("https://other.example.com", 4):
            pass


async def test_of_two_pauses_the_longer_counts(budgets: list[RedisBudget]) -> None:
    for minutes in (10, 1):
        await budgets[0].pause(HOST, budgets[0]._clock() + timedelta(minutes=minutes), "429")
    with pytest.raises(RateLimited) as e:
        async with budgets[1].slot(HOST, 4):
            pass
    assert e.value.retry_at is not None
    assert e.value.retry_at - budgets[1]._clock() > timedelta(minutes=9)


async def test_a_short_pause_is_waited_out(engine: House, redis: ArqRedis) -> None:
    patient = await budget(engine.database, redis, patience=5.0)
    until = patient._clock() + timedelta(seconds=0.3)
    await patient.pause(HOST, until, "429")
    async with patient.slot(HOST, 4):
        assert patient._clock() >= until - timedelta(milliseconds=50)


async def test_a_long_pause_outlives_redis_being_emptied(budgets: list[RedisBudget], redis: ArqRedis) -> None:
    await budgets[0].pause(HOST, budgets[0]._clock() + timedelta(minutes=1), "429")
    await redis.flushall()
    for _ in range(2):
        with pytest.raises(RateLimited):
            async with budgets[1].slot(HOST, 4):
                pass


async def test_a_pause_that_is_over_is_forgotten(engine: House, budgets: list[RedisBudget]) -> None:
    async with engine.database.write() as connection:
        past = budgets[0]._clock() - timedelta(seconds=1)
        await pauses.keep(connection, HOST, past, "429")
    async with budgets[0].slot(HOST, 4):
        pass


async def test_the_place_of_a_worker_that_died_is_free_again(engine: House, redis: ArqRedis) -> None:
    short = await budget(engine.database, redis, place_seconds=0.2)
    for number in range(2):
        assert await short._take(HOST, 2, f"dead {number}")
    async with asyncio.timeout(5), short.slot(HOST, 2):
        pass


async def test_a_line_that_is_too_long_is_left(engine: House, redis: ArqRedis) -> None:
    hasty = await budget(engine.database, redis, line_seconds=0.1)
    async with hasty.slot(HOST, 1):
        with pytest.raises(RateLimited, match="busy"):
            async with hasty.slot(HOST, 1):
                pass


@pytest.fixture
async def away(budgets: list[RedisBudget], valkey: Valkey) -> list[RedisBudget]:
    """The budgets, with no Redis."""
    await valkey.kill()
    return budgets


async def test_without_redis_each_worker_counts_for_itself_and_none_fails(away: list[RedisBudget]) -> None:
    assert await most_at_once(away[:1], 4, requests=6) == 2


async def test_without_redis_a_pause_is_kept_all_the_same(engine: House, away: list[RedisBudget]) -> None:
    until = away[0]._clock() + timedelta(minutes=1)
    await away[0].pause(HOST, until, "429")
    with pytest.raises(RateLimited):
        async with away[0].slot(HOST, 4):
            pass
    async with engine.database.read() as connection:
        kept = await pauses.of(connection, HOST)
    assert kept is not None
    assert abs(kept - until) < timedelta(milliseconds=2)


async def test_when_redis_is_back_the_places_are_shared_again(
    away: list[RedisBudget], valkey: Valkey, redis: ArqRedis
) -> None:
    async with away[0].slot(HOST, 4):
        await valkey.start()
    await grow(away[0], 4)
    assert await limit(redis) == 4.0


# --- what an operator allows at most


async def allowed(
    engine: House, redis: ArqRedis, ceiling: Ceiling, patience: float = 5.0
) -> list[RedisBudget]:
    """The budgets of two workers whose operator set a limit."""
    clock = Clock(await engine.database.time())
    return [RedisBudget(redis, engine.database, clock, patience, ceiling=ceiling) for _ in range(2)]


async def test_no_more_is_asked_at_once_than_the_operator_allows(engine: House, redis: ArqRedis) -> None:
    budgets = await allowed(engine, redis, Ceiling(parallel=3))
    await grow(budgets[0], 8)
    assert await most_at_once(budgets, 8) == 3


async def test_all_workers_together_ask_a_host_no_more_often_than_the_operator_allows(
    engine: House, redis: ArqRedis
) -> None:
    budgets = await allowed(engine, redis, Ceiling(rate=20))
    await grow(budgets[0], 8, 5)
    loop = asyncio.get_running_loop()
    asked = []

    async def ask(one: RedisBudget) -> None:
        async with one.slot(HOST, 8):
            asked.append(loop.time())

    await asyncio.gather(*(ask(budgets[n % 2]) for n in range(21)))
    assert max(asked) - min(asked) >= 0.9  # 20 distances of 50 ms; a timer may be early by a little


async def test_who_would_wait_long_for_the_operators_limit_holds_no_worker(
    engine: House, redis: ArqRedis
) -> None:
    one, other = await allowed(engine, redis, Ceiling(rate=0.1))
    async with one.slot(HOST, 8):
        pass
    with pytest.raises(RateLimited, match="TIDEGATE_HOST_RATE") as raised:
        async with other.slot(HOST, 8):
            pass
    assert raised.value.retry_at is not None
    wait = raised.value.retry_at - await engine.database.time()
    assert timedelta(seconds=5) < wait <= timedelta(seconds=10.5)


async def test_a_process_alone_keeps_to_what_the_operator_allows() -> None:
    alone = LocalBudget(utc_now, ceiling=Ceiling(parallel=2, rate=20))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await most_at_once([alone], 8, 11) <= 2
    assert loop.time() - began >= 0.45
