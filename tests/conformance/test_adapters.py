"""What every adapter does, whatever it speaks to. An adapter says only how to change its simulated remote."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from adapters.base import BadHook, Hook
from adapters.http import Meter, utc_now
from scheduler.dispatch import Request
from store.database import Database
from store.schema import cursors
from tests.conformance.conftest import Stage, living
from tests.conformance.kit import Kit
from tests.house import open_house
from tidegate.demo.remotes.base import Fault
from worker.sync import run_slice

pytestmark = pytest.mark.sqlite_does

# --- nothing is missed


async def test_a_first_sync_stores_all_there_is_and_says_so(stage: Stage) -> None:
    for _ in range(12):
        stage.kit.create()
    sync = await stage.sync()
    assert (sync.state, sync.error) == ("succeeded", None)
    assert await stage.copy() == stage.kit.truth()
    assert sync.receipt is not None
    assert sync.receipt[stage.kit.stream].complete


async def test_a_remote_with_nothing_in_it_is_read_to_its_end(stage: Stage) -> None:
    sync = await stage.sync()
    assert (sync.state, sync.error) == ("succeeded", None)
    assert await stage.copy() == {}


async def test_what_is_created_and_changed_later_is_in_the_next_sync(stage: Stage) -> None:
    keys = [stage.kit.create() for _ in range(12)]
    await stage.sync()
    stage.kit.settle()
    stage.kit.create()
    changed = next(key for key in keys if key in stage.kit.known_changeable())
    stage.kit.change(changed)
    await stage.sync()
    assert await stage.copy() == stage.kit.truth()


async def test_what_happens_right_after_a_sync_is_in_the_next(stage: Stage) -> None:
    for _ in range(3):
        stage.kit.create()
        await stage.sync()
    assert await stage.copy() == stage.kit.truth()


async def test_a_slice_that_ends_after_any_page_loses_nothing(stage: Stage) -> None:
    for _ in range(12):
        stage.kit.create()
    deps = replace(stage.house.deps, slice_seconds=0.0, turn_seconds=0.0)
    opened = await stage.house.open(stage.connection.id)
    for _ in range(100):
        await run_slice(deps, opened.id)
        if (await stage.house.status(opened.id)).finished_at is not None:
            break
    assert (await stage.house.status(opened.id)).state == "succeeded"
    assert await stage.copy() == stage.kit.truth()


async def test_what_changes_while_it_is_read_is_here_in_the_end(stage: Stage) -> None:
    keys = [stage.kit.create() for _ in range(12)]
    deps = replace(stage.house.deps, slice_seconds=0.0, turn_seconds=0.0)
    opened = await stage.house.open(stage.connection.id)
    for _ in range(100):
        await run_slice(deps, opened.id)
        if (await stage.house.status(opened.id)).finished_at is not None:
            break
        if len(keys) < 20:
            keys.append(stage.kit.create())
            stage.kit.change(next(iter(stage.kit.known_changeable())))
    stage.kit.settle()
    await stage.sync()
    assert await stage.copy() == stage.kit.truth()


# --- nothing is doubled, and nothing written without need


async def test_a_second_sync_with_nothing_new_writes_nothing(stage: Stage) -> None:
    for _ in range(12):
        stage.kit.create()
    await stage.sync()
    before = await stage.change_number()
    sync = await stage.sync()
    assert sync.state == "succeeded"
    assert {(counts.new, counts.changed) for counts in sync.counters.values()} <= {(0, 0)}
    assert await stage.change_number() == before


async def test_reading_all_again_changes_nothing(stage: Stage) -> None:
    for _ in range(12):
        stage.kit.create()
    await stage.sync()
    before = await stage.change_number()
    sync = await stage.sync(Request("api", "full"))
    assert sync.state == "succeeded"
    assert await stage.change_number() == before


async def test_a_record_read_by_its_key_is_the_same_as_read_in_a_page(stage: Stage) -> None:
    for _ in range(6):
        stage.kit.create()
    await stage.sync()
    before = await stage.change_number()
    keys = list(stage.kit.truth())
    sync = await stage.sync(Request("api", "records", {stage.kit.stream: keys}))
    assert sync.state == "succeeded"
    assert sync.counters[stage.kit.stream].unchanged == len(keys)
    assert await stage.change_number() == before


async def test_an_idle_connection_costs_few_requests(stage: Stage) -> None:
    """Builds that still run are asked for, too, so all have ended here."""
    for _ in range(4):
        stage.kit.create()
    if stage.kit.kept:
        for key in list(stage.kit.known_changeable()):
            stage.kit.change(key)
    await stage.sync()
    stage.kit.settle()
    await stage.sync()
    before = stage.requests()
    await stage.sync()
    asked = [seen.line for seen in stage.kit.remote.ledger[before:]]
    assert len(asked) <= stage.kit.idle, asked


# --- what is gone


async def test_what_was_deleted_is_found_by_a_census_with_the_reason(stage: Stage) -> None:
    keys = [stage.kit.create() for _ in range(12)]
    await stage.sync()
    deleted = {key: stage.kit.truth()[key] for key in keys[1:3]}
    for key in deleted:
        stage.kit.delete(key)
    stage.kit.settle()
    sync = await stage.census()
    assert (sync.state, sync.error) == ("succeeded", None)
    assert await stage.gone() == dict.fromkeys(deleted, stage.kit.reason)
    assert await stage.copy() == living(stage, deleted)


async def test_a_census_with_nothing_gone_asks_for_no_record(stage: Stage) -> None:
    for _ in range(12):
        stage.kit.create()
    await stage.sync()
    stage.kit.settle()
    before = await stage.change_number()
    sync = await stage.census()
    assert (sync.state, sync.error) == ("succeeded", None)
    assert sync.receipt is not None
    assert (sync.receipt[stage.kit.stream].expected, sync.receipt[stage.kit.stream].stored) == (12, 12)
    assert await stage.change_number() == before


async def test_a_credential_that_is_revoked_before_a_census_makes_nothing_gone(stage: Stage) -> None:
    for _ in range(12):
        stage.kit.create()
    await stage.sync()
    stage.kit.settle()
    stage.kit.revoke()
    sync = await stage.census()
    assert sync.state == "failed"
    assert sync.error is not None
    assert sync.error.kind == "auth"
    assert await stage.gone() == {}


async def test_a_named_record_that_was_deleted_is_gone_at_once(stage: Stage) -> None:
    keys = [stage.kit.create() for _ in range(4)]
    await stage.sync()
    stage.kit.settle()
    stage.kit.delete(keys[1])
    sync = await stage.sync(Request("webhook", "records", {stage.kit.stream: [keys[1]]}))
    assert sync.state == "succeeded"
    assert await stage.gone() == {keys[1]: stage.kit.reason}


# --- trouble


@pytest.mark.parametrize(
    "fault",
    [
        Fault("", status=500, body=b"{}", headers={"Content-Type": "application/json"}),
        Fault("", status=503, body=b"<html>Back soon</html>", headers={"Content-Type": "text/html"}),
        Fault("", status=429, body=b"{}", headers={"Retry-After": "0", "Content-Type": "application/json"}),
        Fault("", cut=20),
    ],
    ids=["500", "503", "429", "cut"],
)
@pytest.mark.parametrize("after", [0, 1])
async def test_trouble_on_the_way_delays_and_loses_nothing(stage: Stage, fault: Fault, after: int) -> None:
    for _ in range(6):
        stage.kit.create()
    mine = Fault(stage.kit.path, fault.status, fault.body, fault.headers, after=after, cut=fault.cut)
    stage.kit.remote.faults.append(mine)
    sync = await stage.sync()
    assert (sync.state, sync.error) == ("succeeded", None)
    assert await stage.copy() == stage.kit.truth()


@pytest.mark.parametrize("status", [200, 203])
async def test_a_web_page_instead_of_data_is_no_success(stage: Stage, status: int) -> None:
    for _ in range(6):
        stage.kit.create()
    await stage.sync()
    page = b"<html><title>Sign in</title></html>"
    stage.kit.settle()
    stage.kit.create()
    fault = Fault(stage.kit.path, status, page, {"Content-Type": "text/html"}, times=1000)
    stage.kit.remote.faults.append(fault)
    sync = await stage.sync()
    assert sync.state in ("failed", "partial")
    assert sync.error is not None
    assert sync.error.kind in ("unreadable", "auth")
    assert await stage.gone() == {}
    stage.kit.remote.faults.clear()
    await stage.sync()
    assert await stage.copy() == stage.kit.truth()


async def test_a_wrong_secret_fails_with_a_hint_and_pauses(kit: Kit, database: Database) -> None:
    async with open_house(database, {kit.adapter.system: kit.adapter}) as house:
        kind, username, _ = kit.credential
        wrong = await house.credential(kit.adapter.system, kind, username, "not the secret")
        made = await house.connection(kit.adapter.system, kit.url, wrong, params=dict(kit.params))
        sync = await house.sync(made.id)
        assert sync.error is not None
        assert (sync.state, sync.error.kind) == ("failed", "auth")
        assert sync.error.hint
        found = await house.get(made.id)
        assert (found.health, found.cause, found.paused) == ("failed", "auth", True)


async def test_a_secret_that_is_revoked_between_syncs_fails_and_keeps_the_copy(stage: Stage) -> None:
    for _ in range(4):
        stage.kit.create()
    await stage.sync()
    before = await stage.copy()
    stage.kit.revoke()
    sync = await stage.sync()
    assert sync.error is not None
    assert (sync.state, sync.error.kind) == ("failed", "auth")
    assert await stage.copy() == before


async def test_a_cursor_that_nobody_understands_reads_from_the_beginning(stage: Stage) -> None:
    for _ in range(4):
        stage.kit.create()
    await stage.sync()
    async with stage.house.database.write() as connection:
        await connection.execute(update(cursors).values(cursor='{"of": "another version"}'))
    stage.kit.settle()
    stage.kit.create()
    sync = await stage.sync()
    assert sync.state == "succeeded"
    assert await stage.copy() == stage.kit.truth()


# --- declarations


def test_the_canonical_url_means_the_same_as_the_pasted_one(kit: Kit) -> None:
    target = kit.adapter.parse(kit.url, kit.params)
    assert kit.adapter.parse(target.canonical, kit.params) == target


def test_streams_columns_and_feeds_have_names_of_their_own(kit: Kit) -> None:
    streams = [stream for feed in kit.adapter.feeds for stream in feed.streams]
    assert len({stream.name for stream in streams}) == len(streams)
    assert len({feed.name for feed in kit.adapter.feeds}) == len(kit.adapter.feeds)
    for stream in streams:
        names = [column.name for column in stream.columns]
        assert len(set(names)) == len(names)
        assert stream.parent is None or stream.parent in {one.name for one in streams}


async def test_every_typed_column_fits_its_value(stage: Stage) -> None:
    for _ in range(6):
        stage.kit.create()
    await stage.sync()
    rows = await stage.house.rows(stage.kit.adapter.system, stage.kit.stream, stage.connection.id)
    [declared] = [
        stream
        for feed in stage.kit.adapter.feeds
        for stream in feed.streams
        if stream.name == stage.kit.stream
    ]
    filled = {c.name for c in declared.columns if any(row[c.name] is not None for row in rows)}
    assert len(filled) > len(declared.columns) / 4


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 10_000])
def test_a_webhook_of_somebody_else_is_refused(kit: Kit, body: bytes) -> None:
    with pytest.raises(BadHook):
        kit.adapter.hint(Hook({}, body))


def test_a_webhook_without_proof_is_not_believed(kit: Kit) -> None:
    for headers in ({}, {"authorization": ""}, {"x-hub-signature": "sha256="}, {"x-tidegate-token": "x"}):
        assert not kit.adapter.verify(Hook(headers, b"{}"), "the secret")


async def test_check_says_who_we_are_and_what_can_be_read(stage: Stage) -> None:
    stage.kit.create()
    async with stage.house.database.read() as connection:
        adapter = await stage.house.deps.remotes.open(connection, stage.connection, utc_now, Meter())
    check = await adapter.check()
    assert check.account
    assert check.system_version
    assert set(check.streams) == {s.name for feed in stage.kit.adapter.feeds for s in feed.streams}
    assert all(stream.readable for stream in check.streams.values())


async def test_overlap_is_stated(kit: Kit) -> None:
    assert timedelta(0) <= kit.adapter.overlap <= timedelta(hours=1)
    assert kit.adapter.batch >= 1
