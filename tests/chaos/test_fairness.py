"""A giant beside small ones: these begin soon, and no host is asked more than was agreed."""

import pytest

from adapters.jira import Jira
from tests.chaos.gate import GatedJira
from tests.chaos.marks import GIVEN_TIME
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

#: From when a sync is asked for, or falls due, until a worker has begun.
SOON = 5.0
SIZES = [(2_000, 8), pytest.param(200_000, 50, marks=pytest.mark.soak)]


@GIVEN_TIME
@pytest.mark.parametrize(("issues", "small"), SIZES)
async def test_small_connections_begin_soon_beside_a_giant_and_no_host_is_asked_too_much(
    town: Town, figures: list[str], issues: int, small: int
) -> None:
    town.jira.max_page = 100 if issues > 50_000 else 20
    async with GatedJira() as other:
        town.jira.latency = other.latency = 0.03
        await town.start_all("api", "scheduler", "worker", "worker")
        (giant,) = await town.connections(["GIANT"], issues)
        reading = await town.sync(giant)

        async def reads() -> bool:
            return bool((await town.one(reading))["pages"])

        await town.until(reads, 60, "the giant is being read")
        names = [f"S{number}" for number in range(small)]
        for name in names[small // 2 :]:
            other.seed(20, name)
        made = await town.connections(names[: small // 2], 20)
        made += await town.connections(names[small // 2 :], 20, url=other.url)
        asked = [await town.sync(one) for one in made]
        for sync_id in asked:
            await town.ends(sync_id, within=120)
        rows = [await town.one(sync_id) for sync_id in asked]
        late = sorted((row["started_at"] - row["queued_at"]).total_seconds() for row in rows)
        p95 = late[min(len(late) - 1, int(len(late) * 0.95))]
        most = town.jira.most, other.most
        figures.append(
            f"{small} small beside {issues} issues: begun after p95 {p95:.2f} s, most {late[-1]:.2f} s; "
            f"requests at once {most[0]} and {most[1]}"
        )
        assert (await town.one(reading))["finished_at"] is None, "the giant is read meanwhile"
        assert p95 <= SOON
        assert max(most) <= Jira.limits.parallel
        await town.end()
