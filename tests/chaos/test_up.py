"""`tidegate up` from its start to its end."""

import pytest

from tests.chaos import truth
from tests.chaos.town import Town
from tests.tidegates import left_of
from tidegate.workers import STOP_SECONDS
from worker.worker import CANCEL_GRACE_SECONDS, PAGE_GRACE_SECONDS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def test_what_an_end_may_take_is_less_than_twenty_seconds() -> None:
    """By the limits that the processes set themselves: what is measured here depends on the machine."""
    assert PAGE_GRACE_SECONDS + CANCEL_GRACE_SECONDS + 2 <= STOP_SECONDS <= 18


async def test_up_ends_on_sigterm_and_leaves_no_process(town: Town) -> None:
    town.environ["TIDEGATE_WORKERS"] = "2"
    await town.start_all("up")
    (connection_id,) = await town.connections(["TIDE"], 40)
    town.jira.hold(after=2)
    sync_id = await town.sync(connection_id)
    await town.stands_at(sync_id, 2)
    assert len(left_of(town.folder)) == 4  # itself, its workers, and Redis
    (up,) = town.named("up")
    up.ask_to_end()
    assert await up.ended() == 0
    assert left_of(town.folder) == []
    # Nothing of the sync is lost: it goes on after the next start.
    town.jira.open()
    await town.start_all("up")
    await town.all_end()
    assert (await town.one(sync_id))["counters"]["issues"]["read"] == 40
    await truth.holds(town)
