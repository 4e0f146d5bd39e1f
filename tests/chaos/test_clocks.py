"""Machines whose clocks differ by hours, and one whose clock is set back: nobody goes by them."""

import asyncio
import signal

import pytest
from sqlalchemy import func, select, update

from store.claims import LEASE_SECONDS
from store.database import now
from store.schema import connections, syncs
from tests.chaos import truth
from tests.chaos.marks import GIVEN, GIVEN_TIME
from tests.chaos.plan import seconds
from tests.chaos.roles import AHEAD
from tests.chaos.ticks import INTERVAL, gaps_of, regular
from tests.chaos.town import PROMISED, Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

HOUR, MINUTES = 3600, 600
#: The role and how far its clock is ahead: no two agree.
SKEWED = (("api", MINUTES), ("scheduler", HOUR), ("scheduler", -HOUR), ("worker", -HOUR), ("worker", HOUR))
MORE = (*SKEWED, ("worker", -MINUTES), ("worker", MINUTES))


async def start(town: Town, clocks: tuple[tuple[str, int], ...]) -> None:
    await town.all_work([await town.start(name, **{AHEAD: str(ahead)}) for name, ahead in clocks])


@GIVEN_TIME
async def test_what_one_machine_rings_for_is_done_by_one_whose_clock_is_hours_behind(town: Town) -> None:
    """The scheduler's clock is ahead of the worker's by two hours; those of the servers are right."""
    await start(town, (("api", MINUTES), ("scheduler", HOUR), ("worker", -HOUR)))
    town.jira.hold(after=1)
    made = await town.connections(["TIDE"], 40, frequency="monthly")
    await town.until(lambda: fired(town, 1), PROMISED, "what is due fires")
    await town.until(lambda: waits(town), PROMISED, "its worker is at work")
    (worker,) = town.named("worker")
    await start(town, (("worker", HOUR),))
    async with town.database.read() as connection:
        sync = (await connection.execute(select(syncs))).mappings().one()
    assert town.holder(sync) is worker
    await worker.kill()
    town.jira.open()
    await town.goes_on(sync)
    await town.all_end()
    assert await fired(town, len(made))
    await truth.holds(town)


async def test_a_scheduler_whose_clock_is_set_back_ticks_on(town: Town) -> None:
    await town.start_all("api", "worker")
    scheduler = await town.start("scheduler", **{AHEAD: f"0 then {-HOUR}"})
    await town.all_work([scheduler])
    await town.connections(["TIDE"], 5, frequency="monthly")
    await town.until(lambda: fired(town, 1), PROMISED, "the first due time fires")
    scheduler.child.send_signal(signal.SIGUSR1)
    async with town.database.write() as connection:
        await connection.execute(update(connections).values(next_due_at=now(-1)))
    await town.until(lambda: fired(town, 2), PROMISED, "the second due time fires")
    await town.all_end()
    assert scheduler.said("scheduler.clock_set_back", seconds=HOUR)
    await truth.holds(town)


@GIVEN
@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_clocks_that_differ_by_hours_neither_double_nor_silence_any_due_time(
    town: Town, figures: list[str]
) -> None:
    await start(town, MORE)
    made = await town.connections([f"P{number:02}" for number in range(20)], 2, frequency="every 1m")
    (slow,) = await town.connections(["SLOW"], 20)
    town.jira.hold_project("SLOW")
    sync_id = await town.sync(slow)
    await town.stands_at(sync_id, 0)
    before = await town.one(sync_id)
    await asyncio.sleep(seconds(240, least=150))
    after = await town.one(sync_id)
    # What a remote may take for an answer is less than that: it was asked again, by whoever holds the sync.
    assert after["fence"] - before["fence"] <= seconds(240, least=150) / LEASE_SECONDS
    town.jira.open()
    await town.ends(sync_id)
    await town.quiet()
    gaps = await gaps_of(town, made)
    figures.append(
        f"F21: clocks {[ahead for _, ahead in MORE]} s ahead, {len(made)} connections at {INTERVAL:g} s: "
        f"{len(gaps)} gaps of {min(gaps):.1f} to {max(gaps):.1f} s"
    )
    await town.all_end()
    await truth.holds(town, settled=False)
    regular(gaps)


async def fired(town: Town, times: int) -> bool:
    async with town.database.read() as connection:
        count = (await connection.execute(select(func.count()).select_from(syncs))).scalar_one()
    assert count <= times, "a due time fired twice"
    return count == times


async def waits(town: Town) -> bool:
    return town.jira.held > 0
