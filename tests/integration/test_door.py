"""The one door: what a trigger opens, what it joins, and whom it does not let in."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from scheduler.dispatch import (
    ClosedError,
    Opened,
    RememberedError,
    Request,
    cancel_all,
    open_sync,
)
from store import syncs
from store.connections import locked
from store.database import Database, clock
from store.health import Problem
from store.schema import syncs as syncs_table
from store.syncs import Scope, Sync, Trigger
from tests.engine import claimed, connect, connection_row, set_connection, sync_row
from tests.house import House


async def knock(house: House, connection_id: int, request: Request) -> Opened:
    async with house.database.write() as connection:
        return await open_sync(connection, connection_id, request, await clock(connection))


def named(*keys: str, stream: str = "things") -> Request:
    return Request("webhook", "records", {stream: list(keys)})


async def test_twenty_triggers_at_once_open_one_sync_and_join_it(engine: House) -> None:
    made = await connect(engine)
    url = engine.database.engine.url.render_as_string(hide_password=False)
    other = Database(url, engine.database.schema)
    second = House(other, engine.deps, engine.vault)
    found = await asyncio.gather(
        *(knock(house, made.id, Request("webhook")) for house in (engine, second) for _ in range(10))
    )
    await other.close()
    assert {opened.sync.id for opened in found} == {found[0].sync.id}
    assert [opened.joined for opened in found].count(False) == 1
    assert (await engine.status(found[0].sync.id)).joined == 19
    assert await engine.states(made.id) == ["queued"]


@pytest.mark.parametrize("states", [("queued", "queued"), ("running", "waiting"), ("waiting", "waiting")])
async def test_the_database_itself_holds_a_lane_to_one_open_and_one_queued(
    engine: House, states: tuple[str, str]
) -> None:
    made = await connect(engine)
    at = await engine.database.time()
    values = {"connection_id": made.id, "lane": "bulk", "trigger": "api", "scope": "full"}
    values |= {"queued_at": at, "run_at": at, "counters": {}}
    with pytest.raises(IntegrityError):
        async with engine.database.write() as connection:
            await connection.execute(insert(syncs_table), [{**values, "state": one} for one in states])


async def test_beside_an_open_sync_one_is_queued_and_is_not_rung_yet(engine: House) -> None:
    made = await connect(engine)
    running = await claimed(engine, made.id)
    queued = await knock(engine, made.id, Request("api"))
    assert queued.sync.id != running.id
    assert queued.ring is None
    joined = await knock(engine, made.id, Request("webhook"))
    assert (joined.sync.id, joined.joined, joined.ring) == (queued.sync.id, True, None)


async def test_a_lone_queued_sync_is_rung_again_by_who_joins(engine: House) -> None:
    made = await connect(engine)
    first, second = [await knock(engine, made.id, Request("api")) for _ in range(2)]
    assert first.ring is not None
    assert second.ring == first.ring


async def test_the_lanes_do_not_hinder_each_other(engine: House) -> None:
    made = await connect(engine)
    bulk = await knock(engine, made.id, Request("api"))
    records = await knock(engine, made.id, named("1"))
    assert (bulk.sync.lane, records.sync.lane, records.joined) == ("bulk", "records", False)


async def test_the_first_trigger_is_kept_and_the_others_are_counted(engine: House) -> None:
    made = await connect(engine)
    triggers: Sequence[Trigger] = ("schedule", "webhook", "api")
    for trigger in triggers:
        opened = await knock(engine, made.id, Request(trigger))
    assert (opened.sync.trigger, opened.sync.joined) == ("schedule", 2)


async def test_keys_unite_by_stream(engine: House) -> None:
    made = await connect(engine)
    await knock(engine, made.id, named("2", "1"))
    await knock(engine, made.id, named("3", "2"))
    await knock(engine, made.id, named("n", stream="notes"))
    opened = await knock(engine, made.id, Request("schedule", "records", look=True))
    assert opened.sync.keys == {"things": ["1", "2", "3"], "notes": ["n"]}
    assert opened.sync.look


@pytest.mark.parametrize(
    ("asked", "scope", "census"),
    [
        (("incremental", "incremental"), "incremental", False),
        (("incremental", "full"), "full", False),
        (("full", "incremental"), "full", False),
        (("full", "census"), "full", False),
        (("census", "full"), "full", False),
        (("census", "census"), "census", False),
        (("census", "incremental"), "incremental", True),
        (("incremental", "census"), "incremental", True),
        (("incremental", "census", "incremental"), "incremental", True),
        (("incremental", "census", "census"), "incremental", True),
    ],
)
async def test_scopes_join_into_one_that_does_what_all_asked(
    engine: House, asked: Sequence[Scope], scope: Scope, census: bool
) -> None:
    made = await connect(engine)
    for one in asked:
        opened = await knock(engine, made.id, Request("api", one))
    row = await sync_row(engine, opened.sync.id)
    assert (row["scope"], row["census"]) == (scope, census)


# --- who is not let in


async def test_an_unknown_a_deleted_a_disabled_and_a_draft_connection_are_refused(engine: House) -> None:
    deleted, disabled = await connect(engine, 1), await connect(engine, 2, enabled=False)
    await set_connection(engine, deleted.id, deleted_at=await engine.database.time())
    draft = await connect(engine, 3, canonical=None)
    words = {4711: "no connection", deleted.id: "no connection", disabled.id: "disabled", draft.id: "draft"}
    for connection_id, word in words.items():
        with pytest.raises(ClosedError, match=word):
            await knock(engine, connection_id, Request("cli"))
    async with engine.database.read() as connection:
        assert await syncs.listed(connection, None, 10) == []


@pytest.mark.parametrize("kind", ["auth", "forbidden", "not_found", "crashing"])
async def test_a_paused_connection_remembers_triggers_and_lets_persons_in(engine: House, kind: str) -> None:
    made = await connect(engine)
    await set_connection(engine, made.id, failure=Problem(kind, "refused"))
    triggers: Sequence[Trigger] = ("schedule", "webhook", "queue")
    for trigger in triggers:
        async with engine.database.write() as connection:
            with pytest.raises(RememberedError):
                await open_sync(connection, made.id, Request(trigger), await clock(connection))
    assert (await connection_row(engine, made.id))["remembered"] == 3
    assert await engine.events(made.id) == []
    for trigger in ("api", "cli", "catch_up"):
        assert (await knock(engine, made.id, Request(trigger))).sync.state == "queued"


@pytest.mark.parametrize("kind", ["unreachable", "rejected", "tls", "unreadable", "blocked"])
async def test_other_failures_pause_nothing(engine: House, kind: str) -> None:
    made = await connect(engine)
    await set_connection(engine, made.id, failure=Problem(kind, "no"))
    assert (await knock(engine, made.id, Request("schedule"))).sync.state == "queued"


# --- what an edit does


async def test_cancelling_all_ends_both_lanes_each_with_one_event(engine: House) -> None:
    made = await connect(engine)
    ids = {(await claimed(engine, made.id)).id}
    ids |= {(await knock(engine, made.id, request)).sync.id for request in (Request("api"), named("1"))}
    async with engine.database.write() as connection:
        await locked(connection, made.id)
        assert await cancel_all(connection, made.id, await clock(connection)) == 3
        assert await cancel_all(connection, made.id, await clock(connection)) == 0
    told = [data["id"] for _, kind, data in await engine.events(made.id) if data.get("state") == "cancelled"]
    assert sorted(told) == sorted(ids)
    assert {(await engine.status(sync_id)).state for sync_id in ids} == {"cancelled"}


async def test_what_was_cancelled_does_not_keep_the_door_shut(engine: House) -> None:
    made = await connect(engine)
    before: Sync = await claimed(engine, made.id)
    async with engine.database.write() as connection:
        await locked(connection, made.id)
        await cancel_all(connection, made.id, await clock(connection))
    after = await knock(engine, made.id, Request("api"))
    assert after.sync.id != before.id
    assert after.ring is not None
