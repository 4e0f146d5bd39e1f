"""The doorbell under a crowd: a line full of dead jobs, commands that are broken off."""

import asyncio
from random import Random

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix

from store.syncs import Ring
from tests.adapter_double import Script, thing
from tests.engine import connect
from tests.house import House
from tests.integration.test_worker import ended, rung, working
from worker.queue import QUEUES, Queue

DEAD = 200


async def test_jobs_of_dead_workers_at_the_head_of_the_line_keep_nobody_waiting(
    engine: House, script: Script, redis: ArqRedis
) -> None:
    script.add("all", [thing("1")])
    await Queue(redis).ring([Ring(number, 1, "bulk") for number in range(10_000, 10_000 + DEAD)])
    async with redis.pipeline(transaction=False) as keys:
        for number in range(10_000, 10_000 + DEAD):
            # Somebody took each and died; nobody is told for far longer than this test takes.
            keys.set(f"{in_progress_key_prefix}{number}:1", b"1", px=600_000)
        await keys.execute()
    sync_id = await rung(engine, redis, (await connect(engine)).id)
    async with working(engine, redis):
        sync = await ended(engine, sync_id)
    assert sync.state == "succeeded"
    assert sync.started_at is not None
    assert (sync.started_at - sync.queued_at).total_seconds() <= 2
    assert await redis.zcard(QUEUES["bulk"]) >= DEAD


async def test_a_command_that_is_broken_off_gives_nobody_anothers_answer(redis: ArqRedis) -> None:
    random = Random(7)
    answered = 0

    async def ask(number: int) -> None:
        nonlocal answered
        asked = asyncio.ensure_future(redis.echo(f"{number}"))
        await asyncio.sleep(random.uniform(0, 0.002))
        if random.random() < 0.5:
            asked.cancel()
        try:
            assert await asked == f"{number}".encode()
            answered += 1
        except asyncio.CancelledError:
            assert asked.cancelled()

    async def many(first: int) -> None:
        for number in range(first, first + 20):
            await ask(number)

    await asyncio.gather(*(many(task * 100) for task in range(50)))
    assert 0 < answered < 1000
    assert await redis.echo("last") == b"last"
