"""Who listens for newer events costs one look at the database together, and is woken by what is newer."""

import asyncio

import pytest

from api.pulse import Pulse


class Positions:
    """A database's newest position, and how often somebody looked."""

    def __init__(self) -> None:
        self.newest = 0
        self.looks = 0

    async def look(self) -> int:
        self.looks += 1
        return self.newest


async def test_many_who_listen_cost_one_look() -> None:
    pulse, positions, stopping = Pulse(), Positions(), asyncio.Event()
    waiting = [asyncio.create_task(pulse.beyond(0, positions.look, 0.01, stopping, 5.0)) for _ in range(50)]
    await asyncio.sleep(0.1)
    assert positions.looks < 20
    positions.newest = 7
    assert await asyncio.gather(*waiting) == [7] * 50


async def test_one_who_comes_late_is_told_of_what_the_others_know() -> None:
    pulse, positions, stopping = Pulse(), Positions(), asyncio.Event()
    positions.newest = 7
    ahead = asyncio.create_task(pulse.beyond(7, positions.look, 0.01, stopping, 5.0))
    await asyncio.sleep(0.05)
    assert await pulse.beyond(3, positions.look, 0.01, stopping, 5.0) == 7
    ahead.cancel()


async def test_nothing_new_ends_the_wait_in_time_and_the_looking_with_it() -> None:
    pulse, positions, stopping = Pulse(), Positions(), asyncio.Event()
    assert await pulse.beyond(5, positions.look, 0.01, stopping, 0.05) == 5
    await asyncio.sleep(0.05)
    looked = positions.looks
    await asyncio.sleep(0.1)
    assert positions.looks == looked


async def test_the_end_of_the_process_ends_the_wait() -> None:
    pulse, positions, stopping = Pulse(), Positions(), asyncio.Event()
    waiting = asyncio.create_task(pulse.beyond(5, positions.look, 0.01, stopping, 60.0))
    await asyncio.sleep(0.03)
    stopping.set()
    async with asyncio.timeout(2):
        assert await waiting == 5


async def test_a_database_that_is_away_is_told_to_all_who_wait() -> None:
    async def away() -> int:
        raise OSError("the database is away")

    pulse, stopping = Pulse(), asyncio.Event()
    waiting = [asyncio.create_task(pulse.beyond(0, away, 0.01, stopping, 5.0)) for _ in range(3)]
    for one in waiting:
        with pytest.raises(OSError, match="away"):
            await one
