"""From the outbox to the Redis stream: in order, once, whoever crashes in between."""

import asyncio
from datetime import datetime

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import select, update

from events.envelope import STREAM
from events.relay import IDLE_SECONDS, LEASE_SECONDS, QUIET_SECONDS, Relay
from scheduler.dispatch import Request
from store import outbox
from store.database import now
from store.schema import duties
from store.schema import outbox as outbox_table
from tests.engine import connect
from tests.house import House
from tests.valkey import Valkey


class Sent(msgspec.Struct, frozen=True):
    """An event as it is found on the stream."""

    position: int
    event: dict[str, object]

    @property
    def sequence(self) -> object:
        return self.event["sequence"]


async def stream(redis: Redis) -> list[Sent]:
    entries = await redis.xrange(STREAM)
    return [
        Sent(int(entry_id.split(b"-")[0]), msgspec.json.decode(fields[b"event"], type=dict[str, object]))
        for entry_id, fields in entries
    ]


async def happen(house: House, *numbers: int, times: int = 2) -> None:
    """Let some things happen to some connections, one after the other."""
    made = [await connect(house, number) for number in numbers]
    for _ in range(times):
        for one in made:
            await house.sync(one.id, Request("api", "full"))


async def relayed(house: House, redis: Redis, owner: str = "relay 1") -> Relay:
    """A relay that holds the duty and has sent all there is."""
    relay = Relay(house.database, redis, owner)
    assert await relay._keep()
    await for_an_hour(house)
    while await relay.publish():
        pass
    return relay


async def for_an_hour(house: House) -> None:
    """The duty that was just taken does not run out, however slow this machine is."""
    async with house.database.write() as connection:
        await connection.execute(update(duties).values(lease_until=now(3600)))


async def test_positions_are_dense_and_each_connections_events_in_order(engine: House, redis: Redis) -> None:
    await happen(engine, 1, 2)
    await relayed(engine, redis)
    sent = await stream(redis)
    assert [one.position for one in sent] == list(range(1, len(sent) + 1))
    for source in ("/connections/1", "/connections/2"):
        mine = [one.sequence for one in sent if one.event["source"] == source]
        assert mine == list(range(1, len(mine) + 1))
        assert len(mine) >= 6


async def test_an_event_is_a_cloud_event(engine: House, redis: Redis) -> None:
    await happen(engine, 1, times=1)
    await relayed(engine, redis)
    sent = await stream(redis)
    for one in sent:
        event = one.event
        assert event["specversion"] == "1.0"
        assert event["source"] == "/connections/1"
        assert event["datacontenttype"] == "application/json"
        assert isinstance(event["data"], dict)
        assert datetime.fromisoformat(str(event["time"])).utcoffset() is not None
        assert str(event["time"]).endswith("Z")
        # Names of attributes are lower-case letters and digits alone.
        assert all(name.isalnum() and name.islower() for name in event)
    assert {one.event["type"] for one in sent} == {"io.tidegate.status", "io.tidegate.connection_status"}
    assert len({one.event["id"] for one in sent}) == len(sent)


async def test_a_crash_between_sending_and_remembering_sends_nothing_twice(
    engine: House, redis: Redis
) -> None:
    await happen(engine, 1)
    await relayed(engine, redis)
    before = await stream(redis)
    again = Relay(engine.database, redis, "relay 1")
    assert await again._keep()
    async with engine.database.read() as connection:
        events = await outbox.after(connection, 0)
    await again._send(events)
    assert await stream(redis) == before
    await happen(engine, 2, times=1)
    while await again.publish():
        pass
    after = await stream(redis)
    assert after[: len(before)] == before
    assert [one.position for one in after] == list(range(1, len(after) + 1))


