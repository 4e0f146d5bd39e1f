"""Who works on a sync: one claimer at a time, in its lane's order, until the lease ends."""

import asyncio
from datetime import timedelta
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import insert, select

from scheduler.dispatch import Request
from store import claims, syncs
from store.database import Database, clock, now
from store.schema import sync_parts
from store.schema import syncs as syncs_table
from store.syncs import Sync
from tests.engine import (
    ME,
    claim,
    claimable,
    claimed,
    commit,
    connect,
    connection_row,
    lose_lease,
    set_sync,
    sync_row,
)
from tests.house import House
from tests.integration.test_store_pages import page

RECORDS = Request("api", "records", {"things": ["1"]})


async def test_of_many_claimers_at_once_one_wins(engine: House) -> None:
    sync = await engine.open((await connect(engine)).id)
    url = engine.database.engine.url.render_as_string(hide_password=False)
    others = [Database(url, engine.database.schema) for _ in range(3)]
    houses = [House(database, engine.deps, engine.vault) for database in (engine.database, *others)]
    found = await asyncio.gather(*(claim(house, sync.id, f"owner {i}") for i in range(5) for house in houses))
    for database in others:
        await database.close()
    [winner] = [one for one in found if one is not None]
    assert (winner.state, winner.fence) == ("running", 1)


async def test_a_claim_starts_the_sync_and_tells_so(engine: House) -> None:
    made = await connect(engine)
    sync = await claim(engine, (await engine.open(made.id)).id)
    assert sync is not None
    assert sync.started_at is not None
    assert await engine.states(made.id) == ["queued", "running"]
    assert (await engine.get(made.id)).health == "processing"


async def test_what_is_held_cannot_be_claimed_until_its_lease_has_ended(engine: House) -> None:
    sync = await claimed(engine, (await connect(engine)).id)
    assert await claim(engine, sync.id, "another") is None
    await lose_lease(engine, sync.id)
    taken = await claim(engine, sync.id, "another")
    assert taken is not None
    assert taken.fence == sync.fence + 1
    assert taken.started_at == sync.started_at


async def test_a_lease_that_is_renewed_stays_and_one_that_ran_out_is_not_revived(engine: House) -> None:
    sync = await claimed(engine, (await connect(engine)).id)
    await set_sync(engine, sync.id, lease_until=now(5))
    soon = (await sync_row(engine, sync.id))["lease_until"]
    async with engine.database.beside() as connection:
        await claims.renew(connection, ME, [4711])
        assert (await connection.execute(select(syncs_table.c.lease_until))).scalar_one() <= soon
        await claims.renew(connection, ME, [sync.id])
        await claims.renew(connection, "another", [sync.id])
    left = (await sync_row(engine, sync.id))["lease_until"] - await engine.database.time()
    assert timedelta(seconds=8) < left <= timedelta(seconds=claims.LEASE_SECONDS)
    await lose_lease(engine, sync.id)
    async with engine.database.beside() as connection:
        await claims.renew(connection, ME, [sync.id])
    assert await claim(engine, sync.id, "another") is not None


async def test_a_queued_sync_waits_while_its_lane_is_open_and_the_other_lane_does_not(engine: House) -> None:
    made = await connect(engine)
    first = await claimed(engine, made.id)
    second, other = await engine.open(made.id), await engine.open(made.id, RECORDS)
    assert await claim(engine, second.id) is None
    assert await claim(engine, other.id) is not None
    async with engine.database.write() as connection:
        await syncs.finish(connection, first, "succeeded", await clock(connection), {})
        ring = await claims.next_in_lane(connection, made.id, "bulk")
    assert ring is not None
    assert ring.sync_id == second.id
    assert await claim(engine, second.id) is not None


async def test_what_is_to_run_later_cannot_be_claimed_yet(engine: House) -> None:
    sync = await engine.open((await connect(engine)).id)
    await set_sync(engine, sync.id, run_at=now(60))
    assert await claim(engine, sync.id) is None
    assert await claimable(engine) == set()
    await set_sync(engine, sync.id, run_at=now())
    assert await claimable(engine) == {sync.id}


async def test_what_has_ended_or_never_was_cannot_be_claimed(engine: House) -> None:
    sync = await claimed(engine, (await connect(engine)).id)
    async with engine.database.write() as connection:
        await syncs.finish(connection, sync, "failed", await clock(connection), {})
    assert await claim(engine, sync.id) is None
    assert await claim(engine, 4711) is None


# --- crashes


async def crash(house: House, sync_id: int) -> Sync | None:
    """Claim a sync in a new process, which dies."""
    found = await claim(house, sync_id, f"here:4711:{uuid4().hex}")
    await lose_lease(house, sync_id)
    return found


async def crashes(house: House, connection_id: int) -> int:
    return int((await connection_row(house, connection_id))["crashes"])


async def test_the_third_claim_in_a_row_that_died_without_a_page_suspends_the_connection(
    engine: House,
) -> None:
    made = await connect(engine)
    sync = await claimed(engine, made.id)
    await lose_lease(engine, sync.id)
    assert await crash(engine, sync.id) is not None
    assert await crash(engine, sync.id) is not None
    assert await claim(engine, sync.id) is None
    ended = await engine.status(sync.id)
    assert ended.error is not None
    assert (ended.state, ended.error.kind) == ("failed", "crashing")
    found = await engine.get(made.id)
    assert (found.health, found.cause, found.paused) == ("failed", "crashing", True)
    assert (await engine.states(made.id)).count("failed") == 1
    assert await claimable(engine) == set()


