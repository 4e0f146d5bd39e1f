"""The sync job over a scripted remote: what it reads, how it goes on, what it comes to."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from adapters.base import AuthFailed, Forbidden, RateLimited, Rejected, Unavailable
from scheduler.dispatch import Request
from store.database import now
from store.health import UNREACHABLE_AFTER
from store.schema import cursors
from store.syncs import Counts, Receipt
from tests.adapter_double import SYSTEM, Script, Step, thing
from tests.engine import claimable, connect, connection_row, set_sync, sync_row
from tests.house import House
from worker.outcome import STRAGGLER_AT_MOST, WAIT_AT_MOST


def pages(name: str, count: int) -> list[list[Any]]:
    return [[thing(f"{name}{number}")] for number in range(count)]


async def stored_cursors(house: House) -> dict[str, str]:
    async with house.database.read() as connection:
        rows = await connection.execute(select(cursors.c.partition, cursors.c.cursor))
        return {partition: cursor for partition, cursor in rows if cursor is not None}


async def healths(house: House, connection_id: int) -> list[str]:
    events = await house.events(connection_id)
    return [data["health"] for _, kind, data in events if kind == "connection_status"]


# --- what is read


async def test_a_first_sync_reads_all_partitions_to_their_end(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 3))
    script.add("other", *pages("b", 2))
    sync = await engine.sync((await connect(engine)).id)
    assert (sync.state, sync.pages) == ("succeeded", 5)
    assert await engine.keys(SYSTEM, "things") == {"a0", "a1", "a2", "b0", "b1"}
    assert await stored_cursors(engine) == {"all": "3", "other": "2"}


async def test_an_incremental_sync_goes_on_from_the_stored_cursors(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 3))
    made = await connect(engine)
    await engine.sync(made.id)
    script.asked.clear()
    script.add("all", [thing("new")])
    script.add("late", [thing("late")])
    sync = await engine.sync(made.id)
    assert set(script.asked) == {("all", 3), ("late", 0)}
    assert sync.counters["things"].new == 2


async def test_a_sync_with_nothing_new_writes_nothing_and_uses_no_number(
    engine: House, script: Script
) -> None:
    script.add("all", *pages("a", 2))
    made = await connect(engine)
    await engine.sync(made.id)
    before = await connection_row(engine, made.id)
    sync = await engine.sync(made.id)
    after = await connection_row(engine, made.id)
    assert (sync.state, sync.pages) == ("succeeded", 0)
    # What was read and found unchanged is told, too: zeros, not silence.
    assert sync.receipt
    assert sync.counters == dict.fromkeys(sync.receipt, Counts())
    assert after["change_sequence"] == before["change_sequence"]


async def test_a_full_sync_reads_all_again_and_keeps_the_cursors_until_it_ends(
    engine: House, script: Script
) -> None:
    script.add("all", *pages("a", 3))
    made = await connect(engine)
    await engine.sync(made.id)
    script.add("all", [thing("new")])
    seen: list[dict[str, str]] = []
    script.asked.clear()
    script.fail("all", 3, Unavailable("down"))
    opened = await engine.open(made.id, Request("api", "full"))
    waiting = await engine.work(opened.id)
    seen.append(await stored_cursors(engine))
    assert waiting.state == "waiting"
    assert seen == [{"all": "3"}]
    assert script.asked[:4] == [("all", n) for n in range(4)]
    ended = await engine.until_ended(opened.id)
    assert ended.state == "succeeded"
    assert await stored_cursors(engine) == {"all": "4"}


async def test_only_the_streams_that_are_selected_are_read_and_stored(engine: House, script: Script) -> None:
    script.partitions["extras"] = ["more"]
    script.pages["more"] = [Step([thing("e", stream="extras")])]
    script.add("all", [thing("1"), thing("n", parent="1", stream="notes")])
    sync = await engine.sync((await connect(engine, streams=["notes"])).id)
    assert sync.receipt == {"notes": Receipt(None, 1, True)}
    assert set(sync.counters) == {"notes"}
    assert await engine.keys(SYSTEM, "notes") == {"n"}
    assert await engine.keys(SYSTEM, "things") == set()
    assert ("more", 0) not in script.asked


async def test_named_records_are_fetched_in_batches_and_no_cursor_moves(
    engine: House, script: Script
) -> None:
    keys = [str(number) for number in range(7)]
    script.by_key = {key: thing(key) for key in keys}
    made = await connect(engine)
    sync = await engine.sync(made.id, Request("api", "records", {"things": keys}))
    assert sync.state == "succeeded"
    assert sync.receipt == {"things": Receipt(7, 7, True)}
    assert [len(batch) for batch in script.fetched] == [3, 3, 1]
    assert await stored_cursors(engine) == {}
    assert (await engine.get(made.id)).last_sync_at is None


async def test_an_incremental_sync_takes_all_unfinished_records_with_it(
    engine: House, script: Script
) -> None:
    script.add("all", [thing("1", final=False), thing("2")])
    made = await connect(engine)
    await engine.sync(made.id)
    script.by_key["1"] = thing("1", name="done")
    sync = await engine.sync(made.id)
    assert script.fetched == [["1"]]
    assert sync.counters["things"].changed == 1
    assert (await connection_row(engine, made.id))["next_look_at"] is None


# --- what goes wrong in a part


async def test_one_partition_that_fails_makes_partial_and_the_others_are_read(
    engine: House, script: Script
) -> None:
    script.add("all", *pages("a", 2))
    script.add("locked")
    script.broken["locked"] = Forbidden("The door is locked.")
    made = await connect(engine)
    sync = await engine.sync(made.id)
    assert sync.state == "partial"
    assert sync.error is not None
    assert (sync.error.kind, "locked" in sync.error.message) == ("forbidden", True)
    assert sync.receipt is not None
    assert not sync.receipt["things"].complete
    assert await engine.keys(SYSTEM, "things") == {"a0", "a1"}
    found = await engine.get(made.id)
    assert (found.health, found.cause, found.paused) == ("partial", "forbidden", False)
    assert found.last_success_at is None


async def test_a_part_that_can_be_read_again_makes_the_connection_healthy(
    engine: House, script: Script
) -> None:
    script.add("locked")
    script.broken["locked"] = Forbidden("The door is locked.")
    made = await connect(engine)
    await engine.sync(made.id)
    del script.broken["locked"]
    assert (await engine.sync(made.id)).state == "succeeded"
    assert await healths(engine, made.id) == ["processing", "partial", "processing", "healthy"]


async def test_all_partitions_failing_fail_the_sync_and_the_connection(engine: House, script: Script) -> None:
    script.add("locked")
    for name in ("all", "locked"):
        script.broken[name] = Forbidden("The door is locked.")
    made = await connect(engine)
    sync = await engine.sync(made.id)
    assert sync.state == "failed"
    assert (await engine.get(made.id)).paused


async def test_a_feed_that_cannot_be_planned_is_a_part_that_fails(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 1))
    script.refused_plans["extras"] = Forbidden("No extras.")
    sync = await engine.sync((await connect(engine)).id)
    assert sync.state == "partial"
    assert sync.error is not None
    assert "extras" in sync.error.message


async def test_a_refused_credential_ends_the_sync_at_the_first_answer(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 1))
    script.add("other", *pages("b", 1))
    script.fail("all", 0, AuthFailed("Who are you?"))
    made = await connect(engine)
    sync = await engine.sync(made.id)
    assert (sync.state, len(script.asked)) == ("failed", 1)
    assert await healths(engine, made.id) == ["processing", "failed"]


async def test_a_rejected_record_makes_partial_with_its_number(engine: House, script: Script) -> None:
    script.pages["all"] = [Step([thing("1")], [Rejected("things", "2", "no number", b"{")])]
    sync = await engine.sync((await connect(engine)).id)
    assert sync.state == "partial"
    assert sync.counters["things"].rejected == 1


async def test_a_remote_that_stops_before_its_end_mark_is_no_success(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 2))
    script.endless.add("all")
    sync = await engine.sync((await connect(engine)).id)
    assert sync.state == "partial"
    assert sync.receipt is not None
    assert not sync.receipt["things"].complete


async def test_fewer_records_than_the_remote_counted_is_no_success(engine: House, script: Script) -> None:
    script.pages["all"] = [Step([thing("1")], expected={"things": 2})]
    sync = await engine.sync((await connect(engine)).id)
    assert sync.state == "partial"
    assert sync.receipt is not None
    assert sync.receipt["things"] == Receipt(2, 1, False)


# --- not now


async def test_a_partition_that_is_away_lets_the_others_go_first(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 2))
    script.add("other", *pages("b", 2))
    script.fail("all", 1, Unavailable("down"))
    sync = await engine.sync((await connect(engine)).id)
    assert script.asked[-1] == ("all", 1)
    assert ("other", 1) in script.asked
    assert sync.state == "succeeded"


async def test_an_outage_makes_the_sync_wait_and_burns_nothing(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 2))
    script.fail("all", 1, *[Unavailable("down")] * 3)
    made = await connect(engine)
    opened = await engine.open(made.id)
    sync = await engine.work(opened.id)
    assert (sync.state, sync.resume_at, sync.tries) == ("waiting", sync.run_at, 1)
    row = await sync_row(engine, opened.id)
    assert (row["lease_owner"], row["lease_until"]) == (None, None)
    assert (await engine.until_ended(opened.id)).state == "succeeded"
    assert (await connection_row(engine, made.id))["crashes"] == 0
    assert len([asked for asked in script.asked if asked == ("all", 0)]) == 1


async def wait_once(house: House, sync_id: int) -> None:
    """Let a sync's wait be over, and work until the next."""
    await set_sync(house, sync_id, run_at=now(-1))
    await house.work(sync_id)


