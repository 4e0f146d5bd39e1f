"""The long runs: hundreds of deaths in one sync, and half an hour of accidents with thousands of connections.

Their size is set by CHAOS_KILLS, CHAOS_ISSUES, CHAOS_MINUTES and CHAOS_CONNECTIONS.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from random import Random
from statistics import median

import pytest
from sqlalchemy import func, select

from store.database import clock, now
from store.schema import connections, syncs
from tests.chaos import truth
from tests.chaos.accidents import ACCIDENTS, Elders
from tests.chaos.marks import GIVEN
from tests.chaos.roles import Role
from tests.chaos.town import PROMISED, Town

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.alone, pytest.mark.timeout(4 * 3600)]

KILLS = int(os.environ.get("CHAOS_KILLS", "200"))
ISSUES = int(os.environ.get("CHAOS_ISSUES", "50000"))
MINUTES = float(os.environ.get("CHAOS_MINUTES", "30"))
CONNECTIONS = int(os.environ.get("CHAOS_CONNECTIONS", "2000"))
INTERVAL = 300.0
#: Seconds that the remote takes for a page while workers are killed.
PACE = 0.3
#: What a process may grow by from its first quarter to its last.
GROWTH = 1.25


@GIVEN
async def test_hundreds_of_kills_in_one_sync_lose_and_double_nothing(
    town: Town, seed: int, figures: list[str]
) -> None:
    random = Random(seed)
    pages = ISSUES // 100
    assert pages >= 2.5 * KILLS, "there must be pages left for each kill"
    town.jira.max_page, town.jira.pace = 100, PACE
    await town.start_all("api", "scheduler", "worker", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    sync_id = await town.sync(connection_id)
    waits = [await one_kill(town, sync_id, random) for _ in range(KILLS)]
    killed_at = (await town.one(sync_id))["pages"]
    town.jira.pace = 0.0
    await town.all_end(within=3600)
    again, asked = town.jira.answered - pages, len(town.jira.requests("/search/jql")) - pages
    figures += [
        f"F01: {KILLS} kills within {killed_at} of {pages} pages ({ISSUES} issues), seed {seed}",
        f"F01: claimed again after {median(waits):.1f} s (median), {max(waits):.1f} s (most)",
        f"F01: pages fetched again {again}, {again / KILLS:.2f} for each kill; asked for again {asked}",
    ]
    sync = await town.one(sync_id)
    assert (sync["counters"]["issues"]["read"], sync["pages"]) == (ISSUES, pages)
    await truth.holds(town)
    assert max(waits) <= PROMISED
    assert again <= KILLS


async def one_kill(town: Town, sync_id: int, random: Random) -> float:
    """Kill the worker that has the sync at a random moment after its first page; the seconds until another
    claims it. Three deaths in a row without a page would suspend the connection, as they should."""
    while True:

        async def gets_on() -> bool:
            now = await town.one(sync_id)
            assert now["finished_at"] is None, f"it ended before all kills were done: {dict(now)}"
            return bool(now["lease_owner"] and now["claim_pages"] > 0)

        await town.until(gets_on, 60, "a page is committed")
        await asyncio.sleep(random.uniform(0, 2 * PACE))
        before = await town.one(sync_id)
        if not before["lease_owner"]:
            continue
        holder = town.holder(before)
        await holder.kill()
        began = time.monotonic()
        victim = await town.one(sync_id)
        replacement = await town.start("worker")
        if victim["lease_owner"] != before["lease_owner"]:
            # Its slice had just ended: that was nobody's sync.
            await town.all_work([replacement])
            continue
        await town.claimed_again(victim, within=60)
        waited = time.monotonic() - began
        await town.all_work([replacement])
        return waited


@GIVEN
async def test_half_an_hour_of_accidents_leaves_nobody_behind(
    town: Town, seed: int, figures: list[str]
) -> None:
    random = Random(seed)
    town.jira.max_page = 100
    await town.start_all("api", "scheduler", "scheduler", "worker", "worker")
    elders = Elders([town.named("api")[0], town.named("scheduler")[0], town.named("worker")[0]])
    names = [f"P{number:05}" for number in range(CONNECTIONS)]
    await town.connections(names, 3, frequency="every 5m")
    sizes: dict[str, list[int]] = {role.name: [] for role in elders.roles}
    told: dict[str, int] = {}
    until = time.monotonic() + MINUTES * 60
    while time.monotonic() < until:
        name = random.choice(sorted(ACCIDENTS))
        await ACCIDENTS[name](town, elders, random)
        told[name] = told.get(name, 0) + 1
        town.nobody_died()
        for role in elders.roles:
            sizes[role.name].append(resident(role))
        await asyncio.sleep(random.uniform(1, 8))
    town.jira.faults.clear()
    town.jira.open()
    await all_fresh(town)
    figures += [
        f"{MINUTES:g} minutes, {CONNECTIONS} connections, seed {seed}",
        f"accidents: {', '.join(f'{name} {count}' for name, count in sorted(told.items()))}",
        *(f"{name}: {seen[0] >> 10} to {max(seen) >> 10} MB" for name, seen in sizes.items()),
        f"syncs: {await ended(town)}",
    ]
    for name, seen in sizes.items():
        assert flat(seen), f"{name} grew: {seen}"
    async with town.database.read() as connection:
        healths = set((await connection.execute(select(connections.c.health))).scalars())
    assert healths == {"healthy"}
    # Nothing falls due any more, so that the last look is at something that stands still.
    await town.quiet()
    await town.until(lambda: nothing_open(town), 120, "what is under way ends")
    await truth.holds(town, settled=False)


def resident(role: Role) -> int:
    """KiB of memory."""
    with open(f"/proc/{role.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def flat(sizes: Sequence[int]) -> bool:
    quarter = max(1, len(sizes) // 4)
    return max(sizes[-quarter:]) <= GROWTH * max(sizes[: 2 * quarter])


async def all_fresh(town: Town) -> None:
    """Each connection has been synced since the last accident."""
    async with town.database.read() as connection:
        since = await clock(connection)
    c = connections.c
    old = select(func.count()).where((c.last_success_at.is_(None)) | (c.last_success_at < since))

    async def fresh() -> bool:
        async with town.database.read() as connection:
            return (await connection.execute(old)).scalar_one() == 0

    await town.until(fresh, 3 * INTERVAL, "every connection is synced again", every=1.0)


async def ended(town: Town) -> dict[str, int]:
    query = select(syncs.c.state, func.count()).group_by(syncs.c.state)
    async with town.database.read() as connection:
        return {str(row.state): int(row[1]) for row in await connection.execute(query)}


async def nothing_open(town: Town) -> bool:
    query = select(func.count()).where(syncs.c.finished_at.is_(None), syncs.c.queued_at <= now())
    async with town.database.read() as connection:
        return (await connection.execute(query)).scalar_one() == 0
