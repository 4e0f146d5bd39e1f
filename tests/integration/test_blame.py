"""Who is to blame for a sync that does not get on: a connection only for what it does to its workers."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from structlog.testing import capture_logs

from adapters.base import Partition
from scheduler.due import open_due
from scheduler.upkeep import checks_due
from store import claims, parts, processes
from store.database import Database, DatabaseLostError, clock, is_trouble, now
from store.parts import Planned
from store.syncs import Sync
from tests.adapter_double import Script, thing
from tests.engine import (
    claim,
    commit,
    connect,
    connection_row,
    lose_lease,
    set_connection,
    set_sync,
    sync_row,
)
from tests.house import House
from tests.integration.test_claim import crash, crashes
from tests.integration.test_store_pages import page
from worker.budget import Clock
from worker.check import run_check
from worker.holding import SHAKEN_SECONDS, Holding
from worker.lease import keep_leases
from worker.sync import run_slice

A, B = "one.example:17:aa", "two.example:18:bb"


async def beat(house: House, owner: str) -> None:
    host, pid, _ = owner.split(":")
    async with house.database.beside() as connection:
        await processes.beat(connection, owner, ["worker"], host, int(pid))


async def opened(house: House, number: int = 0) -> Sync:
    return await house.open((await connect(house, number)).id)


async def taken(house: House, sync_id: int, owner: str) -> Sync:
    return await claim(house, sync_id, owner) or pytest.fail(f"{sync_id} is not to be had")


# --- deaths of workers


async def test_a_worker_that_is_gone_counts_and_one_that_lives_does_not(engine: House) -> None:
    sync = await opened(engine)
    await beat(engine, A)
    await taken(engine, sync.id, A)
    await asyncio.sleep(0.01)  # so that the lease ends after the process was last seen
    await set_sync(engine, sync.id, lease_until=now())
    await asyncio.sleep(0.01)
    await taken(engine, sync.id, B)
    assert await crashes(engine, sync.connection_id) == 1
    await lose_lease(engine, sync.id)
    await beat(engine, B)
    await taken(engine, sync.id, A)
    assert await crashes(engine, sync.connection_id) == 1


async def test_whoever_claims_again_what_it_held_itself_has_not_died(engine: House) -> None:
    sync = await opened(engine)
    for _ in range(4):
        await taken(engine, sync.id, A)
        await lose_lease(engine, sync.id)
    assert await crashes(engine, sync.connection_id) == 0


async def test_nobody_counts_right_after_the_database_failed_all(engine: House) -> None:
    sync = await opened(engine)
    for owner in (A, B, "three", "four"):
        async with engine.database.write() as connection:
            assert await claims.claim(connection, sync.id, owner, shaken=True) is not None
        await lose_lease(engine, sync.id)
    assert await crashes(engine, sync.connection_id) == 0


async def test_the_words_name_the_process_that_died_and_what_to_do(engine: House) -> None:
    sync = await opened(engine)
    for owner in (A, A + "2", B):
        await taken(engine, sync.id, owner)
        await lose_lease(engine, sync.id)
    assert await claim(engine, sync.id, "the next") is None
    error = (await engine.status(sync.id)).error
    assert error is not None
    assert error.message == (
        "Reading this connection killed its worker 3 times in a row, the last time process 18 on "
        "two.example. No other connection is affected."
    )
    assert error.hint.startswith("See why the system ended that process, in its own log (out of memory,")
    assert (await engine.get(sync.connection_id)).cause == "crashing"


async def test_syncs_on_their_last_chance_are_read_one_at_a_time_in_each_process(engine: House) -> None:
    first, second, fine = [await opened(engine, number) for number in range(3)]
    for sync in (first, second):
        await crash(engine, sync.id)
        await set_connection(engine, sync.connection_id, crashes=1)
    await taken(engine, first.id, A)
    # Dying of the one, the process would take the other with it; those that are not suspected run on.
    assert await claim(engine, second.id, A) is None
    assert await claim(engine, fine.id, A) is not None
    assert await crashes(engine, second.connection_id) == 1
    assert await claim(engine, second.id, B) is not None


async def test_a_page_lifts_the_suspicion_and_the_next_has_its_turn(engine: House) -> None:
    first, second = [await opened(engine, number) for number in range(2)]
    for sync in (first, second):
        await set_connection(engine, sync.connection_id, crashes=2)
    held = await taken(engine, first.id, "test")
    assert await claim(engine, second.id, "test") is None
    async with engine.database.write() as connection:
        await parts.plan(connection, held, [Planned("things", Partition("all"))])
    await commit(engine, held, await page(engine, "1"))
    assert await claim(engine, second.id, "test") is not None


# --- defects


async def stumbled(house: House, sync_id: int) -> None:
    """A slice, at once and not after the seconds that follow a defect."""
    await set_sync(house, sync_id, run_at=now(-1))
    await run_slice(house.deps, sync_id)


async def test_a_defect_is_tried_again_in_a_while_and_the_third_suspends_that_connection_alone(
    engine: House, script: Script
) -> None:
    script.add("all", [thing("1")])
    bad, good = [await opened(engine, number) for number in range(2)]
    script.defect = ZeroDivisionError("what the remote sent: hush-hush")
    with capture_logs() as told:
        for number in range(3):
            await stumbled(engine, bad.id)
            row = await sync_row(engine, bad.id)
            assert row["lease_owner"] is None
            assert row["state"] == ("running" if number < 2 else "failed")
    script.defect = None
    assert (await engine.work(good.id)).state == "succeeded"
    assert (await engine.get(good.connection_id)).health == "healthy"
    failed = await engine.get(bad.connection_id)
    assert (failed.health, failed.cause, failed.paused) == ("failed", "crashing", True)
    assert failed.failure is not None
    references = [line["reference"] for line in told if line["event"] == "sync.defect"]
    assert len(set(references)) == 3
    assert "by a defect of Tidegate or its adapter (ZeroDivisionError)" in failed.failure.message
    assert f"under the reference {references[-1]}" in failed.failure.hint
    assert "hush-hush" not in failed.failure.message + failed.failure.hint


async def test_after_a_defect_nothing_is_tried_for_some_seconds(engine: House, script: Script) -> None:
    script.add("all", [thing("1")])
    script.defect = ZeroDivisionError("a bug")
    sync = await opened(engine)
    await run_slice(engine.deps, sync.id)
    left = (await sync_row(engine, sync.id))["run_at"] - await engine.database.time()
    assert 1 < left.total_seconds() <= claims.STUMBLE_SECONDS
    assert await claim(engine, sync.id) is None


async def test_an_error_of_the_adapters_own_line_is_a_defect_too(engine: House, script: Script) -> None:
    script.add("all", [thing("1")])
    script.defect = ConnectionResetError("no adapter lets this through")
    sync = await opened(engine)
    await run_slice(engine.deps, sync.id)
    assert await crashes(engine, sync.connection_id) == 1


async def test_a_page_between_defects_begins_the_count_anew(engine: House, script: Script) -> None:
    script.add("all", [thing("1")])
    script.add("other", [thing("2")])
    sync = await opened(engine)
    script.defect = ZeroDivisionError("a bug")
    await stumbled(engine, sync.id)
    await stumbled(engine, sync.id)
    script.defect = None

    def breaks(partition: str, _number: int) -> None:
        script.defect = ZeroDivisionError("a bug") if partition == "other" else None

    script.before_page = breaks
    await stumbled(engine, sync.id)
    assert (await sync_row(engine, sync.id))["state"] == "running"
    assert await crashes(engine, sync.connection_id) == 0


# --- failures of servers


async def test_a_database_that_fails_in_every_slice_suspends_nobody(engine: House, script: Script) -> None:
    script.add("all", [thing("1")])
    sync = await opened(engine)
    for _ in range(4):
        script.defect = DatabaseLostError("the database is away")
        with pytest.raises(SQLAlchemyError):
            await run_slice(engine.deps, sync.id)
        assert engine.deps.holding.shaken
        assert await claim(engine, sync.id) is None  # not yet: its lease runs
        await one_beat(engine)
        row = await sync_row(engine, sync.id)
        assert (row["state"], row["lease_owner"]) == ("running", None)
    assert await crashes(engine, sync.connection_id) == 0
    script.defect = None
    assert (await engine.work(sync.id)).state == "succeeded"
    assert (await engine.get(sync.connection_id)).health == "healthy"


async def one_beat(house: House) -> None:
    """What a worker does every three seconds."""
    deps = house.deps
    beating = asyncio.create_task(
        keep_leases(deps.database, deps.owner, Clock(await deps.database.time()), deps.holding)
    )
    async with asyncio.timeout(20):
        while deps.holding.torn:  # noqa: ASYNC110 - it is the database that tells
            await asyncio.sleep(0.01)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_what_another_has_taken_meanwhile_is_not_given_back(engine: House, script: Script) -> None:
    script.add("all", [thing("1")])
    sync = await opened(engine)
    script.defect = DatabaseLostError("the database is away")
    with pytest.raises(SQLAlchemyError):
        await run_slice(engine.deps, sync.id)
    script.defect = None
    await lose_lease(engine, sync.id)
    await taken(engine, sync.id, B)
    await one_beat(engine)
    assert (await sync_row(engine, sync.id))["lease_owner"] == B


def test_a_failure_of_the_database_is_remembered_for_as_long_as_a_lease_may_have_run_out_by_it() -> None:
    at = 100.0
    holding = Holding(lambda: at)
    seen = [holding.shaken]
    holding.shake()
    for seconds in (SHAKEN_SECONDS - 1, 2):
        at += seconds
        seen.append(holding.shaken)
    assert seen == [False, True, False]


async def test_what_is_wrong_with_a_value_is_no_trouble_of_the_database(database: Database) -> None:
    async def error_of(statement: str) -> SQLAlchemyError:
        with pytest.raises(SQLAlchemyError) as caught:
            async with database.write() as connection:
                await connection.execute(text(statement))
        return caught.value

    assert not is_trouble(await error_of("INSERT INTO duties (name, fence, counter) VALUES (NULL, 0, 0)"))
    assert is_trouble(await error_of("SELECT * FROM a_table_that_is_missing"))
    if not database.is_sqlite:
        assert not is_trouble(await error_of("SELECT 'x'::int"))
        assert is_trouble(await error_of("SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_a_server_that_is_not_there_is_trouble_of_the_database() -> None:
    away = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseLostError) as caught:
        async with away.read():
            pass
    assert is_trouble(caught.value)
    await away.close()


def test_a_failure_of_a_driver_without_a_code_is_trouble() -> None:
    assert is_trouble(OperationalError("", {}, Exception("database is locked")))
    unsent = DBAPIError("", {}, Exception("invalid input"))
    assert unsent.orig is not None
    unsent.orig.__cause__ = ValueError("out of range")
    assert not is_trouble(unsent)


# --- the way out


async def suspended(house: House, script: Script) -> int:
    """A connection that three defects suspended; the defect is mended."""
    script.add("all", [thing("1")])
    script.defect = ZeroDivisionError("a bug")
    made = await connect(house, frequency="hourly")
    sync = await house.open(made.id)
    for _ in range(3):
        await stumbled(house, sync.id)
    script.defect = None
    assert (await house.get(made.id)).paused
    return made.id


async def test_a_sync_asked_for_by_hand_ends_the_suspension(engine: House, script: Script) -> None:
    connection_id = await suspended(engine, script)
    assert (await engine.sync(connection_id)).state == "succeeded"
    found = await engine.get(connection_id)
    assert (found.health, found.paused, found.failure) == ("healthy", False, None)


async def test_one_more_defect_after_that_does_not_suspend_at_once(engine: House, script: Script) -> None:
    connection_id = await suspended(engine, script)
    assert (await connection_row(engine, connection_id))["crashes"] == 0


async def test_the_daily_check_ends_the_suspension_and_one_sync_catches_up(
    engine: House, script: Script
) -> None:
    connection_id = await suspended(engine, script)
    assert await open_due(engine.database) == []
    await set_connection(engine, connection_id, next_check_at=now(-1))
    assert list(await checks_due(engine.database)) == [connection_id]
    async with engine.database.read() as connection:
        at = await clock(connection)
    await run_check(engine.deps, connection_id, at)
    [ring] = await open_due(engine.database)
    assert (await engine.status(ring.sync_id)).trigger == "catch_up"
    assert (await engine.work(ring.sync_id)).state == "succeeded"
    assert (await engine.get(connection_id)).health == "healthy"
