"""Processes that are asked to end in the worst of moments: in time, with exit code 0, blamed on nobody."""

import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from adapters.http import utc_now
from store.schema import connections
from tests.chaos import truth
from tests.chaos.marks import SERVERS
from tests.chaos.readers import Reader, at_it
from tests.chaos.roles import Role
from tests.chaos.town import Town
from tests.subscribers import Receiver, forever, receiving
from tests.tidegates import left_of

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

#: What is promised is 20 s, and about 12 are needed; the rest is for a machine that is busy with other tests.
IN_TIME = 60.0
NEXT_WITHIN = 2.0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(utc_now) as made:
        yield made


async def end(role: Role) -> float:
    """Ask it to end, twice, as those do who do not like to wait; the seconds until it has."""
    began = time.monotonic()
    role.ask_to_end()
    role.ask_to_end()
    assert await role.ended(IN_TIME) == 0, role.tail()
    return time.monotonic() - began


async def crashes(town: Town) -> list[int]:
    async with town.database.read() as connection:
        return list((await connection.execute(select(connections.c.crashes))).scalars())


async def test_up_ends_in_time_while_a_page_a_webhook_and_a_reader_of_events_wait(
    town: Town, receiver: Receiver, figures: list[str]
) -> None:
    await town.start_all("up")
    (up,) = town.named("up")
    (connection_id,) = await town.connections(["TIDE"], 40)
    receiver.answers = forever
    await town.call("POST", "/v1/subscriptions", {"name": "slow", "url": receiver.url})
    # Not one page: what is broken off now could look like a crash.
    town.jira.hold()
    reader = Reader(town.url)
    async with at_it(reader):
        sync_id = await town.sync(connection_id)
        await town.stands_at(sync_id, 0)

        async def all_wait() -> bool:
            return bool(receiver.got and reader.seen)

        await town.until(all_wait, 30, "a webhook is under way, and events are read")
        took = await end(up)
    figures.append(f"up ends {took:.1f} s after SIGTERM, with a page, a webhook and a reader waiting")
    assert left_of(town.folder) == []
    receiver.answer(204)
    town.jira.open()
    await town.start_all("up")
    await town.all_end()
    assert await crashes(town) == [0]
    first = receiver.got[0].uid

    async def delivered() -> bool:
        return len({one.uid for one in receiver.got[1:]}) >= len(await truth.told(town))

    await town.until(delivered, 60, "every event is delivered, the one that was broken off too")
    assert first in {one.uid for one in receiver.got[1:]}
    await truth.holds(town)


@pytest.mark.soak
@SERVERS
async def test_roles_apart_end_in_time_and_the_next_worker_goes_on_at_once(
    town: Town, figures: list[str]
) -> None:
    await town.start_all("api", "scheduler", "scheduler", "worker", "worker")
    (connection_id,) = await town.connections(["TIDE"], 60)
    town.jira.hold()
    sync_id = await town.sync(connection_id)
    before = await town.stands_at(sync_id, 0)
    ends, goes_on = [], []
    for _ in range(3):
        holder = town.holder(before)
        ends.append(await end(holder))
        began = time.monotonic()
        before = await town.claimed_again(before)
        goes_on.append(time.monotonic() - began)
        await town.start_all("worker")
    assert await crashes(town) == [0]
    # In the middle of a commit: the page waits for a row that somebody else has locked.
    town.jira.let_go(1)
    ends.append(await ended_in_a_commit(town, town.holder(before)))
    before = await town.claimed_again(before)
    # It could not even say that it ends, for that row is the one that is locked.
    assert await crashes(town) <= [1]
    others = {role.name: await end(role) for role in town.roles if role.running and role.name != "worker"}
    figures += [
        f"workers end {max(ends):.1f} s after SIGTERM at most, their remote or their database being silent",
        f"the next worker holds the sync {max(goes_on):.1f} s later at most",
        *(f"{name} ends {took:.1f} s after SIGTERM" for name, took in others.items()),
    ]
    assert max(goes_on) < NEXT_WITHIN + 2  # it is rung at the next look of the reaper
    town.jira.open()
    await town.start_all("api", "scheduler", "worker")
    await town.all_end()
    town.nobody_died()
    await truth.holds(town)


async def ended_in_a_commit(town: Town, worker: Role) -> float:
    async with town.database.write() as connection:
        # The server would end a transaction that is idle for as long as this one.
        await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        await connection.execute(select(connections).with_for_update())
        return await end(worker)
