"""A release is rolled out again and again while a sync runs."""

import asyncio
from itertools import cycle

import pytest

from tests.chaos import truth
from tests.chaos.marks import GIVEN
from tests.chaos.plan import seconds, told
from tests.chaos.roles import Role
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROUNDS = 3
EVERY_SECONDS = 5.0
#: So that there is a page left for each round.
ISSUES = 40 + 40 * ROUNDS


@GIVEN
async def test_rolling_restarts_drop_nothing_and_the_sync_only_gets_on(town: Town) -> None:
    await town.start_all("api", "scheduler", "worker", "worker")
    (connection_id,) = await town.connections(["TIDE"], ISSUES)
    town.jira.hold(after=1)
    sync_id = await town.sync(connection_id)
    pages = (await town.stands_at(sync_id, 1))["pages"]
    for number in range(ROUNDS):
        town.jira.let_go(1)
        # One process of each kind after the other; a page is always under way.
        for name in ("worker", "scheduler", "worker"):
            role = town.named(name)[0]
            role.ask_to_end()
            town.jira.let_go(1)
            assert await role.ended() == 0
            await town.start_all(name)
        now = await town.one(sync_id)
        assert now["pages"] >= pages, f"round {number}"
        assert now["state"] in ("running", "waiting", "succeeded")
        pages = now["pages"]
    town.jira.open()
    await town.all_end(within=120)
    sync = await town.one(sync_id)
    assert (sync["counters"]["issues"]["read"], sync["pages"]) == (ISSUES, ISSUES // 10)
    await truth.holds(town)


@GIVEN
@pytest.mark.soak
async def test_a_restart_every_five_seconds_for_minutes_drops_nothing(town: Town, figures: list[str]) -> None:
    loop, lasts = asyncio.get_running_loop(), seconds(180, least=30)
    await town.start_all("api", "scheduler", "worker", "worker")
    # Half a second for each page: it is under way all the time.
    issues = 10 * round(3 * lasts)
    town.jira.pace = 0.5
    (connection_id,) = await town.connections(["TIDE"], issues)
    sync_id = await town.sync(connection_id)
    began, pages, ended = loop.time(), 0, []
    for name in cycle(("worker", "scheduler", "worker", "api")):
        until = loop.time() + EVERY_SECONDS
        ended.append(await replaced(town, name))
        await asyncio.sleep(max(0.0, until - loop.time()))
        now = await town.one(sync_id)
        assert now["state"] in ("running", "waiting")
        assert now["pages"] >= pages
        pages = now["pages"]
        if loop.time() - began > lasts:
            break
    figures.append(
        f"F07: {len(ended)} restarts in {loop.time() - began:.0f} s: ended after {told(ended)}; "
        f"{pages} of {issues // 10} pages meanwhile"
    )
    town.jira.pace = 0.0
    await town.all_end(within=240)
    sync = await town.one(sync_id)
    assert (sync["counters"]["issues"]["read"], sync["pages"]) == (issues, issues // 10)
    assert pages > lasts / EVERY_SECONDS
    await truth.holds(town)


async def replaced(town: Town, name: str) -> float:
    """End the oldest process of a role while another begins; the seconds that it took to end."""
    loop, old = asyncio.get_running_loop(), town.named(name)[0]
    # One that still starts knows nothing of signals.
    await town.all_work([old])
    began = loop.time()
    old.ask_to_end()
    # The API's port is free once the old one has ended.
    new: Role | None = None if name == "api" else await town.start(name)
    assert await old.ended(within=20) == 0
    took = loop.time() - began
    if new is None:
        await town.start(name)
    return took
