"""The publisher dies between the commit, the stream and the delivery: everything arrives, in order.

How often it dies in long runs is set by CHAOS_PUBLISHER_KILLS.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
from sqlalchemy import select, update

from adapters.http import utc_now
from config.failpoints import FAILPOINT, Step
from store.database import now
from store.schema import duties, outbox
from tests.chaos import truth
from tests.chaos.marks import GIVEN_TIME
from tests.chaos.town import Town
from tests.subscribers import Receiver, receiving

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("CHAOS_PUBLISHER_KILLS", "100"))
STEPS = [
    Step.POSITIONS_WRITTEN,
    Step.POSITIONS_COMMITTED,
    Step.EVENT_SENT,
    Step.DELIVERY_SENT,
    Step.DELIVERY_WRITTEN,
    Step.DELIVERY_COMMITTED,
]
#: At what a few deaths show the most.
SHORT = [Step.POSITIONS_COMMITTED, Step.EVENT_SENT, Step.DELIVERY_SENT]
PROJECTS = ("TIDE", "EBB", "FLOOD")
DIES_WITHIN = 90.0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(utc_now) as made:
        yield made


@GIVEN_TIME
@pytest.mark.parametrize("kills", [len(SHORT), pytest.param(KILLS, marks=pytest.mark.soak, id="many")])
async def test_whenever_the_publisher_dies_every_event_arrives_in_order_under_its_id(
    town: Town, receiver: Receiver, kills: int, seed: int, figures: list[str]
) -> None:
    random = Random(seed)
    await town.start_all("api")
    connections = await town.connections(PROJECTS, 0)
    hook = await town.call("POST", "/v1/subscriptions", {"name": "hook", "url": receiver.url})
    for number in range(kills):
        step = random.choice(STEPS) if kills > len(SHORT) else SHORT[number]
        await one_death(town, connections, step, random)
    await town.start_all("scheduler")
    await town.until(lambda: all_came(town, receiver), 120, "every event has arrived")
    await truth.the_stream_is_complete(town)
    await truth.sequences_have_no_gap(town)
    town.nobody_died()
    twice = arrived_rightly(await told(town), receiver, hook["secret"])
    if kills > len(SHORT):
        figures.append(
            f"F34: {kills} kills, {len(await told(town))} events, {twice} delivered twice under the same id, "
            f"none lost, none out of order (seed {seed})"
        )


async def one_death(town: Town, connections: list[int], step: Step, random: Random) -> None:
    """Things happen until a publisher has died at its n-th passage of a step."""
    victim = await town.start("scheduler", **{FAILPOINT: f"{step}:{random.randint(1, 4)}:kill"})
    victim.meant = True
    async with asyncio.timeout(DIES_WITHIN):
        while victim.running:
            await toggle(town, random.choice(connections))
            await asyncio.sleep(random.uniform(0, 0.1))
    assert victim.said("failpoint.reached", step=step), victim.tail()
    await forget_the_leases(town)


async def toggle(town: Town, connection_id: int) -> None:
    """A connection is switched off or on, which is an event."""
    one = await town.call("GET", f"/v1/connections/{connection_id}")
    await town.call("PATCH", f"/v1/connections/{connection_id}", {"enabled": not one["enabled"]})


async def forget_the_leases(town: Town) -> None:
    """As if the ten seconds were over for which the dead one has them."""
    async with town.database.write() as connection:
        await connection.execute(update(duties).values(lease_until=now(-1)))


async def told(town: Town) -> list[tuple[str, int, int]]:
    """Id, connection and number of all events, in the order of their positions."""
    c = outbox.c
    query = select(c.uid, c.connection_id, c.sequence).order_by(c.position)
    async with town.database.read() as connection:
        return [(row.uid, row.connection_id, row.sequence) for row in await connection.execute(query)]


async def all_came(town: Town, receiver: Receiver) -> bool:
    return {uid for uid, _, _ in await told(town)} <= {got.uid for got in receiver.got}


def arrived_rightly(events: list[tuple[str, int, int]], receiver: Receiver, secret: str) -> int:
    """Each event came, in order for its connection, signed; what came again is the same. How many did."""
    came = list(dict.fromkeys(got.uid for got in receiver.got))
    assert sorted(came) == sorted(uid for uid, _, _ in events)
    of = {uid: (connection_id, sequence) for uid, connection_id, sequence in events}
    for connection_id in {connection_id for _, connection_id, _ in events}:
        numbers = [of[uid][1] for uid in came if of[uid][0] == connection_id]
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(got.verified(secret) for got in receiver.got)
    assert len({(got.uid, got.body) for got in receiver.got}) == len(came)
    counts = Counter(got.uid for got in receiver.got)
    return sum(count > 1 for count in counts.values())
