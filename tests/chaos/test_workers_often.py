"""What befalls a worker once in the short tests befalls the workers of one town dozens of times here."""

import asyncio
from random import Random
from statistics import median

import pytest
from sqlalchemy import select
from sqlalchemy.engine import RowMapping

from store.schema import connections
from tests.chaos import truth
from tests.chaos.leases import refused, suspended
from tests.chaos.marks import GIVEN
from tests.chaos.plan import seconds, times, told
from tests.chaos.ticks import INTERVAL, gaps_of, regular
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(3600)]

PAGES = 6
ISSUES = 10 * PAGES
#: Seconds from the end of a worker to the next claim of what it handed over, as a rule.
HANDED_OVER = 2.0
FROZEN = 20.0
OTHERS = 20


@GIVEN
async def test_workers_asked_to_end_again_and_again_hand_over_and_none_is_a_crash(
    town: Town, seed: int, figures: list[str]
) -> None:
    random, loop = Random(seed), asyncio.get_running_loop()
    await town.start_all("api", "scheduler", "worker", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    ended, taken = [], []
    for _ in range(times(50)):
        before = await stopped(town, connection_id, random.randrange(PAGES))
        worker = town.holder(before)
        replacement = await town.start("worker")
        worker.ask_to_end()
        began = loop.time()
        if random.random() < 0.5:  # else its page never comes
            await asyncio.sleep(random.uniform(0, 0.5))
            town.jira.let_go(1)
        assert await worker.ended() == 0
        gone = loop.time()
        ended.append(gone - began)
        await town.until(lambda: goes_on(town, before), 15, "the sync was handed over", every=0.02)  # noqa: B023
        taken.append(loop.time() - gone)
        town.jira.open()
        await town.ends(before["id"])
        await read_once(town, before["id"])
        await no_crash(town)
        await town.all_work([replacement])
    figures.append(
        f"F03: {len(ended)} SIGTERMs, seed {seed}: ended after {told(ended)}, gone on after {told(taken)}"
    )
    await truth.holds(town)
    assert max(ended) <= 20
    assert median(taken) <= HANDED_OVER
    assert max(taken) <= 2 * HANDED_OVER


@GIVEN
async def test_workers_frozen_again_and_again_for_twenty_seconds_commit_nothing_when_they_wake(
    town: Town, seed: int, figures: list[str]
) -> None:
    random, loop = Random(seed), asyncio.get_running_loop()
    await town.start_all("api", "scheduler", "worker", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    waits = []
    for _ in range(times(20)):
        before = await stopped(town, connection_id, random.randrange(1, PAGES - 2))
        zombie = town.holder(before)
        await town.freeze(zombie)
        frozen = loop.time()
        town.jira.let_go(1)  # what it waited for is there when it wakes
        town.jira.hold(after=1)
        waits.append(await town.goes_on(before))
        taken = await town.stands_at(before["id"], before["pages"] + 1)
        assert town.holder(taken) is not zombie
        await asyncio.sleep(max(0.0, frozen + FROZEN - loop.time()))
        zombie.thaw()
        await refused(town, zombie, before)
        after = await town.one(before["id"])
        assert (after["fence"], after["pages"]) == (taken["fence"], taken["pages"])
        town.jira.open()
        await town.ends(before["id"])
        await read_once(town, before["id"])
    figures.append(
        f"F04: {len(waits)} times frozen for 20 s, seed {seed}: gone on elsewhere after {told(waits)}"
    )
    await truth.holds(town)


async def test_what_kills_its_worker_is_suspended_within_a_minute_and_others_miss_no_due_time(
    town: Town, seed: int, figures: list[str]
) -> None:
    loop = asyncio.get_running_loop()
    await town.start_all("api", "scheduler", "worker", "worker")
    (bad,) = await town.connections(["ROCK"], ISSUES)
    others = await town.connections([f"P{number:02}" for number in range(OTHERS)], 2, frequency="every 1m")
    town.jira.hold_project("ROCK")
    began, kills = loop.time(), 0
    before = await town.one(await town.sync(bad))
    while not await suspended(town, bad):
        now = await town.one(before["id"])
        if now["lease_owner"] and now["fence"] > before["fence"]:
            before = now
            kills += 1
            replacement = await town.start("worker")
            await town.holder(now).kill()
            await town.all_work([replacement])
        await asyncio.sleep(0.2)
    took = loop.time() - began
    await asyncio.sleep(seconds(180, least=130))
    await town.quiet()
    town.jira.open()
    # A person's own trigger tries again.
    await town.ends(await town.sync(bad))
    gaps = await gaps_of(town, others)
    figures.append(
        f"F06: {kills} workers killed, seed {seed}: suspended after {took:.1f} s; {OTHERS} others at "
        f"{INTERVAL:g} s: {len(gaps)} gaps, the longest {max(gaps):.1f} s"
    )
    await truth.holds(town, settled=False)
    assert kills <= 3
    assert took <= 60
    regular(gaps)


async def stopped(town: Town, connection_id: int, pages: int) -> RowMapping:
    """A sync that reads everything again, after so many pages."""
    town.jira.hold(after=pages)
    return await town.stands_at(await town.sync(connection_id, "full"), pages)


async def goes_on(town: Town, before: RowMapping) -> bool:
    now = await town.one(before["id"])
    return bool(now["state"] == "succeeded" or (now["fence"] > before["fence"] and now["lease_owner"]))


async def read_once(town: Town, sync_id: int) -> None:
    sync = await town.one(sync_id)
    assert (sync["pages"], sync["counters"]["issues"]["read"]) == (PAGES, ISSUES)


async def no_crash(town: Town) -> None:
    async with town.database.read() as connection:
        assert not any((await connection.execute(select(connections.c.crashes))).scalars())