async def test_a_remote_is_unreachable_after_five_failed_slices_and_that_is_told_once(
    engine: House, script: Script
) -> None:
    script.add("all", *pages("a", 1))
    script.fail("all", 0, *[Unavailable("down")] * (UNREACHABLE_AFTER + 2))
    made = await connect(engine)
    opened = await engine.open(made.id)
    for number in range(UNREACHABLE_AFTER + 2):
        await wait_once(engine, opened.id)
        assert ((await engine.get(made.id)).cause == "unreachable") is (number + 1 >= UNREACHABLE_AFTER)
    assert not (await engine.get(made.id)).paused
    await wait_once(engine, opened.id)
    assert await healths(engine, made.id) == ["processing", "failed", "processing", "healthy"]


@pytest.mark.parametrize(("seconds", "health"), [(20, "processing"), (3600, "rate_limited")])
async def test_only_a_long_limit_makes_a_connection_rate_limited(
    engine: House, script: Script, seconds: int, health: str
) -> None:
    script.add("all", *pages("a", 1))
    until = await engine.database.time() + timedelta(seconds=seconds)
    script.fail("all", 0, RateLimited("slow down", until))
    made = await connect(engine)
    opened = await engine.open(made.id)
    sync = await engine.work(opened.id)
    assert sync.resume_at is not None
    assert abs(sync.resume_at - until) < timedelta(seconds=2)
    assert (await engine.get(made.id)).health == health
    assert await claimable(engine) == set()
    await wait_once(engine, opened.id)
    assert (await engine.get(made.id)).health == "healthy"


