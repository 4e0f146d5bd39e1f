"""The doorbell: what a ring leaves in Redis, and what ringing twice comes to."""

import msgspec
from arq.connections import ArqRedis

from store.syncs import Ring
from tests.valkey import Valkey
from worker.queue import QUEUES, Queue


async def jobs(redis: ArqRedis, queue: str) -> list[str]:
    return sorted(member.decode() for member in await redis.zrange(queue, 0, -1))


async def test_ringing_twice_is_one_job_and_another_claim_is_another(redis: ArqRedis) -> None:
    queue = Queue(redis)
    for fence in (3, 3, 4):
        await queue.ring([Ring(7, fence, "bulk")])
    assert await jobs(redis, QUEUES["bulk"]) == ["7:3", "7:4"]


async def test_each_lane_has_a_queue_of_its_own(redis: ArqRedis) -> None:
    await Queue(redis).ring([Ring(1, 0, "bulk"), Ring(2, 0, "records")])
    await Queue(redis).ring_check(9)
    assert await jobs(redis, QUEUES["bulk"]) == ["1:0"]
    assert await jobs(redis, QUEUES["records"]) == ["2:0", "check:9"]


async def test_a_job_holds_nothing_but_ids_as_msgpack(redis: ArqRedis) -> None:
    await Queue(redis).ring([Ring(7, 3, "bulk")])
    await Queue(redis).ring_check(9)
    for key, function, about in (("7:3", "run_sync", 7), ("check:9", "run_check", 9)):
        raw = await redis.get(f"arq:job:{key}")
        assert isinstance(raw, bytes)
        # A pickle begins with the byte 0x80 and its protocol, and msgpack would not decode to this.
        told = msgspec.msgpack.decode(raw)
        assert (told["f"], told["a"], told["k"]) == (function, [about], {})
        assert set(told) == {"t", "f", "a", "k", "et"}


async def test_jobs_stand_in_the_line_as_they_were_rung_and_are_due_for_a_clock_that_is_hours_behind(
    redis: ArqRedis,
) -> None:
    """arq asks for what is due by the clock of the worker's own machine."""
    await Queue(redis).ring([Ring(12, 0, "bulk"), Ring(9, 0, "bulk"), Ring(10, 0, "bulk")])
    await Queue(redis).ring([Ring(3, 0, "bulk")])
    seconds, _ = await redis.time()
    hours_ago = (seconds - 12 * 3600) * 1000
    due = await redis.zrangebyscore(QUEUES["bulk"], "-inf", hours_ago)
    assert due == [b"12:0", b"9:0", b"10:0", b"3:0"]


async def test_a_ring_that_does_not_arrive_fails_nobody(redis: ArqRedis, valkey: Valkey) -> None:
    queue = Queue(redis)
    await valkey.kill()
    await queue.ring([Ring(7, 3, "bulk")])
    await queue.ring_check(9)
    await valkey.start()
    await queue.ring([Ring(7, 3, "bulk")])
    assert await jobs(redis, QUEUES["bulk"]) == ["7:3"]
