"""A remote that asks for patience gets it, from everyone, and no more are sent at once than agreed."""

import asyncio
import time
from datetime import timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from adapters.base import RateLimited, Unavailable
from adapters.http import Limits, LocalBudget, Meter, retry_after, utc_now
from tests.servers import NOON, Hands, answer, client, reply, serving


def after(seconds: float) -> str:
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


WAITS = [
    ("7", 7),
    (" 7 ", 7),
    ("0.5", 0.5),
    ("3600", 3600),
    ("86400", 3600),
    ("1e300", 3600),
    ("inf", 3600),
    ("9" * 400, 3600),
    (after(90), 90),
    (after(86_400), 3600),
    ("0", None),
    ("-5", None),
    ("-inf", None),
    ("nan", None),
    ("", None),
    ("soon", None),
    ("7 seconds", None),
    (after(0), None),
    (after(-60), None),
    ("Fri, 99 Nov 2026 12:00:00 GMT", None),
]


@pytest.mark.parametrize(("said", "seconds"), WAITS, ids=[said[:30] for said, _ in WAITS])
def test_retry_after_is_understood(said: str, seconds: float | None) -> None:
    until = retry_after(reply(503, Retry_After=said), NOON)
    assert until == (None if seconds is None else NOON + timedelta(seconds=seconds))


def test_no_retry_after_is_no_time() -> None:
    assert retry_after(reply(503), NOON) is None


def test_a_date_is_measured_by_the_clock_of_the_remote() -> None:
    late = reply(503, Retry_After=after(-3600 + 30), Date=after(-3600))
    assert retry_after(late, NOON) == NOON + timedelta(seconds=30)


@pytest.mark.parametrize(
    "said", [str(NOON.timestamp() + 90), "2026-11-20T12:01:30Z", after(90)], ids=["epoch", "iso", "http"]
)
def test_the_reset_of_a_limit_counts_where_there_is_no_retry_after(said: str) -> None:
    assert retry_after(reply(429, X_RateLimit_Reset=said), NOON) == NOON + timedelta(seconds=90)


def test_a_reset_in_whole_minutes_is_understood() -> None:
    limited = reply(429, X_RateLimit_Reset="2026-11-20T12:05Z")
    assert retry_after(limited, NOON) == NOON + timedelta(minutes=5)


def test_retry_after_goes_before_the_reset() -> None:
    limited = reply(429, Retry_After="5", X_RateLimit_Reset="2026-11-20T12:30:00Z")
    assert retry_after(limited, NOON) == NOON + timedelta(seconds=5)


def test_the_reset_of_a_limit_that_was_not_reached_is_no_demand() -> None:
    assert retry_after(reply(200, X_RateLimit_Reset="2026-11-20T12:30:00Z"), NOON) is None


async def test_a_429_says_when_to_come_back_and_nobody_comes_before() -> None:
    hands = Hands()
    budget = LocalBudget(hands.now)
    async with serving(answer(429, Retry_After="60")) as ours:
        async with client(ours.url, budget=budget, clock=hands.now) as one:
            with pytest.raises(RateLimited) as limited:
                await one.get("/a")
        assert limited.value.retry_at == NOON + timedelta(seconds=60)
        async with client(ours.url, budget=budget, clock=hands.now) as another:
            hands.time += timedelta(seconds=54)
            with pytest.raises(RateLimited) as waiting:
                await another.get("/b")
            assert waiting.value.retry_at == NOON + timedelta(seconds=60)
            assert ours.paths == ["/a"]
            hands.time += timedelta(seconds=6)
            with pytest.raises(RateLimited):
                await another.get("/c")
            assert ours.paths == ["/a", "/c"]


async def test_a_503_with_a_time_holds_everyone_back_too() -> None:
    hands = Hands()
    async with serving(answer(503, Retry_After="60")) as ours, client(ours.url, clock=hands.now) as http:
        with pytest.raises(Unavailable) as caught:
            await http.get("/a")
        assert caught.value.retry_at == NOON + timedelta(seconds=60)
        with pytest.raises(RateLimited):
            await http.get("/b")
        assert ours.paths == ["/a"]


async def test_a_200_that_asks_for_a_pause_is_data_all_the_same() -> None:
    hands = Hands()
    async with serving(answer(200, b"[1]", Retry_After="60")) as ours:
        async with client(ours.url, clock=hands.now) as http:
            assert (await http.get("/a")).body == b"[1]"
            with pytest.raises(RateLimited):
                await http.get("/b")
        assert ours.paths == ["/a"]


