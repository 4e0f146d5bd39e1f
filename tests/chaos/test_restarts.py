"""A release is rolled out again and again while a sync runs."""

import os

import pytest

from tests.chaos import truth
from tests.chaos.marks import GIVEN
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("CHAOS_RESTARTS", "3"))
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
