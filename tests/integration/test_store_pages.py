"""One page, one transaction: everything of it or nothing, and nothing at all without the lease."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Connection as SqlConnection

from adapters.base import Page, Rejected
from scheduler.dispatch import cancel_all
from store.connections import locked
from store.database import clock
from store.records import Progress
from store.schema import cursors, outbox, quarantine
from store.syncs import Counts, LostLeaseError, Sync
from tests.adapter_double import SYSTEM, thing
from tests.engine import (
    claim,
    claimed,
    commit,
    connect,
    connection_row,
    lose_lease,
    part_of,
    set_sync,
    sync_row,
)
from tests.house import House


@pytest.fixture
async def sync(engine: House) -> Sync:
    return await claimed(engine, (await connect(engine)).id)


async def page(house: House, *keys: str, cursor: str = "1", bad: str | None = None) -> Page:
    rejected = [Rejected("things", bad, "illegible", b"{")] if bad else []
    return Page(await house.database.time(), cursor, [thing(key) for key in keys], rejected)


async def everything(house: House, sync: Sync) -> Mapping[str, object]:
    """All that a page may touch."""
    table = house.deps.tables.get(SYSTEM, "things").table
    found: dict[str, object] = {
        "sync": dict(await sync_row(house, sync.id)) | {"lease_until": None},
        "connection": dict(await connection_row(house, sync.connection_id)),
        "part": await part_of(house, sync.id),
    }
    async with house.database.read() as connection:
        for one in (table, cursors, outbox, quarantine):
            found[one.name] = (await connection.execute(select(one.c[list(one.c.keys())[1]]))).all()
    return found


async def test_a_page_brings_records_cursor_and_counters_at_once(engine: House, sync: Sync) -> None:
    after = await commit(engine, sync, await page(engine, "1", "2", bad="3", cursor="here"))
    assert await engine.keys(SYSTEM, "things") == {"1", "2"}
    assert await part_of(engine, sync.id) == after
    assert (after.cursor, after.turns, after.stored) == ("here", 1, {"things": 2})
    row = await sync_row(engine, sync.id)
    assert row["counters"]["things"] == msgspec.to_builtins(Counts(read=3, new=2, rejected=1))
    async with engine.database.read() as connection:
        [stored] = (await connection.execute(select(cursors))).mappings().all()
    assert stored["cursor"] == "here"
    [[kept]] = [[row["key"]] for row in await engine.quarantined()]
    assert kept == "3"


@pytest.mark.parametrize(
    "at", ["records_double_things", "quarantine", "cursors", "sync_parts", "UPDATE syncs", "outbox"]
)
async def test_a_failure_in_the_middle_leaves_nothing(engine: House, sync: Sync, at: str) -> None:
    before = await everything(engine, sync)

    def fail(
        connection: SqlConnection, cursor: object, statement: str, values: object, context: object, many: bool
    ) -> None:
        writes = statement.startswith(("INSERT", "UPDATE")) and at in statement
        # Renewing the lease comes first; what is counted on the sync comes last.
        if writes and not (at == "UPDATE syncs" and "counters" not in statement):
            raise OSError("the disk is full")

    listened = engine.database.engine.sync_engine
    event.listen(listened, "after_cursor_execute", fail)
    with pytest.raises(OSError, match="full"):
        await commit(engine, sync, await page(engine, "1", bad="2"), Progress({}, told_at=None))
    event.remove(listened, "after_cursor_execute", fail)
    assert await everything(engine, sync) == before
    await commit(engine, sync, await page(engine, "1", bad="2"))
    assert await engine.keys(SYSTEM, "things") == {"1"}


async def refused(house: House, sync: Sync) -> bool:
    """Whether a page of `sync` is refused, leaving nothing behind."""
    before = await everything(house, sync)
    try:
        await commit(house, sync, await page(house, "1", bad="2"))
    except LostLeaseError:
        assert await everything(house, sync) == before
        return True
    return False


async def test_a_page_of_an_older_fence_is_refused(engine: House, sync: Sync) -> None:
    await lose_lease(engine, sync.id)
    taken_over = await claim(engine, sync.id)
    assert taken_over is not None
    assert await refused(engine, sync)
    assert not await refused(engine, taken_over)


async def test_a_page_of_another_holder_is_refused(engine: House, sync: Sync) -> None:
    await set_sync(engine, sync.id, lease_owner="another")
    assert await refused(engine, sync)


async def test_a_page_after_the_lease_ran_out_is_refused_though_nobody_took_over(
    engine: House, sync: Sync
) -> None:
    await lose_lease(engine, sync.id)
    assert await refused(engine, sync)


async def test_a_page_after_the_sync_was_cancelled_is_refused_and_earlier_ones_stay(
    engine: House, sync: Sync
) -> None:
    part = await commit(engine, sync, await page(engine, "1", cursor="one"))
    async with engine.database.write() as connection:
        await locked(connection, sync.connection_id)
        assert await cancel_all(connection, sync.connection_id, await clock(connection)) == 1
    with pytest.raises(LostLeaseError):
        await commit(engine, sync, await page(engine, "2"), Progress({}), part)
    assert await engine.keys(SYSTEM, "things") == {"1"}
    async with engine.database.read() as connection:
        assert (await connection.execute(select(cursors.c.cursor))).scalars().all() == ["one"]
    assert (await engine.states(sync.connection_id))[-1:] == ["cancelled"]


async def test_a_page_renews_the_lease(engine: House, sync: Sync) -> None:
    before = (await sync_row(engine, sync.id))["lease_until"]
    await set_sync(engine, sync.id, lease_until=before - timedelta(seconds=5))
    await commit(engine, sync, await page(engine, "1"))
    assert (await sync_row(engine, sync.id))["lease_until"] >= before


async def told(house: House, sync: Sync) -> int:
    return len(await house.events(sync.connection_id))


async def test_progress_is_told_at_most_once_a_second(engine: House, sync: Sync) -> None:
    progress = Progress({})
    before = await told(engine, sync)
    for number in range(5):
        await commit(engine, sync, await page(engine, str(number), cursor=str(number)), progress)
    assert await told(engine, sync) == before + 1
    assert progress.told_at is not None
    progress.told_at -= timedelta(seconds=1)
    await commit(engine, sync, await page(engine, "5", cursor="5"), progress)
    assert await told(engine, sync) == before + 2
    _, kind, data = (await engine.events(sync.connection_id))[-1]
    assert (kind, data["state"], data["counters"]["things"]["new"]) == ("status", "running", 6)


async def test_the_second_is_kept_from_slice_to_slice(engine: House, sync: Sync) -> None:
    await commit(engine, sync, await page(engine, "1"))
    before = await told(engine, sync)
    await lose_lease(engine, sync.id)
    again = await claim(engine, sync.id)
    assert again is not None
    await commit(engine, again, await page(engine, "2", cursor="2"))
    assert await told(engine, sync) == before


async def test_a_record_is_in_quarantine_once_however_often_it_comes(engine: House, sync: Sync) -> None:
    for cursor in ("1", "2"):
        await commit(engine, sync, await page(engine, bad="7", cursor=cursor))
    [kept] = await engine.quarantined()
    assert (kept["key"], kept["reason"], kept["body"], kept["sync_id"]) == ("7", "illegible", "{", sync.id)


async def test_a_good_reading_frees_a_record_from_quarantine(engine: House, sync: Sync) -> None:
    await commit(engine, sync, await page(engine, bad="7"))
    await commit(engine, sync, await page(engine, bad="8", cursor="2"))
    await commit(engine, sync, await page(engine, "7", cursor="3"))
    assert [row["key"] for row in await engine.quarantined()] == ["8"]


async def test_what_has_no_legible_key_is_kept_once_per_content(engine: House, sync: Sync) -> None:
    at = await engine.database.time()
    unknown = [Rejected("things", None, "illegible", body) for body in (b"{", b"[", b"{")]
    await commit(engine, sync, Page(at, "1", rejected=unknown))
    assert sorted(row["body"] for row in await engine.quarantined()) == ["[", "{"]


async def test_records_of_two_streams_share_one_row_of_change_numbers(engine: House, sync: Sync) -> None:
    at = await engine.database.time()
    records = [thing("1"), thing("n1", parent="1", stream="notes"), thing("2")]
    progress = Progress({})
    await commit(engine, sync, Page(at, "1", records), progress)
    numbers = [row["change"] for s in ("things", "notes") for row in await engine.rows(SYSTEM, s)]
    assert sorted(numbers) == [1, 2, 3]
    assert progress.counters == {"things": Counts(read=2, new=2), "notes": Counts(read=1, new=1)}
    assert (await connection_row(engine, sync.connection_id))["change_sequence"] == 3