async def test_a_200_with_nothing_to_wait_for_holds_nobody_back() -> None:
    hands = Hands()
    async with serving(answer(200, Retry_After="0")) as ours:
        async with client(ours.url, budget=LocalBudget(hands.now, patience=0), clock=hands.now) as http:
            await http.get("/a")
            await http.get("/b")
        assert ours.paths == ["/a", "/b"]


async def test_a_429_without_a_time_leaves_the_host_alone_for_a_moment() -> None:
    hands = Hands()
    async with serving(answer(429)) as ours:
        async with client(ours.url, budget=LocalBudget(hands.now, patience=0), clock=hands.now) as http:
            with pytest.raises(RateLimited) as limited:
                await http.get("/a")
            assert limited.value.retry_at is None
            with pytest.raises(RateLimited):
                await http.get("/b")
            hands.time += timedelta(seconds=1)
            with pytest.raises(RateLimited):
                await http.get("/c")
        assert ours.paths == ["/a", "/c"]


async def test_a_pause_of_one_host_is_none_of_another() -> None:
    hands = Hands()
    budget = LocalBudget(hands.now)
    async with serving(answer(429, Retry_After="60")) as busy, serving(answer()) as free:
        async with client(busy.url, budget=budget, clock=hands.now) as http:
            with pytest.raises(RateLimited):
                await http.get("/a")
        async with client(free.url, budget=budget, clock=hands.now) as http:
            assert (await http.get("/a")).status == 200


async def test_a_short_pause_is_waited_out_and_counted() -> None:
    arrived: list[float] = []

    async def handler(_: web.Request) -> web.StreamResponse:
        arrived.append(time.monotonic())
        return web.json_response({}, headers={"Retry-After": "0.3"})

    meter = Meter()
    async with serving(handler) as ours, client(ours.url, meter=meter) as http:
        await http.get("/a")
        await http.get("/b")
    assert arrived[1] - arrived[0] >= 0.3
    assert meter.waited >= 0.29
    assert (meter.requests, meter.bytes) == (2, 4)


async def test_a_pause_that_grows_while_it_is_waited_out_is_waited_out_whole() -> None:
    budget = LocalBudget(utc_now)
    end = utc_now() + timedelta(seconds=0.4)
    await budget.pause("h", utc_now() + timedelta(seconds=0.1), "")
    entering = asyncio.create_task(_time_of_entry(budget))
    await asyncio.sleep(0)
    await budget.pause("h", end, "")
    assert await entering >= end.timestamp()


async def _time_of_entry(budget: LocalBudget) -> float:
    async with budget.slot("h", 1):
        return time.time()


async def test_a_shorter_pause_does_not_undo_a_longer_one() -> None:
    hands = Hands()
    budget = LocalBudget(hands.now)
    await budget.pause("h", NOON + timedelta(seconds=60), "")
    await budget.pause("h", NOON + timedelta(seconds=1), "")
    with pytest.raises(RateLimited) as caught:
        async with budget.slot("h", 1):
            pass
    assert caught.value.retry_at == NOON + timedelta(seconds=60)


async def test_no_more_requests_are_under_way_than_agreed() -> None:
    now, most = 0, 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return web.json_response({})

    async with serving(handler) as ours, client(ours.url, limits=Limits(parallel=2)) as http:
        await asyncio.gather(*(http.get(f"/{n}") for n in range(8)))
    assert most == 2


async def test_a_cancelled_request_gives_its_place_back() -> None:
    budget = LocalBudget(utc_now)
    entered = asyncio.Event()

    async def hold() -> None:
        async with budget.slot("h", 1):
            entered.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await entered.wait()
    waiters = [asyncio.create_task(_time_of_entry(budget)) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    waiters[1].cancel()
    holder.cancel()
    await asyncio.gather(holder, *waiters[:2], return_exceptions=True)
    async with asyncio.timeout(5):
        await waiters[2]
        await _time_of_entry(budget)


async def test_one_cancelled_while_it_waits_out_a_pause_gives_its_place_back() -> None:
    hands = Hands()
    budget = LocalBudget(hands.now)
    await budget.pause("h", NOON + timedelta(seconds=4), "")
    sleeping = asyncio.create_task(_time_of_entry(budget))
    await asyncio.sleep(0.01)
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    hands.time += timedelta(seconds=4)
    async with asyncio.timeout(2):
        await _time_of_entry(budget)


async def test_a_refused_request_gives_its_place_back() -> None:
    hands = Hands()
    budget = LocalBudget(hands.now)
    await budget.pause("h", NOON + timedelta(seconds=60), "")
    for _ in range(3):
        with pytest.raises(RateLimited):
            await _time_of_entry(budget)
    hands.time += timedelta(seconds=60)
    async with asyncio.timeout(2):
        await _time_of_entry(budget)
