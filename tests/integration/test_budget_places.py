"""A place at a host: kept for as long as its request takes, lost soon after its holder."""

import pytest
from arq.connections import ArqRedis

from adapters.base import RateLimited
from tests.house import House
from worker.budget import Clock, RedisBudget

HOST = "https://jira.example.com"


async def test_the_place_of_a_slow_request_is_kept(engine: House, redis: ArqRedis) -> None:
    clock = Clock(await engine.database.time())
    # The line is several times as long as a place lasts by itself.
    short = RedisBudget(redis, engine.database, clock, place_seconds=0.3, line_seconds=1.5)
    async with short.slot(HOST, 1):
        with pytest.raises(RateLimited, match="busy"):
            async with short.slot(HOST, 1):
                pass
