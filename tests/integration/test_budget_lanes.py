"""The budget of a host under load: records asked for by key go first, and one refusal slows all."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import cast

import pytest
from arq.connections import ArqRedis
from msgspec.structs import replace

from adapters.base import RateLimited
from adapters.budget import Budget, LocalBudget
from adapters.guard import AddressGuard
from adapters.http import Session, open_session, utc_now
from scheduler.dispatch import Request
from store.database import Database
from tests.gated import PAGES, SYSTEM, Gated, GatedRemote
from tests.house import House, open_house
from tests.servers import Server, answer, client, serving
from tests.support import LOOPBACK
from tests.tidegates import PATIENCE
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.tokens import TokenServer
from worker.budget import Clock, RedisBudget
from worker.remote import Remotes

HOST = "https://jira.example.com"


@pytest.fixture
async def budgets(database: Database, redis: ArqRedis) -> list[RedisBudget]:
    """Those of two workers. No pause is waited out."""
    return [RedisBudget(redis, database, Clock(await database.time()), patience=0.0) for _ in range(2)]


async def grow(one: Budget, parallel: int, host: str = HOST) -> None:
    for _ in range(60):
        async with one.slot(host, parallel):
            pass


async def limit(redis: ArqRedis, host: str = HOST) -> float:
    found = await cast(Awaitable[bytes | None], redis.hget(f"tidegate:budget:{host}", "limit"))
    return float(found or 0)


async def filled(held: AsyncExitStack, one: Budget, places: int) -> None:
    """Bulk work that has all of its places."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(places):
            await held.enter_async_context(one.slot(HOST, places))


async def by_key(held: AsyncExitStack, one: Budget, places: int) -> None:
    """A request of the records lane that has the place which is kept."""
    async with asyncio.timeout(PATIENCE):
        await held.enter_async_context(one.slot(HOST, places, "records"))


async def is_refused(one: Budget, parallel: int, lane: str) -> bool:
    """Whether there is no place within a quarter of a second."""
    assert lane in ("bulk", "records")
    try:
        async with asyncio.timeout(0.25), one.slot(HOST, parallel, "bulk" if lane == "bulk" else "records"):
            return False
    except TimeoutError:
        return True


async def test_a_record_by_key_has_a_place_at_once_while_bulk_work_has_all_of_its_own(
    budgets: list[RedisBudget],
) -> None:
    await grow(budgets[0], 4)
    took = []
    async with AsyncExitStack() as held:
        await filled(held, budgets[0], 4)
        assert await is_refused(budgets[1], 4, "bulk")
        for _ in range(100):
            began = time.monotonic()
            async with budgets[1].slot(HOST, 4, "records"):
                took.append(time.monotonic() - began)
    assert sorted(took)[98] < 1.0  # bulk work never ends here: no wait would be long enough


async def test_the_place_that_is_kept_is_one(budgets: list[RedisBudget]) -> None:
    await grow(budgets[0], 4)
    async with AsyncExitStack() as held:
        await filled(held, budgets[0], 4)
        await by_key(held, budgets[1], 4)
        assert await is_refused(budgets[1], 4, "records")
        assert await is_refused(budgets[1], 4, "bulk")


async def test_in_one_process_a_place_is_kept_as_well() -> None:
    alone = LocalBudget(utc_now)
    async with AsyncExitStack() as held:
        await filled(held, alone, 2)
        assert await is_refused(alone, 2, "bulk")
        await by_key(held, alone, 2)
        assert await is_refused(alone, 2, "records")
    assert not await is_refused(alone, 2, "bulk")


async def test_a_host_that_asked_for_a_pause_gets_no_record_either(budgets: list[RedisBudget]) -> None:
    await budgets[0].pause(HOST, budgets[0]._clock() + timedelta(minutes=1), "429")
    with pytest.raises(RateLimited):
        async with budgets[1].slot(HOST, 4, "records"):
            pass


async def test_an_answer_that_warns_does_not_raise_the_limit(
    budgets: list[RedisBudget], redis: ArqRedis
) -> None:
    for _ in range(20):
        async with budgets[0].slot(HOST, 8) as place:
            place.good = False
    assert await limit(redis) == 2.0


async def test_refusals_of_requests_that_were_under_way_together_count_once(
    budgets: list[RedisBudget], redis: ArqRedis
) -> None:
    await grow(budgets[0], 8)
    now = budgets[0]._clock()
    for number in range(6):
        await budgets[number % 2].pause(HOST, now, "429", timedelta(seconds=2))
    assert await limit(redis) == 4.0
    await budgets[0].pause(HOST, now, "429", timedelta(0))
    assert await limit(redis) == 2.0


