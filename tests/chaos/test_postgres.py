"""A database that goes down and comes back in the middle of a sync."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from store.database import Database
from store.schema import connections
from tests.chaos import truth
from tests.chaos.plan import times, told
from tests.chaos.servers import OwnPostgres, own_postgres
from tests.chaos.standing import town_in
from tests.chaos.town import PROMISED, Town

pytestmark = [pytest.mark.chaos, pytest.mark.postgres, pytest.mark.timeout(240)]

#: As long as a lease: that is the fault itself.
AWAY_SECONDS = 10.0


@pytest.fixture
async def cluster() -> AsyncIterator[OwnPostgres]:
    async with own_postgres() as made:
        yield made


@pytest.fixture
async def town(cluster: OwnPostgres, tmp_path: Path) -> AsyncIterator[Town]:
    """On a PostgreSQL of its own, and the embedded Redis."""
    database = Database(cluster.url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with town_in(database, tmp_path / "town", {"TIDEGATE_DATABASE_URL": cluster.url}) as made:
        yield made


async def test_a_database_that_crashes_stops_no_process(town: Town, cluster: OwnPostgres) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    first, second = await town.connections(["TIDE", "SURF"], 60)
    town.jira.hold(after=3)
    sync_id = await town.sync(first)
    await town.stands_at(sync_id, 3)
    await cluster.restart_as_after_a_crash()
    town.jira.open()
    await town.all_end(within=PROMISED)
    await town.sync(second)
    await town.all_end()
    assert (await town.one(sync_id))["counters"]["issues"]["read"] == 60
    await truth.holds(town)


async def test_a_database_that_is_away_for_a_while_stops_no_process(town: Town, cluster: OwnPostgres) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    running, asked = await town.connections(["TIDE", "SURF"], 60)
    town.jira.hold(after=3)
    sync_id = await town.sync(running)
    await town.stands_at(sync_id, 3)
    await cluster.stop()
    town.jira.open()
    await town.until(lambda: answers(town, "/readyz", 503), 60, "the API says that it is not ready")
    assert await answers(town, "/healthz", 200)
    await town.until(lambda: missed(town), 60, "every process misses the database")
    town.nobody_died()
    await cluster.start()
    await town.until(lambda: answers(town, "/readyz", 200), PROMISED, "the API is ready again")
    await town.sync(asked)
    await town.all_end()
    assert (await town.one(sync_id))["counters"]["issues"]["read"] == 60
    await truth.holds(town)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_database_that_crashes_again_and_again_in_the_middle_of_pages_loses_nothing(
    town: Town, cluster: OwnPostgres, seed: int, figures: list[str]
) -> None:
    random, loop = Random(seed), asyncio.get_running_loop()
    await town.start_all("api", "scheduler", "worker", "worker")
    (connection_id,) = await town.connections(["TIDE"], 60)
    waits = []
    for _ in range(times(20)):
        pages = random.randrange(1, 4)
        town.jira.hold(after=pages)
        sync_id = await town.sync(connection_id, "full")
        await town.stands_at(sync_id, pages)
        town.jira.hold(after=1)
        town.jira.let_go(1)
        # Before, while and after the page is written.
        await asyncio.sleep(random.uniform(0, 0.05))
        await cluster.stop()
        await asyncio.sleep(AWAY_SECONDS)
        await cluster.start()
        back = loop.time()
        town.jira.open()
        await town.ends(sync_id, within=PROMISED)
        waits.append(loop.time() - back)
        sync = await town.one(sync_id)
        assert (sync["pages"], sync["counters"]["issues"]["read"]) == (6, 60)
        town.nobody_died()
    figures.append(
        f"F14: {len(waits)} crashes of PostgreSQL, away for 10 s each, seed {seed}: done after {told(waits)}"
    )
    await truth.holds(town)


async def answers(town: Town, path: str, status: int) -> bool:
    async with town.http.get(town.url + path) as answer:
        return answer.status == status


async def missed(town: Town) -> bool:
    words = ("lease.beat_failed", "presence.failed", "scheduler.tick_failed", "worker.database_failed")
    return all(
        any(word in role.text() for word in words) for role in town.named("worker") + town.named("scheduler")
    )


async def test_a_process_that_stands_still_in_a_transaction_holds_nobody_up(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    (connection_id,) = await town.connections(["TIDE"], 20)
    async with town.database.engine.connect() as still:
        # What every page locks first.
        await still.execute(select(connections).with_for_update())
        async with asyncio.timeout(PROMISED):
            sync_id = await town.sync(connection_id)
        await town.ends(sync_id)
        with pytest.raises(DBAPIError):
            await still.execute(select(connections))
        await still.invalidate()
    await truth.holds(town)
