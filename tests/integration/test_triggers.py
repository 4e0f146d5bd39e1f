"""Queue triggers: a sync for each entry of the stream, none lost and none twice."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError

from scheduler.triggers import GROUP, REJECTED, STREAM, Triggers
from store.syncs import Ring, Sync, listed
from tests.adapter_double import SYSTEM, Script, thing
from tests.api_server import Rope
from tests.engine import connect, set_connection
from tests.house import House
from tests.valkey import Valkey


def consumer(
    house: House, redis: Redis, name: str = "one", taken_over: float = 30.0
) -> tuple[Triggers, Rope]:
    rope = Rope()
    return Triggers(house.database, house.deps.tables, redis, rope, name, taken_over), rope


async def taken(triggers: Triggers) -> int:
    """What there is; the first time makes the group."""
    return await triggers.take(0.001) or await triggers.take(0.001)


async def opened(house: House) -> Sequence[Sync]:
    async with house.database.read() as connection:
        return await listed(connection, None, 100)


async def refusals(redis: Redis) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await redis.xrange(REJECTED)]


async def test_a_trigger_opens_an_incremental_sync_and_rings(engine: House, redis: Redis) -> None:
    made = await connect(engine)
    await redis.xadd(STREAM, {"connection": str(made.id)})
    triggers, rope = consumer(engine, redis)
    assert await taken(triggers) == 1
    [sync] = await opened(engine)
    assert (sync.connection_id, sync.trigger, sync.scope) == (made.id, "queue", "incremental")
    assert [ring.sync_id for ring in rope.rung] == [sync.id]


async def test_a_connection_is_named_by_its_name_too(engine: House, redis: Redis) -> None:
    made = await connect(engine, name="payments")
    await redis.xadd(STREAM, {"connection": "payments", "scope": "full"})
    await taken(consumer(engine, redis)[0])
    [sync] = await opened(engine)
    assert (sync.connection_id, sync.scope) == (made.id, "full")


@pytest.mark.parametrize("keys", ["a, b,,a", '["a", "b"]'])
async def test_a_trigger_names_records(engine: House, redis: Redis, keys: str) -> None:
    made = await connect(engine)
    await redis.xadd(STREAM, {"connection": made.id, "scope": "records", "stream": "things", "keys": keys})
    await taken(consumer(engine, redis)[0])
    [sync] = await opened(engine)
    assert sync.keys == {"things": ["a", "b"]}


async def test_what_is_taken_leaves_the_stream(engine: House, redis: Redis) -> None:
    made = await connect(engine)
    await redis.xadd(STREAM, {"connection": made.id})
    triggers, _ = consumer(engine, redis)
    await taken(triggers)
    assert await redis.xlen(STREAM) == 0
    assert (await redis.xpending(STREAM, GROUP))["pending"] == 0
    assert await triggers.take(0.001) == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "connection"),
        ({"connection": "nobody"}, "nobody"),
        ({"connection": "99"}, "99"),
        ({"connection": "1", "scope": "all"}, "scope"),
        ({"connection": "1", "scop": "full"}, "scop"),
        ({"connection": "1", "stream": "things"}, "scope records"),
        ({"connection": "1", "scope": "records", "stream": "films", "keys": "1"}, "things"),
        ({"connection": "1", "scope": "records", "stream": "things"}, "keys"),
        ({"connection": "1", "scope": "records", "stream": "things", "keys": "[1]"}, "keys"),
        ({"connection": b"\xff"}, "UTF-8"),
        ({"connection": "a\0"}, "NUL"),
    ],
)
async def test_what_cannot_be_understood_is_put_aside_with_the_reason(
    engine: House, redis: Redis, fields: dict[Any, Any], reason: str
) -> None:
    await connect(engine)
    await redis.xadd(STREAM, fields or {"nothing": "here"})
    await taken(consumer(engine, redis)[0])
    [refused] = await refusals(redis)
    assert reason in refused[b"reason"].decode()
    assert await opened(engine) == []
    assert await redis.xlen(STREAM) == 0


async def test_a_disabled_connection_refuses_with_the_reason(engine: House, redis: Redis) -> None:
    made = await connect(engine)
    await set_connection(engine, made.id, enabled=False)
    await redis.xadd(STREAM, {"connection": made.id})
    await taken(consumer(engine, redis)[0])
    [refused] = await refusals(redis)
    assert b"disabled" in refused[b"reason"]


async def test_what_a_dead_consumer_held_is_taken_over(engine: House, redis: Redis) -> None:
    made = await connect(engine)
    await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    await redis.xadd(STREAM, {"connection": made.id})
    await redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    alive, _ = consumer(engine, redis, taken_over=0.0)
    assert await alive.take(0.001) == 1
    assert len(await opened(engine)) == 1


async def test_a_trigger_that_the_database_could_not_take_is_taken_later(engine: House, redis: Redis) -> None:
    made = await connect(engine)
    await redis.xadd(STREAM, {"connection": str(made.id)})
    triggers, _ = consumer(engine, redis, taken_over=0.0)
    await rename(engine, "syncs", "elsewhere")
    with pytest.raises(SQLAlchemyError):
        await taken(triggers)
    await rename(engine, "elsewhere", "syncs")
    assert await consumer(engine, redis, "two", taken_over=0.0)[0].take(0.001) == 1
    assert len(await opened(engine)) == 1


async def rename(house: House, before: str, after: str) -> None:
    async with house.database.write() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")


async def test_what_another_holds_since_a_moment_is_left_to_it(engine: House, redis: Redis) -> None:
    made = await connect(engine)
    await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    await redis.xadd(STREAM, {"connection": made.id})
    await redis.xreadgroup(GROUP, "busy", {STREAM: ">"})
    assert await consumer(engine, redis)[0].take(0.001) == 0
    assert await opened(engine) == []


async def test_two_consumers_share_the_stream(engine: House, redis: Redis) -> None:
    made = [await connect(engine, number) for number in range(20)]
    one, _ = consumer(engine, redis, "one")
    two, _ = consumer(engine, redis, "two")
    await one.take(0.001)
    for connection in made:
        await redis.xadd(STREAM, {"connection": connection.id})
    counts = await asyncio.gather(one.take(0.01), two.take(0.01))
    assert sum(counts) == 20
    assert sorted(sync.connection_id for sync in await opened(engine)) == [one.id for one in made]
    assert {sync.joined for sync in await opened(engine)} == {0}


async def test_triggers_go_on_after_redis_was_emptied_and_restarted(
    engine: House, redis: Redis, valkey: Valkey
) -> None:
    made = await connect(engine)
    triggers, _ = consumer(engine, redis)
    stop = asyncio.Event()
    running = asyncio.create_task(triggers.run(stop))
    await redis.xadd(STREAM, {"connection": made.id})
    await until(engine, 1)
    await redis.flushall()
    await engine.work((await opened(engine))[0].id)
    await redis.xadd(STREAM, {"connection": made.id})
    await until(engine, 2)
    await valkey.kill()
    await valkey.start()
    await engine.work((await opened(engine))[0].id)
    await redis.xadd(STREAM, {"connection": made.id})
    await until(engine, 3)
    stop.set()
    await running


async def until(house: House, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await opened(house)) < count:  # noqa: ASYNC110 - what happened is in the database
            await asyncio.sleep(0.02)


async def test_a_trigger_reads_the_record_that_it_names(engine: House, script: Script, redis: Redis) -> None:
    made = await connect(engine)
    script.by_key["t7"] = thing("t7")
    await redis.xadd(STREAM, {"connection": made.id, "scope": "records", "stream": "things", "keys": "t7"})
    triggers, rope = consumer(engine, redis)
    await taken(triggers)
    rings: list[Ring] = rope.rung
    ended = await engine.work(rings[0].sync_id)
    assert ended.state == "succeeded"
    assert await engine.keys(SYSTEM, "things") == {"t7"}
