"""What is due: each due time fires once, whoever looks, and after downtime once in all."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.engine import Connection as SqlConnection

from scheduler import upkeep
from scheduler.due import open_due, open_looks
from scheduler.scheduler import Scheduler
from store import connections, syncs
from store.connections import Connection
from store.database import Database, clock, now
from store.health import Problem
from store.schema import connections as connections_table
from store.schema import syncs as syncs_table
from store.syncs import Ring, Sync
from tests.adapter_double import Script, thing
from tests.engine import connect, connection_row, minutes, set_connection
from tests.house import House


async def all_syncs(house: House, connection_id: int | None = None) -> list[Sync]:
    filters = [] if connection_id is None else [syncs_table.c.connection_id == connection_id]
    async with house.database.read() as connection:
        return list(await syncs.listed(connection, None, 1000, *filters))


async def connect_due(house: House, number: int = 0, seconds: float = -1, **values: object) -> Connection:
    """A connection that fell due some seconds ago."""
    made = await connect(house, number, **{"frequency": "hourly", **values})
    await set_connection(house, made.id, next_due_at=now(seconds))
    return made


async def test_what_is_due_gets_a_sync_and_its_next_time(engine: House) -> None:
    made = await connect_due(engine)
    [ring] = await open_due(engine.database)
    [sync] = await all_syncs(engine)
    assert (ring.sync_id, sync.connection_id, sync.trigger) == (sync.id, made.id, "schedule")
    assert sync.scope == "incremental"
    assert await open_due(engine.database) == []


async def test_two_schedulers_side_by_side_fire_each_due_time_once(engine: House) -> None:
    made = [await connect_due(engine, number) for number in range(10)]
    url = engine.database.engine.url.render_as_string(hide_password=False)
    other = Database(url, engine.database.schema)
    rings = await asyncio.gather(*(open_due(d) for d in (engine.database, other) * 2))
    await other.close()
    found = await all_syncs(engine)
    assert sorted(sync.connection_id for sync in found) == [one.id for one in made]
    assert {sync.joined for sync in found} == {0}
    assert sum(map(len, rings)) == 10


@pytest.mark.parametrize("frequency", ["every 1m", "hourly", "daily", "weekly", "monthly", "*/5 * * * *"])
async def test_after_downtime_a_connection_catches_up_once_and_is_next_due_in_the_future(
    engine: House, frequency: str
) -> None:
    made = await connect_due(engine, frequency=frequency, seconds=-40 * 24 * 3600)
    for _ in range(3):
        await open_due(engine.database)
    [sync] = await all_syncs(engine)
    assert (sync.trigger, sync.joined) == ("schedule", 0)
    next_due_at = (await connection_row(engine, made.id))["next_due_at"]
    assert next_due_at > await engine.database.time()


async def test_after_downtime_the_next_due_times_lie_all_over_the_interval_again(engine: House) -> None:
    made = [
        await connect_due(engine, number, seconds=-3 * 3600, frequency="every 5m") for number in range(50)
    ]
    assert len(await open_due(engine.database)) == 50
    at = await engine.database.time()
    due = [(await connection_row(engine, one.id))["next_due_at"] for one in made]
    assert at < min(due) <= max(due) <= at + minutes(5)
    assert max(due) - min(due) >= minutes(2.5)


async def test_after_a_recovery_the_sync_says_that_it_catches_up(engine: House) -> None:
    made = await connect_due(engine)
    await set_connection(engine, made.id, catch_up=True)
    await open_due(engine.database)
    await set_connection(engine, made.id, next_due_at=now(-1))
    [sync] = await all_syncs(engine)
    assert sync.trigger == "catch_up"
    assert not (await connection_row(engine, made.id))["catch_up"]


async def test_what_syncs_manually_or_is_disabled_deleted_or_a_draft_is_never_due(engine: House) -> None:
    manual = await connect(engine, 1)
    await connect_due(engine, 2, enabled=False)
    deleted = await connect_due(engine, 3)
    await set_connection(engine, deleted.id, deleted_at=now())
    await connect_due(engine, 4, canonical=None)
    await connect_due(engine, 5, seconds=60)
    assert await open_due(engine.database) == []
    assert await all_syncs(engine) == []
    assert (await connection_row(engine, manual.id))["next_due_at"] is None


async def test_a_manual_connection_that_recovered_catches_up_once_and_is_then_never_due(
    engine: House,
) -> None:
    made = await connect(engine)
    await set_connection(engine, made.id, next_due_at=now(-1), catch_up=True)
    assert len(await open_due(engine.database)) == 1
    assert (await connection_row(engine, made.id))["next_due_at"] is None


async def test_the_due_time_of_a_paused_connection_is_remembered_and_moves_on(engine: House) -> None:
    made = await connect_due(engine)
    await set_connection(engine, made.id, failure=Problem("auth", "refused"))
    assert await open_due(engine.database) == []
    row = await connection_row(engine, made.id)
    assert row["remembered"] == 1
    assert row["next_due_at"] > await engine.database.time()


async def test_a_frequency_that_cannot_be_understood_any_more_hinders_no_other(engine: House) -> None:
    """A zone that a new version of the time zone data does not know, say."""
    broken = await connect_due(engine, 1, seconds=-100, timezone="Mars/Olympus")
    good = await connect_due(engine, 2)
    await open_due(engine.database)
    assert {sync.connection_id for sync in await all_syncs(engine)} == {broken.id, good.id}
    next_due_at = (await connection_row(engine, broken.id))["next_due_at"]
    assert next_due_at > await engine.database.time() + minutes(30)


# --- looking again


async def with_unfinished(house: House, script: Script, number: int = 0, **values: object) -> Connection:
    """A connection with a record that is due to be looked at again."""
    script.pages.clear()
    script.add("all", [thing("1", final=False)])
    made = await connect(house, number, **{"frequency": "daily", **values})
    await house.sync(made.id)
    looks = (await connection_row(house, made.id))["next_look_at"]
    assert minutes(0.9) < looks - await house.database.time() <= minutes(1)
    table = house.deps.tables.get("double", "things").table
    async with house.database.write() as connection:
        await connection.execute(table.update().values(look_again_at=now(-1)))
    await set_connection(house, made.id, next_look_at=now(-1))
    return made


async def test_an_unfinished_record_is_looked_at_by_key_when_its_time_has_come(
    engine: House, script: Script
) -> None:
    made = await with_unfinished(engine, script)
    script.by_key["1"] = thing("1", final=False)
    [ring] = await open_looks(engine.database)
    assert ring.lane == "records"
    assert await open_looks(engine.database) == []
    sync = await engine.work(ring.sync_id)
    assert (sync.state, sync.trigger, sync.scope) == ("succeeded", "schedule", "records")
    assert script.fetched == [["1"]]
    looks = (await connection_row(engine, made.id))["next_look_at"]
    assert minutes(1.9) < looks - await engine.database.time() <= minutes(2)


async def test_a_record_that_has_become_final_is_left_alone(engine: House, script: Script) -> None:
    made = await with_unfinished(engine, script)
    script.by_key["1"] = thing("1", name="done")
    [ring] = await open_looks(engine.database)
    await engine.work(ring.sync_id)
    assert (await connection_row(engine, made.id))["next_look_at"] is None


async def test_nobody_looks_again_at_manual_disabled_or_paused_connections(
    engine: House, script: Script
) -> None:
    await with_unfinished(engine, script, 1, frequency="manually")
    disabled = await with_unfinished(engine, script, 2)
    await set_connection(engine, disabled.id, enabled=False)
    paused = await with_unfinished(engine, script, 3)
    await set_connection(engine, paused.id, failure=Problem("auth", "refused"))
    before = len(await all_syncs(engine))
    assert await open_looks(engine.database) == []
    assert len(await all_syncs(engine)) == before


# --- what a tick costs


async def crowd(house: House, count: int = 3000) -> None:
    """Many connections and syncs of which nothing is to be done now."""
    made = await connect(house)
    async with house.database.write() as connection:
        at = await clock(connection)
        row = dict((await connection.execute(select(connections_table))).mappings().one())
        row = {name: value for name, value in row.items() if name != "id"}
        many = [
            {**row, "callback_token": f"x{i}", "next_due_at": at + timedelta(hours=1)} for i in range(count)
        ]
        await connection.execute(insert(connections_table), many)
        ended: dict[str, object] = {
            "connection_id": made.id,
            "lane": "bulk",
            "trigger": "api",
            "scope": "full",
        }
        ended |= {"state": "succeeded", "queued_at": at, "run_at": at, "finished_at": at, "counters": {}}
        await connection.execute(insert(syncs_table), [ended] * count)
        await connection.execute(text("ANALYZE"))


async def plans(database: Database, made: Callable[[], Awaitable[object]]) -> str:
    """How the database goes about what is read in `made`."""
    seen: list[tuple[str, Any]] = []

    def watch(
        connection: SqlConnection, cursor: object, statement: str, values: Any, context: object, many: bool
    ) -> None:
        seen.append((statement, values))

    listened = database.engine.sync_engine
    event.listen(listened, "before_cursor_execute", watch)
    await made()
    event.remove(listened, "before_cursor_execute", watch)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    told = []
    async with database.read() as connection:
        for statement, values in seen:
            if "FROM " in statement and statement.startswith("SELECT"):
                found = await connection.exec_driver_sql(f"{explain} {statement}", tuple(values))
                told += [str(tuple(row)) for row in found]
    return "\n".join(told)


async def test_a_tick_costs_in_proportion_to_what_is_due(engine: House) -> None:
    await crowd(engine)
    database = engine.database
    made: Mapping[str, Callable[[], Awaitable[object]]] = {
        "connections_due": lambda: open_due(database),
        "connections_look": lambda: open_looks(database),
        "connections_check": lambda: upkeep.checks_due(database),
        "syncs_to_run": lambda: upkeep.reap(database),
    }
    for index, tick in made.items():
        plan = await plans(database, tick)
        assert index in plan, plan
        assert "SCAN connections" not in plan.replace("SCAN connections USING INDEX", "")
        assert "Seq Scan" not in plan


async def test_a_trigger_costs_nothing_for_the_syncs_that_ended_long_ago(engine: House) -> None:
    await crowd(engine)
    [made] = [one for one in await all_connections(engine) if one.callback_token == "token 0"]

    async def look() -> None:
        async with engine.database.read() as connection:
            await syncs.of_lane(connection, made.id, "bulk")

    plan = await plans(engine.database, look)
    partial = ("syncs_one_open", "syncs_one_queued", "syncs_to_run")
    assert any(index in plan for index in partial), plan
    assert "syncs_of_connection" not in plan
    assert "Seq Scan" not in plan


async def all_connections(house: House) -> Sequence[Connection]:
    async with house.database.read() as connection:
        return await connections.listed(connection, 0, 10)


# --- stale


async def test_a_connection_of_which_nothing_is_heard_becomes_stale_once(engine: House) -> None:
    made = await connect(engine, frequency="hourly")
    await engine.sync(made.id)
    assert await upkeep.settle_stale(engine.database) == 0
    await set_connection(engine, made.id, stale_at=now(-1))
    for _ in range(2):
        await upkeep.settle_stale(engine.database)
    assert (await engine.get(made.id)).health == "stale"
    told = [data["health"] for _, kind, data in await engine.events(made.id) if kind == "connection_status"]
    assert told[-1:] == ["stale"]
    assert told.count("stale") == 1


async def test_a_partial_connection_stays_partial_and_is_not_settled_again_and_again(engine: House) -> None:
    made = await connect(engine, frequency="hourly")
    await engine.sync(made.id)
    partial = Problem("forbidden", "one stream")
    await set_connection(engine, made.id, partial=partial, health="partial", stale_at=now(-1))
    assert await upkeep.settle_stale(engine.database) == 0


async def test_a_limit_that_is_over_is_told(engine: House) -> None:
    made = await connect(engine)
    await set_connection(engine, made.id, limited_until=now(-1), health="rate_limited")
    assert await upkeep.settle_stale(engine.database) == 1
    assert (await engine.get(made.id)).health == "pending"


async def test_a_scheduler_that_stops_in_the_middle_of_a_tick_reports_no_error(
    engine: House, caplog: pytest.LogCaptureFixture
) -> None:
    await connect_due(engine)
    ringing = asyncio.Event()

    class Silent:
        async def ring(self, rings: Sequence[Ring]) -> None:
            ringing.set()
            await asyncio.Event().wait()

        async def ring_check(self, connection_id: int) -> None:
            raise AssertionError

        async def ring_webhook(self, connection_id: int) -> None:
            raise AssertionError

    scheduler = Scheduler(engine.database, engine.deps.tables, Silent())
    scheduler.start()
    await asyncio.wait_for(ringing.wait(), 30)
    scheduler.stop()
    await asyncio.sleep(0.1)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_many_that_are_due_are_all_opened_in_one_tick_and_the_first_rung_for_before_the_last(
    engine: House,
) -> None:
    count = 120
    for number in range(count):
        await connect_due(engine, number)
    rung: list[int] = []
    open_then: list[int] = []

    class Bell:
        async def ring(self, rings: Sequence[Ring]) -> None:
            rung.extend(ring.sync_id for ring in rings)
            open_then.append(len(await all_syncs(engine)))

        async def ring_check(self, connection_id: int) -> None:
            raise AssertionError

        async def ring_webhook(self, connection_id: int) -> None:
            raise AssertionError

    await Scheduler(engine.database, engine.deps.tables, Bell()).tick()
    assert len(set(rung)) == count
    assert open_then[0] <= 50