async def test_a_redis_that_was_emptied_begins_with_caution(
    budgets: list[RedisBudget], redis: ArqRedis
) -> None:
    await grow(budgets[0], 8)
    assert await limit(redis) == 8.0
    await redis.flushall()
    async with AsyncExitStack() as held:
        for one in budgets:
            await held.enter_async_context(one.slot(HOST, 8))
        assert await is_refused(budgets[0], 8, "bulk")


async def test_whoever_is_cancelled_in_the_line_leaves_it(
    budgets: list[RedisBudget], redis: ArqRedis
) -> None:
    async with AsyncExitStack() as held:
        await filled(held, budgets[0], 2)
        for delay in (0.001, 0.003, 0.006, 0.01, 0.02) * 4:
            waiting = [asyncio.create_task(is_refused(one, 2, "bulk")) for one in budgets * 10]
            await asyncio.sleep(delay)
            for task in waiting:
                task.cancel()
            done, left = await asyncio.wait(waiting, timeout=PATIENCE / 4)
            assert not left
            assert len(done) == len(waiting)
    assert await redis.zcard(f"tidegate:budget:{HOST}:places") == 0


@pytest.fixture
async def azure() -> AsyncIterator[Server]:
    """Answers with data, and asks for a pause."""
    async with serving(answer(200, b"[1]", Retry_After="30", X_RateLimit_Delay="2")) as server:
        yield server


async def test_a_delayed_200_seen_by_one_worker_holds_up_the_other(
    budgets: list[RedisBudget], azure: Server, redis: ArqRedis
) -> None:
    await grow(budgets[0], 4, azure.url)
    async with client(azure.url, budget=budgets[0]) as one, client(azure.url, budget=budgets[1]) as other:
        assert (await one.get("/a")).body == b"[1]"
        with pytest.raises(RateLimited):
            await other.get("/b")
    assert azure.paths == ["/a"]
    assert await limit(redis, azure.url) == 2.0


@pytest.fixture
async def remote() -> AsyncIterator[GatedRemote]:
    async with TokenServer() as issuer, GatedRemote(issuer) as started:
        started.open = True
        yield started


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with open_session(AddressGuard(LOOPBACK)) as opened:
        yield opened


@pytest.fixture
async def workers(
    database: Database, budgets: list[RedisBudget], session: Session
) -> AsyncIterator[list[House]]:
    """Two workers of one Tidegate, with a budget that they share through Redis alone."""
    async with open_house(database, {SYSTEM: Gated}) as house:
        made = []
        for number, one in enumerate(budgets):
            remotes = Remotes({SYSTEM: Gated}, session, one, house.vault, database)
            deps = replace(house.deps, remotes=remotes, owner=f"worker {number}")
            made.append(House(database, deps, house.vault))
        yield made


async def test_a_429_seen_by_one_worker_makes_the_syncs_of_all_wait_until_its_time(
    workers: list[House], remote: GatedRemote
) -> None:
    first, second = workers
    one = await first.connection(SYSTEM, remote.url)
    other = await first.connection(SYSTEM, remote.url, callback_token="other")
    remote.faults.append(Fault("/pages/3", 429, headers={"Retry-After": "600"}))
    before = await first.database.time()
    limited = await first.sync(one.id)
    held_up = await second.sync(other.id)
    for sync in (limited, held_up):
        assert (sync.state, sync.error and sync.error.kind) == ("waiting", "rate_limited")
        assert sync.resume_at is not None
        assert timedelta(seconds=595) < sync.resume_at - before < timedelta(seconds=660)
    assert len(remote.requests()) == 3
    for connection in (one, other):
        assert (await first.get(connection.id)).health == "rate_limited"
    assert await first.keys(SYSTEM, "things") == {"1", "2"}


async def test_records_by_key_are_fetched_while_first_syncs_have_all_places_of_the_host(
    workers: list[House], remote: GatedRemote
) -> None:
    first, second = workers
    gate, under_way = asyncio.Event(), asyncio.Event()

    async def hold(number: int) -> None:
        if number <= PAGES:
            if len(remote.requests()) == 2:
                under_way.set()
            await gate.wait()

    remote.before = hold
    bulk = [await first.connection(SYSTEM, remote.url, callback_token=f"bulk {n}") for n in range(2)]
    wanted = await first.connection(SYSTEM, remote.url, callback_token="wanted")
    syncing = [asyncio.create_task(first.sync(each.id)) for each in bulk]
    async with asyncio.timeout(PATIENCE):
        await under_way.wait()
        named = await second.sync(wanted.id, Request("api", "records", keys={"things": ["9"]}))
        assert named.state == "succeeded"
        gate.set()
        assert [(await each).state for each in syncing] == ["succeeded"] * 2
    assert await first.keys(SYSTEM, "things") == {"1", "2", "3", "4", "9"}
