"""Several schedulers and workers side by side, with no leader."""

from functools import partial

import pytest
from sqlalchemy import func, select, update

from store.database import now
from store.schema import connections, syncs
from tests.chaos import truth
from tests.chaos.marks import SERVERS
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

CONNECTIONS = 50
ROUNDS = 3


@SERVERS
async def test_each_due_time_fires_once_with_two_schedulers(town: Town) -> None:
    await town.start_all("api", "scheduler", "scheduler", "worker", "worker", "worker")
    names = [f"T{number:02}" for number in range(CONNECTIONS)]
    # Rarely enough that none falls due by itself while this runs.
    await town.connections(names, 2, frequency="monthly")
    await town.until(lambda: fired(town, 1), 30, "the first due time of each connection fires")
    await town.all_end()
    for times in range(2, ROUNDS + 2):
        await all_due_while_no_scheduler_looks(town)
        await town.until(partial(fired, town, times), 30, f"due time {times} of each fires")
        await town.all_end()
    async with town.database.read() as connection:
        found = await connection.execute(select(syncs.c.trigger, syncs.c.joined))
        assert {tuple(row) for row in found} == {("schedule", 0)}
    assert await fired(town, ROUNDS + 1)
    await truth.holds(town)


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
