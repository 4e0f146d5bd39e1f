"""Workers that are killed, frozen and stopped in the middle of a sync."""

import pytest
from sqlalchemy import select
from sqlalchemy.engine import RowMapping

from config.failpoints import BLOCK_SECONDS, FAILPOINT, Step
from store.claims import LEASE_SECONDS
from store.database import now
from store.schema import connections
from tests.chaos import truth
from tests.chaos.leases import let_run_at, let_run_out, refused, suspended
from tests.chaos.marks import GIVEN, GIVEN_TIME
from tests.chaos.town import PROMISED, START_SECONDS, Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

ISSUES = 120
PAGES = 12


@GIVEN
async def test_the_sync_of_a_killed_worker_goes_on_within_15_seconds(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    killed = await stopped_at(town, 5)
    await town.holder(killed).kill()
    town.jira.open()
    assert await town.goes_on(killed) < 15
    await town.all_end()
    await no_page_was_read_twice(town, killed["id"])
    await truth.holds(town)


async def test_a_killed_worker_takes_no_place_at_a_host_with_it(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    ids = [await town.sync(one) for one in await town.connections(["TIDE", "SURF"], 20)]
    town.jira.hold()
    (worker,) = town.named("worker")
    ids += [await town.sync(one) for one in await town.connections(["REEF", "SAND", "WIND"], 20)]
    await town.until(lambda: held(town, 2), 20, "requests hold the places that a new host has")
    await worker.kill()
    town.jira.open()
    await town.start_all("worker")
    await town.all_end(within=PROMISED + 5)
    await truth.holds(town)


@GIVEN
async def test_a_worker_frozen_beyond_its_lease_commits_nothing_when_it_wakes(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    before = await stopped_at(town, 3)
    zombie = town.holder(before)
    await town.freeze(zombie)
    town.jira.let_go(1)
    town.jira.hold(after=4)
    await town.goes_on(before)
    taken = await town.stands_at(before["id"], 7)
    assert town.holder(taken) is not zombie
    zombie.thaw()
    await refused(town, zombie, before)
    after = await town.one(before["id"])
    assert (after["fence"], after["pages"], after["lease_owner"]) == (
        taken["fence"],
        7,
        taken["lease_owner"],
    )
    town.jira.open()
    await town.all_end()
    await no_page_was_read_twice(town, before["id"])
    await truth.holds(town)


async def test_a_lease_that_ran_out_is_lost_though_nobody_took_it(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    before = await stopped_at(town, 3)
    worker, (scheduler,) = town.holder(before), town.named("scheduler")
    # Nobody rings, so that nothing but its own lease stands in the way of the page.
    await town.freeze(worker, scheduler)
    await let_run_out(town, before)
    town.jira.hold()
    town.jira.let_go(1)
    worker.thaw()
    await refused(town, worker, before)
    after = await town.one(before["id"])
    assert (after["fence"], after["pages"]) == (before["fence"], 3)
    scheduler.thaw()
    town.jira.open()
    await town.all_end()
    await no_page_was_read_twice(town, before["id"])
    await truth.holds(town)


async def test_a_worker_that_claims_its_own_sync_again_commits_nothing_for_the_old_claim(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    before = await stopped_at(town, 3)
    worker = town.holder(before)
    await town.freeze(worker)
    await let_run_out(town, before)
    worker.thaw()
    await town.claimed_again(before)
    await town.until(lambda: held(town, 2), 10, "the new claim asks for its page")
    # The page that the old claim waits for, while the same worker holds the sync anew.
    town.jira.let_go(1)
    await refused(town, worker, before)
    assert (await town.one(before["id"]))["pages"] == 3
    town.jira.open()
    await town.all_end()
    await no_page_was_read_twice(town, before["id"])
    await truth.holds(town)


@GIVEN_TIME
@pytest.mark.parametrize(
    "step", [Step.PAGE_COMMITTED, pytest.param(Step.PAGE_WRITTEN, marks=pytest.mark.soak)]
)
async def test_a_worker_whose_loop_hangs_for_longer_than_its_lease_harms_nothing(
    town: Town, step: Step
) -> None:
    """Between two pages, and with the transaction of a page open."""
    assert BLOCK_SECONDS > LEASE_SECONDS
    await town.start_all("api", "scheduler")
    hung = await town.start("worker", **{FAILPOINT: f"{step}:3:block"})
    await town.all_work([hung])
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    sync_id = await town.sync(connection_id)

    async def hangs() -> bool:
        return bool(hung.said("failpoint.reached", step=step))

    await town.until(hangs, START_SECONDS, "the worker hangs")
    before = await town.one(sync_id)
    await town.start_all("worker")
    await town.all_end()
    # Whoever went on: each page was committed once, under one claim or the other.
    await no_page_was_read_twice(town, sync_id)
    assert before["pages"] < PAGES
    await truth.holds(town)


async def test_a_remote_slower_than_a_lease_does_not_cost_a_worker_its_sync(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    slow = await stopped_at(town, 2)

    async def longer_than_a_lease() -> bool:
        async with town.database.read() as connection:
            return bool((await connection.execute(select(now(-3) > slow["lease_until"]))).scalar())

    await town.until(longer_than_a_lease, 25, "the time of the first lease passes")
    # Whoever looks now, and the reaper does every two seconds, finds a lease that was kept.
    still = await town.one(slow["id"])
    assert (still["fence"], still["lease_owner"]) == (slow["fence"], slow["lease_owner"])
    town.jira.open()
    await town.all_end()
    await no_page_was_read_twice(town, slow["id"])
    await truth.holds(town)


async def test_a_worker_that_is_asked_to_end_hands_its_sync_over(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    # Before its first page: a claim that ran out without one would be a crash.
    before = await stopped_at(town, 0)
    worker = town.holder(before)
    worker.ask_to_end()
    assert await worker.ended() == 0
    taken = await town.claimed_again(before, within=5)
    async with town.database.read() as connection:
        assert (await connection.execute(select(connections.c.crashes))).scalar_one() == 0
    assert town.holder(taken) is not worker
    town.jira.open()
    await town.all_end()
    await truth.holds(town)


async def test_three_crashes_suspend_one_connection_and_no_other(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker")
    bad, good = await town.connections(["ROCK", "TIDE"], 20)
    town.jira.hold_project("ROCK")
    before = await town.one(await town.sync(bad))
    for _ in range(3):
        before = await town.claimed_again(before)
        await town.holder(before).kill()
        await let_run_out(town, before)
        # A request that is held for as long as a machine may take for all this would be given up.
        await let_run_at(town, before, 3600)
        await town.start_all("worker")
        await town.ends(await town.sync(good), within=60)
        await let_run_at(town, before, 0)
    await town.until(lambda: suspended(town, bad), 15, "the third crash suspends the connection")
    failed = await town.one(before["id"])
    assert (failed["state"], failed["error"]["kind"]) == ("failed", "crashing")
    await town.ends(await town.sync(good))
    town.jira.open()
    await truth.each_sync_ended_once(town)
    await truth.the_copy_is_right(town, good)
    # A person's own trigger tries again.
    await town.ends(await town.sync(bad))
    await truth.holds(town)


async def stopped_at(town: Town, pages: int) -> RowMapping:
    """A sync that has committed so many pages and waits for the next."""
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    town.jira.hold(after=pages)
    return await town.stands_at(await town.sync(connection_id), pages)


async def held(town: Town, searches: int) -> bool:
    """A host that answered a few requests well has a place more than a new one."""
    return town.jira.held >= searches


async def no_page_was_read_twice(town: Town, sync_id: int) -> None:
    """Whatever was committed before is neither lost nor read again."""
    sync = await town.one(sync_id)
    assert (sync["pages"], sync["counters"]["issues"]["read"]) == (PAGES, ISSUES)
