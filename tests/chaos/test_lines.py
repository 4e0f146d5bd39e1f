"""Lines that are slow, break, or lose an answer: to Redis, to the database, to a remote."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from store.database import Database
from tests.chaos import truth
from tests.chaos.plan import seconds, times
from tests.chaos.proxy import proxy_to
from tests.chaos.servers import OwnRedis, own_redis
from tests.chaos.standing import town_in, town_on
from tests.chaos.town import PROMISED, Town
from tests.conftest import POSTGRES

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

ISSUES = 60
STARTED_WITHIN = 5.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with own_redis(tmp_path) as server:
        yield server


def on_sqlite(folder: Path) -> Database:
    return Database(f"sqlite+aiosqlite:///{folder}/tidegate.db")


@pytest.mark.redis_server
async def test_a_redis_behind_a_slow_line_that_breaks_ends_no_process(
    server: OwnRedis, seed: int, tmp_path: Path
) -> None:
    folder = tmp_path / "town"
    async with (
        proxy_to(server.url, seed) as (proxy, url),
        town_in(on_sqlite(folder), folder, {"TIDEGATE_REDIS_URL": url}) as town,
    ):
        await town.start_all("api", "scheduler", "worker", "worker")
        made = await town.connections(["TIDE", "SURF", "SAND", "WIND"], ISSUES)
        weather = proxy.weather
        weather.latency, weather.jitter, weather.cuts = 0.5, 0.2, 0.01
        first = await asyncio.gather(*(town.sync(one) for one in made))
        await asyncio.gather(*(town.ends(one, within=120) for one in first))
        proxy.cut_all()
        again = await asyncio.gather(*(town.sync(one) for one in made))
        await asyncio.gather(*(town.ends(one, within=120) for one in again))
        town.nobody_died()
        weather.latency = weather.jitter = weather.cuts = 0.0
        # No page was claimed by two: each claim that read began where the one before had ended.
        assert {(await town.one(one))["counters"]["issues"]["read"] for one in first} == {ISSUES}
        await truth.holds(town)


@pytest.mark.redis_server
@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_minutes_behind_a_slow_line_to_redis_delay_no_start(
    server: OwnRedis, seed: int, tmp_path: Path, figures: list[str]
) -> None:
    folder, loop = tmp_path / "town", asyncio.get_running_loop()
    async with (
        proxy_to(server.url, seed) as (proxy, url),
        town_in(on_sqlite(folder), folder, {"TIDEGATE_REDIS_URL": url}) as town,
    ):
        await town.start_all("api", "scheduler", "worker", "worker")
        made = await town.connections(["TIDE", "SURF", "SAND", "WIND"], ISSUES)
        # All of them are at work when it begins.
        await asyncio.gather(*[town.ends(await town.sync(one)) for one in made])
        weather = proxy.weather
        # There and back: half a second, 0.2 s more or less; of a hundred answers one does not come.
        weather.latency, weather.jitter, weather.cuts = 0.25, 0.1, 0.005
        until = loop.time() + seconds(300, least=20)
        asked: list[int] = []
        while loop.time() < until:
            these = [await town.sync(one, "full") for one in made]
            await asyncio.gather(*(town.ends(one, within=120) for one in these))
            asked += these
        town.nobody_died()
        weather.latency = weather.jitter = weather.cuts = 0.0
        rows = [await town.one(one) for one in asked]
        waits = sorted((row["started_at"] - row["queued_at"]).total_seconds() for row in rows)
        late = waits[int(0.95 * len(waits))]
        figures.append(
            f"F10: {seconds(300, least=20):g} s, {len(asked)} syncs, {proxy.count('cut')} lines cut, "
            f"seed {seed}: started after {late:.1f} s (95 %), {waits[-1]:.1f} s (most)"
        )
        # No page was claimed by two: each claim that read began where the one before had ended.
        assert {row["counters"]["issues"]["read"] for row in rows} == {ISSUES}
        assert proxy.count("cut") > 0
        assert late <= STARTED_WITHIN
        await truth.holds(town)


@pytest.mark.redis_server
async def test_a_redis_that_takes_nothing_more_loses_no_sync(server: OwnRedis, tmp_path: Path) -> None:
    folder = tmp_path / "town"
    async with town_in(on_sqlite(folder), folder, {"TIDEGATE_REDIS_URL": server.url}) as town:
        await town.start_all("api", "scheduler", "worker")
        running, asked, later = await town.connections(["TIDE", "SURF", "SAND"], ISSUES)
        town.jira.hold(after=2)
        await town.stands_at(await town.sync(running), 2)
        async with town.redis() as redis:
            await redis.config_set("maxmemory", "1")
            # The sync is in the database, whatever becomes of the ring.
            await town.sync(asked)
            town.jira.open()
            await town.until(lambda: refused(town), 30, "a ring is refused for want of memory")
            # The API goes on taking what is asked for.
            waiting = await town.sync(later)
            assert (await town.one(waiting))["state"] == "queued"
            town.nobody_died()
            await redis.config_set("maxmemory", "0")
        await town.all_end(within=PROMISED)
        await truth.holds(town)


async def refused(town: Town) -> bool:
    return any("maxmemory" in role.text() for role in town.roles)


@pytest.mark.postgres
@pytest.mark.redis_server
async def test_a_commit_whose_answer_is_lost_was_made_once(
    server: OwnRedis, seed: int, tmp_path: Path
) -> None:
    async with (
        proxy_to(os.environ[POSTGRES], seed) as (proxy, url),
        town_on(tmp_path / "town", server) as town,
    ):
        await town.start_all("api", "scheduler")
        worker = await town.start("worker", TIDEGATE_DATABASE_URL=url)
        await town.all_work([worker])
        weather, made = proxy.weather, await town.connections(["TIDE", "SURF", "SAND"], ISSUES)
        for each, connection_id in zip((3, 5, 7), made, strict=True):
            # Claims, plans, pages and ends alike. Three times would be called a crashing connection.
            weather.swallow, weather.each, weather.times = b"COMMIT", each, proxy.swallowed + 2
            await town.ends(await town.sync(connection_id), within=150)
        assert proxy.swallowed >= 3
        await town.all_end()
        await truth.holds(town)


@pytest.mark.postgres
@pytest.mark.redis_server
@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_commits_whose_answers_are_lost_again_and_again_were_made_once(
    server: OwnRedis, seed: int, tmp_path: Path, figures: list[str]
) -> None:
    random, count = Random(seed), times(50)
    async with (
        proxy_to(os.environ[POSTGRES], seed) as (proxy, url),
        town_on(tmp_path / "town", server) as town,
    ):
        await town.start_all("api", "scheduler")
        worker = await town.start("worker", TIDEGATE_DATABASE_URL=url)
        await town.all_work([worker])
        (connection_id,) = await town.connections(["TIDE"], ISSUES)
        weather, rounds = proxy.weather, 0
        while proxy.swallowed < count:
            rounds += 1
            most = min(count, proxy.swallowed + 2)
            weather.swallow, weather.each, weather.times = b"COMMIT", random.randint(2, 9), most
            sync_id = await town.sync(connection_id, "full")
            await town.ends(sync_id, within=150)
            assert (await town.one(sync_id))["counters"]["issues"]["read"] == ISSUES
        figures.append(
            f"F15: {count} COMMITs without an answer in {rounds} syncs, seed {seed}: each made once"
        )
        await town.all_end()
        await truth.holds(town)


async def test_a_line_to_the_remote_that_breaks_delays_and_loses_nothing(town: Town, seed: int) -> None:
    async with proxy_to(town.jira.url, seed) as (proxy, url):
        await town.start_all("api", "scheduler", "worker")
        proxy.weather.latency, proxy.weather.cuts = 0.02, 0.15
        real, town.jira.url = town.jira.url, url
        made = await town.connections(["TIDE", "SURF"], ISSUES)
        town.jira.url = real
        for connection_id in made:
            await town.sync(connection_id)
        await town.all_end(within=150)
        assert proxy.count("cut") > 0
        proxy.weather.cuts = 0.0
        await truth.holds(town)