async def test_one_relay_works_and_another_takes_over_when_its_lease_ends(
    engine: House, redis: Redis
) -> None:
    await happen(engine, 1, times=1)
    first = await relayed(engine, redis)
    second = Relay(engine.database, redis, "relay 2")
    assert not await second._keep()
    async with engine.database.write() as connection:
        await connection.execute(update(duties).values(lease_until=now(-1)))
    assert await second._keep()
    await for_an_hour(engine)
    await happen(engine, 2, times=1)
    # The first believes for a while that it is still at work; its fence tells otherwise.
    await first.publish()
    async with engine.database.read() as connection:
        assert await outbox.has_unsent(connection)
    while await second.publish():
        pass
    sent = await stream(redis)
    assert [one.position for one in sent] == list(range(1, len(sent) + 1))
    assert LEASE_SECONDS <= 15


async def test_a_relay_that_is_stopped_lets_another_go_on_at_once(engine: House, redis: Redis) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(Relay(engine.database, redis, "relay 1").run(stop))
    await happen(engine, 1, times=1)
    await until_all_sent(engine, redis)
    stop.set()
    await running
    assert await Relay(engine.database, redis, "relay 2")._keep()


async def until_all_sent(house: House, redis: Redis) -> None:
    async with asyncio.timeout(20):
        while len(await stream(redis)) < await events_told(house):  # noqa: ASYNC110 - Redis tells no event
            await asyncio.sleep(0.02)


async def events_told(house: House) -> int:
    async with house.database.read() as connection:
        return len((await connection.execute(select(outbox_table.c.id))).all())


async def test_a_stream_that_was_emptied_is_filled_again(engine: House, redis: Redis) -> None:
    await happen(engine, 1)
    relay = await relayed(engine, redis)
    before = await stream(redis)
    await redis.flushall()
    # Right away, and not only when the relay happens to look: what happens now must not hide the gap.
    await happen(engine, 2, times=1)
    while await relay.publish():
        pass
    after = await stream(redis)
    assert after[: len(before)] == before
    assert len(after) == await events_told(engine)


async def test_what_is_filled_in_again_is_of_the_last_day(engine: House, redis: Redis) -> None:
    await happen(engine, 1)
    await relayed(engine, redis)
    before = await stream(redis)
    async with engine.database.write() as connection:
        old = update(outbox_table).where(outbox_table.c.position <= 3)
        await connection.execute(old.values(at=now(-25 * 3600)))
    await redis.flushall()
    await relayed(engine, redis)
    assert await stream(redis) == before[3:]


async def test_events_of_a_database_older_than_the_stream_are_sent_after_it(
    engine: House, redis: Redis
) -> None:
    """A database that was restored, or made anew, meets the stream of the one before."""
    await redis.xadd(STREAM, {"event": b"{}"}, id="500-0")
    await happen(engine, 1, times=1)
    await relayed(engine, redis)
    sent = await stream(redis)
    assert len(sent) == 1 + await events_told(engine)
    assert [one.position for one in sent] == list(range(500, 500 + len(sent)))


async def test_a_relay_outlives_redis(engine: House, redis: Redis, valkey: Valkey) -> None:
    stop = asyncio.Event()
    await valkey.kill()
    running = asyncio.create_task(Relay(engine.database, redis, "relay 1").run(stop))
    await happen(engine, 1, times=1)
    await valkey.start()
    await until_all_sent(engine, redis)
    stop.set()
    await running


async def test_a_relay_looks_less_often_once_all_is_quiet(engine: House, redis: Redis) -> None:
    relay = Relay(engine.database, redis, "relay 1")
    assert relay._wait(0, rung=0) == QUIET_SECONDS
    assert relay._wait(3, rung=0) == IDLE_SECONDS
    assert relay._wait(0, rung=0) == IDLE_SECONDS


async def test_what_was_numbered_but_not_sent_is_sent_though_nothing_is_new(
    engine: House, redis: Redis
) -> None:
    relay = await relayed(engine, redis)
    await happen(engine, 1, times=1)
    await redis.config_set("maxmemory", "1")
    with pytest.raises(ResponseError):
        await relay.publish()
    await redis.config_set("maxmemory", "0")
    assert await relay.publish()
    sent = [one.position for one in await stream(redis)]
    assert sent == list(range(1, len(sent) + 1))
    assert len(sent) >= 3
