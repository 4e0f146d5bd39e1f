"""Following a sync at the command line: what is told of it, and how much there is to read."""

from datetime import timedelta
from typing import NoReturn

import pytest
from msgspec.structs import replace

from adapters.base import Partition
from store import parts
from store.parts import Planned
from store.syncs import Sync
from tests.engine import claim, connect
from tests.house import House
from tidegate.foreground import follow
from worker.budget import Clock


class Enough(Exception):
    """What was told, and nobody wants to hear more."""


def once(sync: Sync, expected: int | None) -> NoReturn:
    raise Enough(expected)


async def expected_of(house: House, *counts: tuple[dict[str, int] | None, dict[str, int], bool]) -> object:
    """What is told of a sync whose parts have these: expected, stored, and whether they are done."""
    connection = await connect(house)
    opened = await house.open(connection.id)
    sync = await claim(house, opened.id)
    assert sync is not None
    async with house.database.write() as database:
        planned = [Planned("things", Partition(str(i))) for i in range(len(counts))]
        await parts.plan(database, sync, planned)
        by_name = {part.partition: part for part in await parts.listed(database, sync.id)}
        for i, (expected, stored, done) in enumerate(counts):
            news = replace(by_name[str(i)], expected=expected, stored=stored, done=done)
            await parts.advance(database, sync.id, news)
    time = Clock(await house.database.time())
    with pytest.raises(Enough) as told:
        await follow(house.database, sync.id, time, timedelta(minutes=1), once)
    return told.value.args[0]


async def test_what_all_parts_expect_is_what_there_is_to_read(engine: House) -> None:
    assert (
        await expected_of(engine, ({"things": 50, "others": 7}, {}, False), ({"things": 3}, {}, False)) == 60
    )


async def test_a_part_that_is_done_has_what_it_brought(engine: House) -> None:
    assert await expected_of(engine, ({"things": 50}, {}, False), (None, {"things": 4}, True)) == 54


async def test_nothing_is_told_while_one_part_does_not_know(engine: House) -> None:
    assert await expected_of(engine, ({"things": 50}, {}, False), (None, {"things": 4}, False)) is None
