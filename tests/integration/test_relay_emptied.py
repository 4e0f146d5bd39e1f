"""Redis emptied while an event is on its way: the stream must not begin in the middle for good."""

from redis.asyncio import Redis

from events.envelope import STREAM
from events.relay import Relay
from tests.engine import connect
from tests.house import House


async def test_an_event_that_arrives_after_redis_was_emptied_hides_nothing_before_it(
    engine: House, redis: Redis
) -> None:
    relay = Relay(engine.database, redis, "relay 1")
    await engine.sync((await connect(engine, 1)).id)
    assert await relay._keep()
    while await relay.publish():
        pass
    before = await redis.xrange(STREAM)
    await redis.flushall()
    # What the relay had read before, and sends now.
    position, fields = before[-1]
    await redis.xadd(STREAM, {"event": fields[b"event"]}, id=position.decode())
    await engine.sync((await connect(engine, 2)).id)
    while await relay.publish():
        pass
    after = await redis.xrange(STREAM)
    assert after[: len(before)] == before
    assert len(after) > len(before)