async def test_a_sync_that_waited_a_day_without_a_page_fails(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 1))
    script.fail("all", 0, *[Unavailable("down")] * 2)
    made = await connect(engine)
    opened = await engine.open(made.id)
    await engine.work(opened.id)
    await set_sync(engine, opened.id, waiting_since=now(-WAIT_AT_MOST.total_seconds()))
    await wait_once(engine, opened.id)
    sync = await engine.status(opened.id)
    assert sync.state == "failed"
    assert ((await engine.get(made.id)).health, (await engine.get(made.id)).cause) == (
        "failed",
        "unreachable",
    )


async def test_pages_in_between_begin_the_day_of_waiting_anew(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 2))
    script.fail("all", 0, Unavailable("down"))
    script.fail("all", 1, Unavailable("down"))
    opened = await engine.open((await connect(engine)).id)
    await engine.work(opened.id)
    await set_sync(engine, opened.id, waiting_since=now(-WAIT_AT_MOST.total_seconds() + 60), tries=9)
    await wait_once(engine, opened.id)
    sync = await engine.status(opened.id)
    assert (sync.state, sync.pages, sync.tries) == ("waiting", 1, 1)
    assert sync.waiting_since is not None
    assert await engine.database.time() - sync.waiting_since < timedelta(minutes=1)


async def test_one_straggler_is_not_waited_for_all_day(engine: House, script: Script) -> None:
    script.add("all", *pages("a", 1))
    script.add("slow", *pages("b", 1))
    script.fail("slow", 0, *[Unavailable("down")] * 5)
    opened = await engine.open((await connect(engine)).id)
    assert (await engine.work(opened.id)).state == "waiting"
    await set_sync(engine, opened.id, waiting_since=now(-STRAGGLER_AT_MOST.total_seconds()))
    await wait_once(engine, opened.id)
    sync = await engine.status(opened.id)
    assert sync.state == "partial"
    assert sync.error is not None
    assert sync.error.kind == "unreachable"