async def test_a_suspended_connection_is_checked_the_next_day(engine: House) -> None:
    made = await connect(engine)
    sync = await engine.open(made.id)
    for _ in range(4):
        await crash(engine, sync.id)
    check_at = (await connection_row(engine, made.id))["next_check_at"]
    assert check_at is not None
    assert timedelta(hours=23) < check_at - await engine.database.time() <= timedelta(days=1)


async def test_a_page_between_crashes_begins_the_count_anew(engine: House) -> None:
    made = await connect(engine)
    sync = await claimed(engine, made.id)
    await lose_lease(engine, sync.id)
    await crash(engine, sync.id)
    third = await claim(engine, sync.id)
    assert third is not None
    assert await crashes(engine, made.id) == 2
    await commit(engine, third, await page(engine, "1"))
    assert await crashes(engine, made.id) == 0
    await lose_lease(engine, sync.id)
    # It died after a page: that is a crash, but not one that got nowhere.
    assert await claim(engine, sync.id) is not None
    assert await crashes(engine, made.id) == 0


async def test_passing_on_and_waiting_are_no_crashes(engine: House) -> None:
    made = await connect(engine)
    sync = await claimed(engine, made.id)
    for _ in range(4):
        async with engine.database.write() as connection:
            await syncs.pass_on(connection, sync, {})
        sync = await claim(engine, sync.id) or pytest.fail("passed on, but not to be had")
        async with engine.database.write() as connection:
            at = await clock(connection)
            await syncs.postpone(connection, sync, at, at, {})
        sync = await claim(engine, sync.id) or pytest.fail("the wait is over, but it is not to be had")
    assert await crashes(engine, made.id) == 0


async def test_cancelling_is_no_crash(engine: House) -> None:
    made = await connect(engine)
    for _ in range(4):
        sync = await claimed(engine, made.id)
        async with engine.database.write() as connection:
            assert await syncs.cancel(connection, sync, await clock(connection))
    assert await crashes(engine, made.id) == 0
    assert (await engine.get(made.id)).health == "pending"


async def parts_left(house: House) -> int:
    async with house.database.read() as connection:
        return len((await connection.execute(select(sync_parts))).all())


async def test_a_sync_that_was_cancelled_or_suspended_leaves_no_parts(engine: House) -> None:
    sync = await claimed(engine, (await connect(engine)).id)
    async with engine.database.write() as connection:
        await syncs.cancel(connection, sync, await clock(connection))
    assert await parts_left(engine) == 0
    sync = await claimed(engine, (await connect(engine, 2)).id)
    await lose_lease(engine, sync.id)
    for _ in range(3):
        await crash(engine, sync.id)
    assert (await engine.status(sync.id)).state == "failed"
    assert await parts_left(engine) == 0


# --- the reaper's list is what a claim takes


async def random_world(house: House, random: Random) -> list[int]:
    """Connections with all kinds of syncs, as far as the indexes allow them; the syncs' ids."""
    seconds = [-60.0, -1.0, 60.0]
    rows: list[dict[str, object]] = []
    for number in range(15):
        made = await connect(house, number)
        for lane in ("bulk", "records"):
            for state in (random.choice(["running", "waiting", ""]), random.choice(["queued", ""]), "failed"):
                owner = random.choice([None, ME])
                held = {"lease_owner": owner, "lease_until": now(random.choice(seconds)) if owner else None}
                run_at = now(random.choice(seconds))
                rows.append(
                    {"connection_id": made.id, "lane": lane, "state": state, "run_at": run_at, **held}
                )
    ids = []
    async with house.database.write() as connection:
        at = await clock(connection)
        common = {"trigger": "api", "scope": "full", "queued_at": at, "counters": {}}
        for row in rows:
            if row["state"]:
                made_sync = insert(syncs_table).values({**common, **row}).returning(syncs_table.c.id)
                ids.append((await connection.execute(made_sync)).scalar_one())
    return ids


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_the_reaper_lists_is_exactly_what_a_claim_takes(engine: House, seed: int) -> None:
    ids = await random_world(engine, Random(seed))
    taken = set()
    for sync_id in ids:
        async with engine.database.engine.connect() as connection, connection.begin() as transaction:
            if await claims.claim(connection, sync_id, "another") is not None:
                taken.add(sync_id)
            await transaction.rollback()
    assert await claimable(engine) == taken
    assert 0 < len(taken) < len(ids)


async def test_the_longest_due_is_rung_first(engine: House) -> None:
    opened = [await engine.open((await connect(engine, number)).id) for number in range(3)]
    for sync, ago in zip(opened, (-20, -30, -10), strict=True):
        await set_sync(engine, sync.id, run_at=now(ago))
    async with engine.database.read() as connection:
        rings = await claims.claimable(connection, 2)
    assert [ring.sync_id for ring in rings] == [opened[1].id, opened[0].id]
