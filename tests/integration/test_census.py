"""What is gone: a census misses it, the remote says so by its key, and then there is a tombstone."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select, text

from adapters.base import Family, Gone, Missing, Rejected, Unavailable, Unreadable
from scheduler.dispatch import Request
from scheduler.due import open_due
from store.connections import Connection
from store.database import Database, clock, now
from store.purge import purge_some
from store.schema import census_seen
from store.syncs import Counts, Receipt, Sync
from store.tombstones import When, bury
from tests.adapter_double import SYSTEM, Double, Script, Step, thing
from tests.engine import connect, connection_row, set_connection
from tests.house import House, open_house
from worker.census import FEW
from worker.sync import run_slice

CENSUS = Request("api", "census")


@pytest.fixture
async def copied(engine: House, script: Script) -> Connection:
    """Five things, as the remote has them, read once."""
    script.add("all", [thing(f"t{n}") for n in range(5)])
    script.by_key = {f"t{n}": thing(f"t{n}") for n in range(5)}
    there(script, *(f"t{n}" for n in range(5)))
    made = await connect(engine)
    assert (await engine.sync(made.id)).state == "succeeded"
    return made


def there(script: Script, *keys: str) -> None:
    """What the remote lists from now on."""
    script.there["things", "all"] = list(keys)


def remove(script: Script, key: str, reason: Gone = "deleted") -> None:
    """The remote neither lists nor gives the thing any more."""
    script.there["things", "all"].remove(key)
    script.by_key[key] = Missing(key, reason)


async def tombstones(house: House, stream: str = "things") -> dict[str, str]:
    c = house.deps.tables.get(SYSTEM, stream).table.c
    async with house.database.read() as connection:
        rows = await connection.execute(select(c.key, c.gone_reason).where(c.gone_at.is_not(None)))
        return {row.key: row.gone_reason for row in rows}


async def shown(house: House) -> set[str]:
    """What the view for users shows."""
    async with house.database.read() as connection:
        return set((await connection.execute(text(f"SELECT key FROM {SYSTEM}_things"))).scalars())


def deleted(sync: Sync) -> int:
    return sync.counters.get("things", Counts()).deleted


# --- proof


@pytest.mark.parametrize("reason", ["deleted", "left", "hidden"])
async def test_what_a_census_misses_and_the_remote_denies_gets_a_tombstone_with_the_reason(
    engine: House, script: Script, copied: Connection, reason: Gone
) -> None:
    remove(script, "t2", reason)
    before = (await connection_row(engine, copied.id))["change_sequence"]
    sync = await engine.sync(copied.id, CENSUS)
    assert (sync.state, deleted(sync)) == ("succeeded", 1)
    assert await tombstones(engine) == {"t2": reason}
    assert await shown(engine) == {"t0", "t1", "t3", "t4"}
    assert (await connection_row(engine, copied.id))["change_sequence"] == before + 1


async def test_what_a_census_misses_but_is_there_by_key_stays(
    engine: House, script: Script, copied: Connection
) -> None:
    script.there["things", "all"].remove("t2")
    sync = await engine.sync(copied.id, CENSUS)
    assert sync.state == "succeeded"
    assert script.fetched == [["t2"]]
    assert await tombstones(engine) == {}


async def test_what_a_census_lists_is_not_asked_for_by_key(
    engine: House, script: Script, copied: Connection
) -> None:
    sync = await engine.sync(copied.id, CENSUS)
    assert sync.state == "succeeded"
    assert script.fetched == []
    assert sync.receipt is not None
    assert sync.receipt["things"] == Receipt(5, 5, complete=True)


async def test_a_census_reads_what_is_there_and_was_never_stored(
    engine: House, script: Script, copied: Connection
) -> None:
    script.by_key["t9"] = thing("t9")
    script.there["things", "all"].append("t9")
    sync = await engine.sync(copied.id, CENSUS)
    assert (sync.state, sync.counters["things"].new) == ("succeeded", 1)
    assert "t9" in await shown(engine)


async def test_a_record_that_comes_back_unchanged_is_found_by_the_next_census(
    engine: House, script: Script, copied: Connection
) -> None:
    remove(script, "t2", "left")
    await engine.sync(copied.id, CENSUS)
    script.by_key["t2"] = thing("t2")
    script.there["things", "all"].append("t2")
    sync = await engine.sync(copied.id, CENSUS)
    assert sync.state == "succeeded"
    assert await tombstones(engine) == {}
    assert "t2" in await shown(engine)


async def test_a_record_observed_after_the_census_began_is_not_in_doubt(
    engine: House, script: Script, copied: Connection
) -> None:
    script.there["things", "all"].remove("t2")
    script.by_key["t2"] = Missing("t2", "deleted")
    opened = await engine.open(copied.id, CENSUS)
    async with engine.database.write() as connection:
        table = engine.deps.tables.get(SYSTEM, "things").table
        await connection.execute(
            table.update().where(table.c.key == "t2").values(observed_at=now(60), version="9")
        )
    await engine.work(opened.id)
    assert script.fetched == []
    assert await tombstones(engine) == {}


async def test_what_was_discarded_by_the_remotes_housekeeping_is_marked_and_kept(
    engine: House, script: Script, copied: Connection
) -> None:
    remove(script, "t2", "rotated")
    sync = await engine.sync(copied.id, CENSUS)
    assert deleted(sync) == 1
    assert await tombstones(engine) == {"t2": "rotated"}
    assert "t2" in await shown(engine)


async def test_a_tombstone_is_told_once(engine: House, script: Script, copied: Connection) -> None:
    remove(script, "t2")
    await engine.sync(copied.id, CENSUS)
    before = (await connection_row(engine, copied.id))["change_sequence"]
    sync = await engine.sync(copied.id, CENSUS)
    assert deleted(sync) == 0
    assert (await connection_row(engine, copied.id))["change_sequence"] == before


# --- no proof, no tombstone


async def test_nothing_is_gone_when_a_page_of_the_census_failed(
    engine: House, script: Script, copied: Connection
) -> None:
    script.add("other", [thing("o1")])
    script.there["things", "other"] = ["o1"]
    await engine.sync(copied.id)
    remove(script, "t2")
    script.fail("census: things/other", 0, Unreadable("A login page."))
    sync = await engine.sync(copied.id, CENSUS)
    assert sync.state == "partial"
    assert sync.error is not None
    assert "A login page." in sync.error.message
    assert await tombstones(engine) == {}


async def test_a_census_that_has_to_wait_goes_on_where_it_was(
    engine: House, script: Script, copied: Connection
) -> None:
    remove(script, "t0")
    script.fail("census: things/all", 2, Unavailable("Not now."))
    sync = await engine.until_ended((await engine.open(copied.id, CENSUS)).id)
    assert sync.state == "succeeded"
    assert [number for part, number in script.asked if part == "census: things/all"] == [0, 2, 2]
    assert await tombstones(engine) == {"t0": "deleted"}


async def test_a_census_goes_on_in_the_next_slice(engine: House, script: Script, copied: Connection) -> None:
    remove(script, "t4")
    engine.deps = replace(engine.deps, slice_seconds=0.0)
    opened = await engine.open(copied.id, CENSUS)
    slices = 0
    while (await engine.status(opened.id)).finished_at is None:
        await run_slice(engine.deps, opened.id)
        slices += 1
    assert slices > 3
    assert await tombstones(engine) == {"t4": "deleted"}


@pytest.mark.parametrize(("count", "gone", "blocked"), [(5, 5, True), (5, 4, False), (30, 16, True)])
async def test_too_large_a_share_does_not_vanish_at_once(
    engine: House, script: Script, count: int, gone: int, blocked: bool
) -> None:
    script.add("all", [thing(f"t{n:02}") for n in range(count)])
    there(script, *(f"t{n:02}" for n in range(gone, count)))
    made = await connect(engine)
    await engine.sync(made.id)
    sync = await engine.sync(made.id, CENSUS)
    assert (len(await tombstones(engine)) == 0) == blocked
    assert (sync.state, sync.error.kind if sync.error else None) == (
        ("partial", "mass_loss") if blocked else ("succeeded", None)
    )


async def test_a_loss_that_was_accepted_is_marked(engine: House, script: Script) -> None:
    script.add("all", [thing(f"t{n}") for n in range(FEW + 3)])
    there(script)
    made = await connect(engine)
    await engine.sync(made.id)
    refused = await engine.sync(made.id, CENSUS)
    assert refused.error is not None
    assert "--accept-loss" in refused.error.hint
    sync = await engine.sync(made.id, Request("api", "census", accept_loss=True))
    assert (sync.state, len(await tombstones(engine))) == ("succeeded", FEW + 3)


# --- when


async def test_the_first_scheduled_sync_after_a_day_takes_a_census(
    engine: House, script: Script, copied: Connection
) -> None:
    first = (await connection_row(engine, copied.id))["census_at"]
    last = (await connection_row(engine, copied.id))["last_success_at"]
    assert first == last + timedelta(hours=24)
    remove(script, "t1")
    await set_connection(engine, copied.id, frequency="hourly", next_due_at=now(-1), census_at=now(-1))
    [ring] = await open_due(engine.database)
    sync = await engine.work(ring.sync_id)
    assert (sync.scope, sync.census, sync.state) == ("incremental", True, "succeeded")
    assert await tombstones(engine) == {"t1": "deleted"}
    assert (await connection_row(engine, copied.id))["census_at"] > first - timedelta(seconds=1)


async def test_before_its_time_no_census_is_taken(engine: House, script: Script, copied: Connection) -> None:
    remove(script, "t1")
    await set_connection(engine, copied.id, frequency="hourly", next_due_at=now(-1))
    [ring] = await open_due(engine.database)
    await engine.work(ring.sync_id)
    assert await tombstones(engine) == {}


@pytest.mark.parametrize(("every", "next_one"), [("7d", timedelta(days=7)), ("never", None)])
async def test_a_connection_says_how_often_it_is_counted(
    engine: House, script: Script, every: str, next_one: timedelta | None
) -> None:
    script.add("all", [thing("t")])
    made = await connect(engine, params={"census_every": every})
    await engine.sync(made.id)
    row = await connection_row(engine, made.id)
    assert row["census_at"] == (row["last_success_at"] + next_one if next_one else None)


async def test_a_complete_full_sync_is_a_census(engine: House, script: Script, copied: Connection) -> None:
    script.pages["all"] = []
    script.add("all", [thing(f"t{n}") for n in range(1, 5)])
    script.by_key["t0"] = Missing("t0", "deleted")
    sync = await engine.sync(copied.id, Request("api", "full"))
    assert (sync.state, deleted(sync)) == ("succeeded", 1)
    assert script.fetched == [["t0"]]
    assert await tombstones(engine) == {"t0": "deleted"}


async def test_a_full_sync_that_could_not_read_a_part_calls_nothing_gone(
    engine: House, script: Script, copied: Connection
) -> None:
    script.add("other", [thing("o")])
    script.pages["all"] = []
    script.add("all", [thing("t0")])
    script.broken["other"] = Unreadable("Torn.")
    sync = await engine.sync(copied.id, Request("api", "full"))
    assert sync.state == "partial"
    assert await tombstones(engine) == {}


async def test_a_rejected_record_of_a_full_sync_is_not_in_doubt(
    engine: House, script: Script, copied: Connection
) -> None:
    script.pages["all"] = []
    script.add("all", [thing(f"t{n}") for n in range(4)])
    read = script.pages["all"][0].records
    script.pages["all"] = [Step(read, [Rejected("things", "t4", "torn", b"{")])]
    await engine.sync(copied.id, Request("api", "full"))
    assert script.fetched == []


@pytest.mark.parametrize("slice_seconds", [10.0, 0.0])
async def test_another_question_than_before_brings_a_census_with_the_same_sync(
    engine: House, script: Script, copied: Connection, slice_seconds: float
) -> None:
    engine.deps = replace(engine.deps, slice_seconds=slice_seconds)
    remove(script, "t3", "left")
    script.pages["all"] += [Step([thing("t0")], renewed=True), Step([thing("t1")])]
    sync = await engine.sync(copied.id)
    assert (sync.scope, sync.state) == ("incremental", "succeeded")
    assert await tombstones(engine) == {"t3": "left"}


# --- what is embedded


def remark(key: str, parent: str) -> Any:
    return thing(key, stream="remarks", parent=parent)


async def family(engine: House, script: Script, *steps: Any) -> Connection:
    script.partitions["things"] = ["all"]
    script.pages["all"] = list(steps)
    return await connect(engine)


def step(records: Sequence[Any], **children: Sequence[str]) -> Any:
    """A page that holds these parents completely."""
    families = [Family("remarks", parent, list(keys)) for parent, keys in children.items()]
    return Step(records, families=families)


async def test_a_child_missing_from_its_completely_read_parent_is_gone_at_once(
    engine: House, script: Script
) -> None:
    first = step([thing("t1"), remark("r1", "t1"), remark("r2", "t1")], t1=["r1", "r2"])
    made = await family(engine, script, first)
    await engine.sync(made.id)
    script.pages["all"].append(step([thing("t1", size=2), remark("r1", "t1")], t1=["r1"]))
    sync = await engine.sync(made.id)
    assert sync.counters["remarks"].deleted == 1
    assert await tombstones(engine, "remarks") == {"r2": "deleted"}


async def test_an_older_observation_of_a_parent_tells_nothing_of_its_children(
    engine: House, script: Script
) -> None:
    newest = step([thing("t1", version="5"), remark("r1", "t1"), remark("r2", "t1")], t1=["r1", "r2"])
    made = await family(engine, script, newest)
    await engine.sync(made.id)
    lagging = step([thing("t1", version="4"), remark("r0", "t1")], t1=["r0"])
    script.pages["all"].append(lagging)
    await engine.sync(made.id)
    assert await tombstones(engine, "remarks") == {}
    assert await engine.keys(SYSTEM, "remarks") == {"r1", "r2"}


async def test_children_go_with_their_parent_and_come_back_with_it(engine: House, script: Script) -> None:
    made = await family(engine, script, step([thing("t1"), remark("r1", "t1")], t1=["r1"]))
    await engine.sync(made.id)
    script.by_key["t1"] = Missing("t1", "left")
    sync = await engine.sync(made.id, Request("webhook", "records", {"things": ["t1"]}))
    assert (deleted(sync), sync.counters["remarks"].deleted) == (1, 1)
    assert await tombstones(engine, "remarks") == {"r1": "left"}
    script.pages["all"].append(step([thing("t1"), remark("r1", "t1")], t1=["r1"]))
    await engine.sync(made.id)
    assert await tombstones(engine, "remarks") == {}


# --- named records


async def test_a_named_record_that_is_gone_gets_a_tombstone_and_is_settled(
    engine: House, script: Script, copied: Connection
) -> None:
    script.by_key["t1"] = Missing("t1", "deleted")
    sync = await engine.sync(copied.id, Request("api", "records", {"things": ["t0", "t1"]}))
    assert sync.state == "succeeded"
    assert sync.receipt == {"things": Receipt(2, 2, complete=True)}
    assert await tombstones(engine) == {"t1": "deleted"}


async def test_a_hint_about_what_was_never_stored_is_settled(
    engine: House, script: Script, copied: Connection
) -> None:
    script.by_key["x"] = Missing("x", "left")
    sync = await engine.sync(copied.id, Request("webhook", "records", {"things": ["x"]}))
    assert sync.state == "succeeded"


# --- housekeeping


async def test_what_a_census_noted_is_forgotten_after_its_sync(
    engine: House, script: Script, copied: Connection
) -> None:
    await engine.sync(copied.id, CENSUS)
    async with engine.database.write() as connection:
        assert await purge_some(connection, engine.deps.tables)
    async with engine.database.read() as connection:
        left = (await connection.execute(select(func.count()).select_from(census_seen))).scalar_one()
    assert left == 0


async def test_what_was_observed_after_it_was_asked_for_is_not_gone(
    engine: House, script: Script, copied: Connection
) -> None:
    table = engine.deps.tables.get(SYSTEM, "things")
    async with engine.database.write() as connection:
        at = await clock(connection)
        asked_before = When(copied.id, at - timedelta(hours=1), at)
        buried = await bury(connection, engine.deps.tables, table, asked_before, {"t1": "deleted"}, 7)
    assert (buried.change, buried.counts) == (7, {})
    assert await tombstones(engine) == {}


async def test_a_second_hint_about_what_is_gone_tells_nothing_new(
    engine: House, script: Script, copied: Connection
) -> None:
    script.by_key["t1"] = Missing("t1", "deleted")
    await engine.sync(copied.id, Request("webhook", "records", {"things": ["t1"]}))
    before = (await connection_row(engine, copied.id))["change_sequence"]
    sync = await engine.sync(copied.id, Request("webhook", "records", {"things": ["t1"]}))
    assert (sync.state, deleted(sync)) == ("succeeded", 0)
    assert (await connection_row(engine, copied.id))["change_sequence"] == before


# --- lists that lag, and questions that change


class Late(Double):
    """Its lists may be ten minutes late."""

    overlap = timedelta(minutes=10)


async def test_a_list_that_still_shows_what_is_proven_gone_does_not_bring_it_back(
    database: Database, script: Script
) -> None:
    adapter = type("Scripted", (Late,), {"script": script})
    script.add("all", [thing("t1", version="1"), thing("t2", version="1")])
    async with open_house(database, {SYSTEM: adapter}) as house:
        made = await connect(house)
        await house.sync(made.id)
        script.by_key["t1"] = Missing("t1", "deleted")
        await house.sync(made.id, Request("webhook", "records", {"things": ["t1"]}))
        script.pages["all"].append(Step([thing("t1", version="1"), thing("t2", version="2")]))
        await house.sync(made.id)
        assert await tombstones(house) == {"t1": "deleted"}
        script.pages["all"].append(Step([thing("t1", version="3")]))
        await house.sync(made.id)
        assert await tombstones(house) == {}


async def test_a_full_sync_believes_its_key_and_brings_back_what_is_there(
    database: Database, script: Script
) -> None:
    adapter = type("Scripted", (Late,), {"script": script})
    script.add("all", [thing("t1", version="1"), thing("t2", version="1")])
    async with open_house(database, {SYSTEM: adapter}) as house:
        made = await connect(house)
        await house.sync(made.id)
        script.by_key["t1"] = Missing("t1", "hidden")
        await house.sync(made.id, Request("webhook", "records", {"things": ["t1"]}))
        script.by_key["t1"] = thing("t1", version="1")
        script.pages["all"] = [Step(script.pages["all"][0].records, expected={"things": 2})]
        sync = await house.sync(made.id, Request("api", "full"))
        assert sync.state == "succeeded"
        assert sync.receipt is not None
        assert sync.receipt["things"] == Receipt(2, 2, complete=True)
        assert await tombstones(house) == {}


async def test_a_census_that_is_due_goes_with_whatever_sync_comes_next(
    engine: House, script: Script, copied: Connection
) -> None:
    remove(script, "t1", "left")
    await set_connection(engine, copied.id, census_at=now(-1))
    sync = await engine.sync(copied.id)
    assert sync.census
    assert await tombstones(engine) == {"t1": "left"}
