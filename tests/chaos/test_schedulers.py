"""Several schedulers and workers side by side, with no leader."""

import asyncio
from datetime import datetime
from functools import partial
from random import Random

import pytest
from sqlalchemy import func, select, update

from config.frequency import parse_frequency
from store.database import now
from store.schema import connections, syncs
from tests.chaos import truth
from tests.chaos.marks import GIVEN, SERVERS
from tests.chaos.plan import seconds, times
from tests.chaos.ticks import INTERVAL, gaps_of, regular
from tests.chaos.town import Town
from worker.worker import SLICES

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

CONNECTIONS = 50
ROUNDS = 3
EACH = "every 1m"


@SERVERS
async def test_each_due_time_fires_once_with_two_schedulers(town: Town) -> None:
    await town.start_all("api", "scheduler", "scheduler", "worker", "worker", "worker")
    names = [f"T{number:02}" for number in range(CONNECTIONS)]
    # Rarely enough that none falls due by itself while this runs.
    await town.connections(names, 2, frequency="monthly")
    await town.until(lambda: fired(town, 1), 30, "the first due time of each connection fires")
    await town.all_end()
    for round_ in range(2, ROUNDS + 2):
        await all_due_while_no_scheduler_looks(town)
        await town.until(partial(fired, town, round_), 30, f"due time {round_} of each fires")
        await town.all_end()
    async with town.database.read() as connection:
        found = await connection.execute(select(syncs.c.trigger, syncs.c.joined))
        assert {tuple(row) for row in found} == {("schedule", 0)}
    assert await fired(town, ROUNDS + 1)
    await truth.holds(town)


@GIVEN
@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_schedulers_killed_in_turn_again_and_again_neither_double_nor_miss_a_due_time(
    town: Town, seed: int, figures: list[str]
) -> None:
    random = Random(seed)
    await town.start_all("api", "scheduler", "scheduler", "worker", "worker")
    made = await town.connections([f"P{number:03}" for number in range(2 * CONNECTIONS)], 2, frequency=EACH)
    for _ in range(times(10)):
        await asyncio.sleep(random.uniform(10, 30))
        await random.choice(town.named("scheduler")).kill()
        # For a while the other is alone.
        await asyncio.sleep(random.uniform(0, 5))
        await town.start("scheduler")
    # So that each has fired at its own time at least twice.
    await asyncio.sleep(seconds(180, least=150))
    await town.quiet()
    await town.all_end()
    gaps = await gaps_of(town, made)
    figures.append(
        f"F18: {times(10)} schedulers of two killed, {len(made)} connections at {INTERVAL:g} s, seed {seed}: "
        f"{len(gaps)} gaps of {min(gaps):.1f} to {max(gaps):.1f} s"
    )
    await truth.holds(town, settled=False)
    regular(gaps)


@GIVEN
@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_after_hours_of_downtime_each_connection_syncs_once_and_no_more_at_once_than_may(
    town: Town, figures: list[str]
) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    names = [f"P{number:03}" for number in range(max(50, times(500)))]
    made = await town.connections(names, 2, frequency="every 5m")
    await town.until(partial(all_synced, town), 600, "the first sync of each", every=1.0)
    for role in town.named("scheduler") + town.named("worker"):
        role.ask_to_end()
        await role.ended()
    last = await newest(town)
    async with town.database.write() as connection:
        hours_ago = {"next_due_at": now(-3 * 3600), "last_success_at": now(-3 * 3600)}
        await connection.execute(update(connections).values(hours_ago))
    await town.start_all("scheduler", "worker", "worker")
    most = 0

    async def caught_up() -> bool:
        nonlocal most
        most = max(most, await at_work(town))
        return await ended_since(town, last) >= len(made)

    await town.until(caught_up, 600, "each has caught up", every=0.1)
    await town.quiet()
    await town.all_end(within=120)
    caught = [await catch_up_of(town, one, last) for one in made]
    spread = (max(caught) - min(caught)).total_seconds()
    figures.append(
        f"F17: {len(made)} connections, 3 h of downtime: one sync each, begun within {spread:.1f} s, "
        f"{most} at once at most"
    )
    assert most <= 2 * SLICES
    await truth.holds(town, settled=False)


async def all_synced(town: Town) -> bool:
    waiting = select(func.count()).where(connections.c.last_success_at.is_(None))
    async with town.database.read() as connection:
        return (await connection.execute(waiting)).scalar_one() == 0


async def newest(town: Town) -> int:
    async with town.database.read() as connection:
        return int((await connection.execute(select(func.max(syncs.c.id)))).scalar_one())


async def at_work(town: Town) -> int:
    async with town.database.read() as connection:
        held = select(func.count()).where(syncs.c.lease_until > now(), syncs.c.state == "running")
        return int((await connection.execute(held)).scalar_one())


async def ended_since(town: Town, sync_id: int) -> int:
    c = syncs.c
    ended = select(func.count(c.connection_id.distinct())).where(c.id > sync_id, c.state == "succeeded")
    async with town.database.read() as connection:
        return int((await connection.execute(ended)).scalar_one())


async def catch_up_of(town: Town, connection_id: int, last: int) -> datetime:
    """When the one sync began that a connection had for all that it missed."""
    c = syncs.c
    mine = select(c.queued_at, c.started_at, c.trigger, c.joined).where(
        c.connection_id == connection_id, c.id > last
    )
    async with town.database.read() as connection:
        first, *more = (await connection.execute(mine.order_by(c.id))).all()
    # What falls due anew while that one still waits for its turn joins it.
    assert (first.trigger, first.joined <= 1) == ("schedule", True)
    # Whatever came after that is what fell due meanwhile.
    due = parse_frequency("every 5m", "UTC").next_after(first.queued_at, connection_id)
    assert due is not None
    assert all(each.queued_at >= due for each in more)
    began: datetime = first.started_at
    return began


async def all_due_while_no_scheduler_looks(town: Town) -> None:
    """All connections fall due; then both schedulers find it out in the same moment."""
    await town.freeze(*town.named("scheduler"))
    async with town.database.write() as connection:
        await connection.execute(update(connections).values(next_due_at=now(-1)))
    for scheduler in town.named("scheduler"):
        scheduler.thaw()


async def fired(town: Town, times: int) -> bool:
    """Whether each connection has exactly so many syncs."""
    query = select(func.count(syncs.c.id)).group_by(syncs.c.connection_id)
    async with town.database.read() as connection:
        counts = list((await connection.execute(query)).scalars())
    assert not [count for count in counts if count > times], "a due time fired twice"
    return counts == [times] * CONNECTIONS
