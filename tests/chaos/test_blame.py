"""Crash loops: who is suspended for them, how soon, and who is not."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.engine import RowMapping

from store.database import Database
from store.schema import connections, syncs
from tests.chaos import truth
from tests.chaos.servers import OwnPostgres, own_postgres
from tests.chaos.standing import town_in, town_on
from tests.chaos.town import PROMISED, Town

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(600)]

#: From the first death to the suspension: three leases, three starts of a worker.
SUSPENDED_WITHIN = 60.0
OTHERS = 20
LEASE_SECONDS = 10.0


async def test_a_payload_that_kills_its_worker_suspends_its_own_connection_and_no_other(
    tmp_path: Path, figures: list[str]
) -> None:
    async with town_on(tmp_path / "town", None, {"TIDEGATE_WORKERS": "1"}) as town:
        await town.start_all("up")
        bad, *good = await town.connections(["ROCK", *(f"G{n:02}" for n in range(OTHERS))], 10)
        # Nobody gets a page, so that each death takes all others with it.
        town.jira.hold()
        ids = {one: await town.sync(one) for one in (bad, *good)}
        began = asyncio.get_running_loop().time()
        died = await killed_by(town, ids[bad], others=[ids[one] for one in good])
        died = await killed_by(town, ids[bad], others=[ids[one] for one in good], after=died)
        town.jira.hold_project("ROCK")
        town.jira.let_go(town.jira.held)
        await killed_by(town, ids[bad], others=[], after=died)

        async def suspended() -> bool:
            return bool((await town.one(ids[bad]))["state"] == "failed")

        await town.until(suspended, SUSPENDED_WITHIN, "the third death suspends the connection")
        took = asyncio.get_running_loop().time() - began
        figures.append(f"a poison payload: suspended {took:.1f} s after it was asked for, 3 workers died")
        assert took < SUSPENDED_WITHIN
        await each_ends(town, [ids[one] for one in good])
        assert await causes(town) == {bad: "crashing"}
        assert "ROCK" in town.projects[bad]
        message = (await town.one(ids[bad]))["error"]["message"]
        assert "killed its worker 3 times in a row" in message
        # Mended, and asked for by hand.
        town.jira.open()
        await town.ends(await town.sync(bad), within=60)
        assert await causes(town) == {}
        await truth.each_sync_ended_once(town)
        await truth.sequences_have_no_gap(town)
        for one in (bad, *good):
            await truth.the_copy_is_right(town, one)


async def killed_by(
    town: Town, sync_id: int, others: list[int], after: RowMapping | None = None
) -> RowMapping:
    """The sync, once a worker held it (and all others without a page) and died of it."""

    async def at_work() -> bool:
        now = await town.one(sync_id)
        if not now["lease_owner"] or (after is not None and now["fence"] <= after["fence"]):
            return False
        rest = [await town.one(one) for one in others]
        return all(one["lease_owner"] == now["lease_owner"] for one in rest)

    await town.until(at_work, 60, "a worker reads it", every=0.1)
    found = await town.one(sync_id)
    os.kill(int(found["lease_owner"].split(":")[1]), signal.SIGKILL)
    return found


async def each_ends(town: Town, ids: list[int]) -> None:
    for sync_id in ids:
        await town.ends(sync_id, within=120)


async def causes(town: Town) -> dict[int, str]:
    """Which connections failed, and why."""
    c = connections.c
    async with town.database.read() as connection:
        rows = await connection.execute(select(c.id, c.cause).where(c.health == "failed"))
        return {row.id: row.cause for row in rows}


@asynccontextmanager
async def on_its_own(folder: Path, cluster: OwnPostgres) -> AsyncIterator[Town]:
    database = Database(cluster.url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with town_in(database, folder, {"TIDEGATE_DATABASE_URL": cluster.url}) as made:
        yield made


@pytest.mark.postgres
async def test_a_database_that_is_away_three_times_during_slices_suspends_nobody(
    tmp_path: Path, figures: list[str]
) -> None:
    async with own_postgres() as cluster, on_its_own(tmp_path / "town", cluster) as town:
        await town.start_all("api", "scheduler", "worker", "worker")
        made = await town.connections(["TIDE", "SURF", "SAND"], 10)
        town.jira.hold()
        ids = [await town.sync(one) for one in made]
        back = []
        for _ in range(4):
            before = [await held(town, sync_id) for sync_id in ids]
            await cluster.stop()
            # What was asked for is answered while there is nowhere to put it; all leases run out meanwhile.
            town.jira.let_go(town.jira.held)
            await asyncio.sleep(LEASE_SECONDS + 2)
            await cluster.start()
            began = asyncio.get_running_loop().time()
            for one in before:
                await town.claimed_again(one)
            back.append(asyncio.get_running_loop().time() - began)
            town.nobody_died()
        figures.append(f"a database away 4 times: all syncs taken again after {max(back):.1f} s at most")
        assert max(back) < PROMISED
        assert await causes(town) == {}
        async with town.database.read() as connection:
            counted = (await connection.execute(select(connections.c.crashes))).scalars().all()
            assert set(counted) == {0}
            assert (await connection.execute(select(syncs.c.pages))).scalars().all() == [0, 0, 0]
        town.jira.open()
        await town.all_end()
        await truth.holds(town)


async def held(town: Town, sync_id: int) -> RowMapping:
    """The sync, while a worker has it."""

    async def at_work() -> bool:
        return bool((await town.one(sync_id))["lease_owner"])

    await town.until(at_work, 30, f"sync {sync_id} is at work")
    return await town.one(sync_id)
