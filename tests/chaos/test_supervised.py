"""Parts of `tidegate up` that die at once, again and again: named, begun again later, and survived."""

import pytest

from config.failpoints import FAILPOINT
from tests.chaos.town import Town
from tests.tidegates import left_of

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


async def not_ready(town: Town, word: str) -> bool:
    async with town.http.get(f"{town.url}/readyz") as answer:
        return answer.status == 503 and word in await answer.text()


async def test_a_relay_that_breaks_again_and_again_is_named_and_the_others_live_on(town: Town) -> None:
    town.environ[FAILPOINT] = "positions_written:1:break"
    await town.start_all("up")
    (up,) = town.named("up")
    (connection_id,) = await town.connections(["TIDE"], 20)
    await town.ends(await town.sync(connection_id))

    async def thrice() -> bool:
        return len(up.said("role.failed", role="relay")) >= 3

    await town.until(thrice, 60, "the relay is begun again and again")
    waits = [line["again_in"] for line in up.said("role.failed", role="relay")]
    assert waits == sorted(waits)
    assert waits[:3] == [0.5, 1.0, 2.0]
    await town.until(lambda: not_ready(town, "relay"), 10, "/readyz names the relay")
    await town.ends(await town.sync(connection_id))
    up.ask_to_end()
    assert await up.ended(within=40) == 0
    assert left_of(town.folder) == []


@pytest.mark.soak
async def test_workers_that_die_at_once_again_and_again_are_named_and_the_others_live_on(town: Town) -> None:
    town.environ[FAILPOINT] = "claim_written:1:kill"
    await town.start_all("up")
    (up,) = town.named("up")
    made = await town.connections(["TIDE", "SURF", "SAND", "REEF"], 10)
    for connection_id in made:
        await town.sync(connection_id)

    async def thrice() -> bool:
        return len(up.said("up.worker_died")) >= 3

    await town.until(thrice, 120, "the worker is begun again and again")
    await town.until(lambda: not_ready(town, "worker"), 120, "/readyz names the worker")
    waits = [line["again_in"] for line in up.said("up.worker_died")]
    assert waits == sorted(waits)
    assert (await town.call("GET", "/v1/connections"))["connections"]
    up.ask_to_end()
    assert await up.ended(within=40) == 0
