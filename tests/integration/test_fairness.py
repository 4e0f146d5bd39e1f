"""Turns of partitions, slices and lanes: nobody starves, nothing is read twice, the next is rung."""

import asyncio
from typing import Any

from msgspec.structs import replace

from scheduler.dispatch import Request
from store.database import now
from tests.adapter_double import SYSTEM, Script, Step, thing
from tests.engine import claim, connect, connection_row, set_connection, set_sync, sync_row
from tests.house import House
from worker.sync import run_slice


def pages(name: str, count: int) -> list[list[Any]]:
    return [[thing(f"{name}{number}")] for number in range(count)]


async def test_a_huge_partition_does_not_starve_small_ones(engine: House, script: Script) -> None:
    script.pages["all"] = [Step([thing(f"a{n}")], seconds=0.01) for n in range(60)]
    for number in range(3):
        script.add(f"small {number}", *pages(f"s{number}-", 1))
    engine.deps = replace(engine.deps, turn_seconds=0.03)
    sync = await engine.sync((await connect(engine)).id)
    assert sync.state == "succeeded"
    order = [partition for partition, _ in script.asked]
    assert all(order.index(f"small {number}") < 30 for number in range(3))


async def test_the_turns_are_fair_from_slice_to_slice(engine: House, script: Script) -> None:
    """Each slice gets one page further: none may go to a partition that had more turns than another."""
    script.add("all", *pages("a", 6))
    script.add("small", *pages("b", 2))
    engine.deps = replace(engine.deps, slice_seconds=0.0)
    opened = await engine.open((await connect(engine)).id)
    sync = await engine.until_ended(opened.id)
    assert sync.state == "succeeded"
    read = [asked for i, asked in enumerate(script.asked) if asked not in script.asked[:i]]
    assert {partition for partition, _ in read[:4]} == {"all", "small"}
    assert sync.fence >= 8


async def test_a_sync_that_stops_hands_over_at_a_page_and_is_taken_up_there(
    engine: House, script: Script
) -> None:
    script.add("all", *pages("a", 4))
    stopping = asyncio.Event()
    engine.deps = replace(engine.deps, stopping=stopping.is_set)
    script.before_page = lambda _, number: stopping.set() if number == 2 else None
    opened = await engine.open((await connect(engine)).id)
    await run_slice(engine.deps, opened.id)
    row = await sync_row(engine, opened.id)
    assert (row["state"], row["lease_owner"]) == ("running", None)
    assert 1 <= row["pages"] <= 3
    stopping.clear()
    script.before_page = lambda _, __: None
    assert (await engine.work(opened.id)).state == "succeeded"
    assert len(await engine.keys(SYSTEM, "things")) == 4


# --- the lanes


async def test_the_end_of_a_sync_rings_the_queued_one_of_its_lane(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 1))
    made = await connect(engine)
    first = await engine.open(made.id)
    assert await claim(engine, first.id) is not None
    second = await engine.open(made.id)
    await set_sync(engine, first.id, lease_until=now(-1), claim_pages=1)
    rings = await run_slice(engine.deps, first.id)
    assert [ring.sync_id for ring in rings] == [second.id]


async def test_a_good_reading_of_named_records_ends_a_failure_and_catches_up(
    engine: House, script: Script
) -> None:
    made = await connect(engine, frequency="hourly")
    script.by_key["1"] = thing("1")
    await set_connection(engine, made.id, failure={"kind": "auth", "message": "no", "hint": ""})
    await engine.sync(made.id, Request("api", "records", {"things": ["1"]}))
    row = await connection_row(engine, made.id)
    assert row["failure"] is None
    assert row["catch_up"]
    assert row["next_due_at"] <= await engine.database.time()
