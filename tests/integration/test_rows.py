"""What becomes of a record that is read: new, changed, unchanged, kept out, looked at again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import Text, cast, select, update

from adapters.base import Missing, Page, Partition, Record, Rejected, Value
from store import claims, parts, rows
from store.parts import LOOK_AGAIN, Part, Planned
from store.records import Progress, Target, commit_page, prepare_page
from store.schema import connections as connections_table
from store.syncs import Counts, Sync
from tests.adapter_double import SYSTEM, thing
from tests.house import House

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Writer:
    """A claimed sync to which pages are written; `at` is when their request was sent."""

    def __init__(self, house: House, sync: Sync) -> None:
        self.house = house
        self.target = Target(sync, "test", SYSTEM, house.deps.tables, quarantined=True)
        self.progress = Progress({})
        self._pages = 0

    async def write(
        self,
        *records: Record,
        at: datetime = T0,
        rejected: Sequence[Rejected] = (),
        looking: bool = False,
        missing: Sequence[str] = (),
    ) -> Counts:
        """What this page alone came to in `things`."""
        before = self.progress.counters.get("things", Counts())
        self._pages += 1
        page = Page(at, str(self._pages), records, rejected)
        feed = LOOK_AGAIN if looking else "things"
        part = Part(feed, "things", "", 0, None, False, False, None, None, {})
        prepared = prepare_page(self.target, page)
        gone = [Missing(key, "deleted") for key in missing]
        await commit_page(self.house.database, self.target, part, prepared, self.progress, gone)
        after = self.progress.counters.get("things", Counts())
        return Counts(*(getattr(after, n) - getattr(before, n) for n in Counts.__struct_fields__))

    async def row(self, key: str) -> dict[str, Any]:
        table = self.house.deps.tables.get(SYSTEM, "things").table
        body = cast(table.c.body, Text).label("body")
        query = select(*(c for c in table.c if c.name != "body"), body).where(table.c.key == key)
        async with self.house.database.read() as connection:
            return dict((await connection.execute(query)).mappings().one())

    async def bury(self, key: str, at: datetime) -> None:
        """Mark a record as gone, as a proof at `at` would."""
        table = self.house.deps.tables.get(SYSTEM, "things").table
        async with self.house.database.write() as connection:
            gone = update(table).where(table.c.key == key)
            await connection.execute(gone.values(gone_at=at, gone_reason="deleted", observed_at=at))

    async def change_number(self) -> int:
        c = connections_table.c
        async with self.house.database.read() as connection:
            query = select(c.change_sequence).where(c.id == self.target.sync.connection_id)
            return int((await connection.execute(query)).scalar_one())


@pytest.fixture
async def writer(engine: House) -> Writer:
    made = await engine.connection(SYSTEM, "http://double")
    opened = await engine.open(made.id)
    async with engine.database.write() as connection:
        claimed = await claims.claim(connection, opened.id, "test")
        assert claimed is not None
        await parts.plan(connection, claimed[0], [Planned("things", Partition("things"))])
    return Writer(engine, claimed[0])


NEW = Counts(read=1, new=1)
CHANGED = Counts(read=1, changed=1)
UNCHANGED = Counts(read=1, unchanged=1)
LATER, EARLIER = T0 + timedelta(seconds=1), T0 - timedelta(seconds=1)


async def test_a_record_is_new_then_unchanged_then_changed(writer: Writer) -> None:
    assert await writer.write(thing("1", name="a")) == NEW
    assert await writer.write(thing("1", name="a"), at=LATER) == UNCHANGED
    assert await writer.write(thing("1", name="b"), at=LATER) == CHANGED
    row = await writer.row("1")
    assert row["body"] == '{"key":"1","name":"b"}'
    assert row["change"] == 2


async def test_a_record_that_did_not_change_is_not_written(writer: Writer) -> None:
    await writer.write(thing("1", name="a"))
    before = await writer.row("1")
    await writer.write(thing("1", name="a"), at=LATER)
    assert await writer.row("1") == before
    assert await writer.change_number() == 1


async def test_change_numbers_have_no_gap(writer: Writer) -> None:
    await writer.write(*(thing(str(n)) for n in range(5)))
    await writer.write(*(thing(str(n), name="again") for n in range(3)), thing("4"), at=LATER)
    numbers = [(await writer.row(str(n)))["change"] for n in range(5)]
    assert numbers == [6, 7, 8, 4, 5]
    assert await writer.change_number() == 8


# --- what is volatile


async def test_a_change_of_a_volatile_member_is_no_change(writer: Writer) -> None:
    body: dict[str, object] = {"views": 1, "meta": {"asked": 1, "kept": 1}}
    others: list[dict[str, object]] = [
        {"views": 2},
        {"views": {"deep": [1]}},
        {"meta": {"asked": 2, "kept": 1}},
        {},
    ]
    await writer.write(*(thing(str(n), members=body) for n in range(4)))
    again = [thing(str(n), members={**body, **other}) for n, other in enumerate(others)]
    assert await writer.write(*again, at=LATER) == Counts(read=4, unchanged=4)


async def test_a_change_beside_a_volatile_member_is_a_change(writer: Writer) -> None:
    body: dict[str, object] = {"views": 1, "meta": {"asked": 1, "kept": 1}}
    others: list[dict[str, object]] = [{"meta": {"asked": 1, "kept": 2}}, {"meta": "gone"}, {"extra": None}]
    await writer.write(*(thing(str(n), members=body) for n in range(3)))
    again = [thing(str(n), members={**body, **other}) for n, other in enumerate(others)]
    assert await writer.write(*again, at=LATER) == Counts(read=3, changed=3)


async def test_a_digit_that_moves_from_a_name_into_a_value_is_a_change(writer: Writer) -> None:
    await writer.write(thing("1", members={"a": 1, "1b": 2}))
    assert await writer.write(thing("1", a=11, b=2), at=LATER) == CHANGED


# --- what may overwrite


async def test_only_what_is_newer_overwrites(writer: Writer) -> None:
    cases = {
        "lower, asked for later": ("8", LATER, False),
        "equal, asked for earlier": ("9", EARLIER, False),
        "equal, asked for later": ("9", LATER, True),
        "higher, as a longer text is, asked for earlier": ("10", EARLIER, True),
        "none, asked for earlier": (None, EARLIER, False),
        "none, asked for later": (None, LATER, True),
    }
    await writer.write(*(thing(key, version="9", name="first") for key in cases))
    for key, (version, at, overwrites) in cases.items():
        counts = await writer.write(thing(key, version=version, name="second"), at=at)
        assert counts == (CHANGED if overwrites else UNCHANGED), key
        assert ("second" in (await writer.row(key))["body"]) is overwrites, key


async def test_without_versions_the_later_question_decides(writer: Writer) -> None:
    await writer.write(thing("1", name="first"))
    assert await writer.write(thing("1", name="late answer"), at=EARLIER) == UNCHANGED
    assert await writer.write(thing("1", name="new answer"), at=LATER) == CHANGED


async def test_of_a_key_twice_in_one_page_the_last_counts_once(writer: Writer) -> None:
    assert await writer.write(thing("1", name="a"), thing("1", name="b")) == NEW
    assert (await writer.row("1"))["body"] == '{"key":"1","name":"b"}'
    assert await writer.change_number() == 1


async def test_of_a_key_twice_in_one_page_the_higher_version_counts(writer: Writer) -> None:
    await writer.write(thing("1", version="3", name="new"), thing("1", version="2", name="old"))
    assert (await writer.row("1"))["version"] == "3"


async def test_a_tombstone_is_revived_by_a_later_observation(writer: Writer) -> None:
    await writer.write(thing("1"))
    await writer.bury("1", T0)
    assert await writer.write(thing("1"), at=LATER) == CHANGED
    row = await writer.row("1")
    assert (row["gone_at"], row["gone_reason"], row["change"]) == (None, None, 2)


async def test_a_tombstone_is_not_revived_by_an_earlier_observation(writer: Writer) -> None:
    await writer.write(thing("1"))
    await writer.bury("1", LATER)
    assert await writer.write(thing("1"), at=T0) == UNCHANGED
    assert (await writer.row("1"))["gone_reason"] == "deleted"


# --- what does not fit

FIT: tuple[Value, ...] = ("a", 1, 0.5, True, T0)
NAMES = ("name", "size", "ratio", "done", "seen_at")


async def test_typed_values_are_stored_as_they_are(writer: Writer) -> None:
    await writer.write(thing("1", columns=FIT))
    row = await writer.row("1")
    assert tuple(row[name] for name in NAMES) == FIT


UNFIT: Sequence[tuple[str, Value]] = (
    ("name", "a\x00b"),
    ("name", 7),
    ("size", 2**63),
    ("size", -(2**63) - 1),
    ("size", "7"),
    ("size", 7.5),
    ("size", True),
    ("ratio", "0.5"),
    ("ratio", float("nan")),
    ("ratio", float("inf")),
    ("ratio", True),
    ("done", 1),
    ("done", "true"),
    ("seen_at", "2026-01-01"),
    ("seen_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - a time without a zone is what is tried
    ("seen_at", datetime(1, 1, 1, tzinfo=UTC)),  # how Azure DevOps writes never
    ("seen_at", datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5)))),
)


async def test_a_value_that_does_not_fit_its_column_is_null_and_breaks_nothing(writer: Writer) -> None:
    records = []
    for number, (name, value) in enumerate(UNFIT):
        values = {**dict(zip(NAMES, FIT, strict=True)), name: value}
        records.append(thing(str(number), columns=tuple(values.values())))
    assert await writer.write(*records) == Counts(read=len(UNFIT), new=len(UNFIT))
    for number, (name, value) in enumerate(UNFIT):
        row = await writer.row(str(number))
        expected = {**dict(zip(NAMES, FIT, strict=True)), name: None}
        assert {name: row[name] for name in NAMES} == expected, (name, value)


async def test_the_largest_integers_fit(writer: Writer) -> None:
    ends = {"1": 2**63 - 1, "2": -(2**63)}
    await writer.write(*(thing(key, columns=(None, size, None, None, None)) for key, size in ends.items()))
    assert {key: (await writer.row(key))["size"] for key in ends} == ends


async def test_what_no_database_can_hold_is_quarantined_and_the_rest_of_the_page_lives(
    writer: Writer,
) -> None:
    bad = [thing("a\x00b"), thing("2", parent="a\x00b"), thing("3", version="1\x00")]
    assert await writer.write(*bad, thing("good")) == Counts(read=4, new=1, rejected=3)
    kept = {row["key"]: row["reason"] for row in await writer.house.quarantined()}
    assert kept == {
        "ab": "the key holds a NUL character",
        "2": "the parent holds a NUL character",
        "3": "the version holds a NUL character",
    }


async def test_what_an_adapter_rejects_is_kept_whatever_is_in_it(writer: Writer) -> None:
    rejected = [Rejected("things", "a\x00b", "no \x00", b"\x00\xff"), Rejected("things", None, "no", b"x")]
    assert await writer.write(rejected=rejected) == Counts(read=2, rejected=2)
    assert {row["key"][0] for row in await writer.house.quarantined()} == {"a", "?"}


async def test_a_time_of_change_at_the_end_of_the_calendar_is_null(writer: Writer) -> None:
    odd = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5)))
    await writer.write(msgspec.structs.replace(thing("1"), updated_at=odd))
    assert (await writer.row("1"))["updated_at"] is None


async def test_a_body_that_is_no_text_is_quarantined_and_the_rest_of_the_page_lives(writer: Writer) -> None:
    bad = Record("things", "bad", b'{"name":"\xff"}', columns=(None,) * 5)
    assert await writer.write(bad, thing("good")) == Counts(read=2, new=1, rejected=1)
    [kept] = await writer.house.quarantined()
    assert (kept["key"], kept["body"]) == ("bad", '{"name":"\ufffd"}')
    assert "utf-8" in kept["reason"]


# --- what is not final


async def test_the_steps_to_the_next_look_double_from_a_minute_to_a_day() -> None:
    steps = [rows.next_look(T0, step) - T0 for step in range(14)]
    assert steps[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert steps[10:] == [timedelta(minutes=1024), *[timedelta(days=1)] * 3]


async def test_an_unfinished_record_is_looked_at_in_growing_steps(writer: Writer) -> None:
    await writer.write(thing("1", final=False))
    assert (await writer.row("1"))["look_again_at"] == T0 + timedelta(minutes=1)
    for step, minutes in ((1, 2), (2, 4)):
        await writer.write(thing("1", final=False), at=T0 + timedelta(hours=step), looking=True)
        row = await writer.row("1")
        assert row["look_again_at"] == T0 + timedelta(hours=step, minutes=minutes)


async def test_a_change_begins_the_steps_anew(writer: Writer) -> None:
    await writer.write(thing("1", final=False))
    await writer.write(thing("1", final=False), at=LATER, looking=True)
    await writer.write(thing("1", final=False, name="changed"), at=LATER, looking=True)
    row = await writer.row("1")
    assert (row["look_again_at"], row["look_again_step"]) == (LATER + timedelta(minutes=1), 0)


async def test_reading_in_passing_does_not_put_the_next_look_off(writer: Writer) -> None:
    await writer.write(thing("1", final=False))
    await writer.write(thing("1", final=False), at=LATER)
    assert (await writer.row("1"))["look_again_at"] == T0 + timedelta(minutes=1)


@pytest.mark.parametrize("looking", [True, False])
async def test_a_final_record_is_not_looked_at_again(writer: Writer, looking: bool) -> None:
    await writer.write(thing("1", final=False), thing("2", final=False))
    await writer.write(thing("1"), thing("2", name="changed"), at=LATER, looking=looking)
    assert [(await writer.row(key))["look_again_at"] for key in "12"] == [None, None]


async def test_an_unfinished_record_that_is_not_there_is_asked_for_later(writer: Writer) -> None:
    await writer.write(thing("1", final=False), thing("2"))
    await writer.write(at=LATER, looking=True, missing=["1", "2", "never seen"])
    assert (await writer.row("1"))["look_again_at"] == LATER + timedelta(minutes=2)
    assert (await writer.row("2"))["look_again_at"] is None
