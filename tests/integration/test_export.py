"""Exports: every record once, in each format, from either database; the old file until the new is whole."""

import csv
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, update

from scheduler.dispatch import Request
from store.database import Database, now
from store.streams import StreamTable
from tests.house import House, open_house
from tests.shelf import Shelf
from tidegate.export import BATCH, Chosen, write_lines, write_table
from tidegate.formats import Format

CSV, PARQUET = Format("csv"), Format("parquet")


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with open_house(database, {"shelf": Shelf}) as made:
        yield made


async def shelf(house: House, books: int = 5) -> int:
    made = await house.connection("shelf", f"shelf.example/{books}")
    await house.sync(made.id)
    return made.id


def books(house: House) -> StreamTable:
    return house.deps.tables.get("shelf", "books")


async def bury(house: House, connection_id: int, key: str, reason: str = "deleted") -> None:
    """As a census does that misses a record and learns the reason."""
    c = books(house).table.c
    made = update(books(house).table).where(c.connection_id == connection_id, c.key == key)
    async with house.database.write() as connection:
        await connection.execute(made.values(gone_reason=reason, gone_at=now(), change=900))


def lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(one) for one in path.read_bytes().splitlines()]


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


async def test_lines_hold_every_record_of_every_stream(house: House, tmp_path: Path) -> None:
    of = await shelf(house)
    path = tmp_path / "out.ndjson"
    told: list[int] = []
    tables = house.deps.tables.of("shelf")
    written = await write_lines(path, house.database, Chosen(of, tables), told.append)
    assert [(one["stream"], one["key"]) for one in lines(path)] == [
        *(("books", f"b{i:02}") for i in range(1, 6)),
        ("loans", "l02"),
        ("loans", "l04"),
    ]
    assert (written.written, told[-1]) == (7, 7)
    assert written.change == max(one["change"] for one in lines(path))


async def test_a_table_holds_common_and_typed_columns(house: House, tmp_path: Path) -> None:
    of = await shelf(house)
    chosen = Chosen(of, [books(house)])
    await write_table(tmp_path / "b.csv", house.database, chosen, CSV)
    read = cells(tmp_path / "b.csv")
    assert list(read[0]) == "key parent updated_at version change deleted deleted_at number".split()
    assert [(one["key"], one["number"], one["deleted"]) for one in read] == [
        (f"b{i:02}", str(i), "") for i in range(1, 6)
    ]
    await write_table(tmp_path / "b.parquet", house.database, chosen, PARQUET)
    rows = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert [(one["key"], one["number"], one["deleted_at"]) for one in rows] == [
        (f"b{i:02}", i, None) for i in range(1, 6)
    ]
    # As the remote sent it, to the byte.
    assert rows[0]["body"] == '{ "n": 1,\r\n  "title": "\\u00e9\\n/", "f": 1.10 }'


async def test_what_is_gone_is_left_out_unless_asked_for(house: House, tmp_path: Path) -> None:
    of = await shelf(house)
    await bury(house, of, "b02")
    path = tmp_path / "b.csv"
    await write_table(path, house.database, Chosen(of, [books(house)]), CSV)
    assert [one["key"] for one in cells(path)] == ["b01", "b03", "b04", "b05"]
    await write_table(path, house.database, Chosen(of, [books(house)], deleted=True), CSV)
    (gone,) = [one for one in cells(path) if one["deleted"]]
    assert (gone["key"], gone["deleted"], gone["deleted_at"][-1]) == ("b02", "deleted", "Z")


async def test_what_is_kept_on_purpose_is_not_left_out(house: House, tmp_path: Path) -> None:
    of = await shelf(house)
    await bury(house, of, "b02", "rotated")
    path = tmp_path / "b.csv"
    await write_table(path, house.database, Chosen(of, [books(house)]), CSV)
    assert [one["key"] for one in cells(path)] == ["b01", "b02", "b03", "b04", "b05"]


@pytest.mark.parametrize("form", [CSV, PARQUET], ids=["csv", "parquet"])
async def test_changes_come_in_their_order_with_tombstones(
    house: House, tmp_path: Path, form: Format
) -> None:
    of = await shelf(house)
    path = tmp_path / "out"
    first = await write_table(path, house.database, Chosen(of, [books(house)], after=2), form)
    assert (first.written, first.change) == (3, 5)
    await bury(house, of, "b01")
    second = await write_table(path, house.database, Chosen(of, [books(house)], after=first.change), form)
    assert (second.written, second.change) == (1, 900)
    nothing = await write_table(path, house.database, Chosen(of, [books(house)], after=900), form)
    assert (nothing.written, nothing.change) == (0, 0)


async def test_others_records_are_not_in_it(house: House, tmp_path: Path) -> None:
    one, two = await shelf(house, 3), await shelf(house, 4)
    path = tmp_path / "out.csv"
    for of, count in ((one, 3), (two, 4)):
        written = await write_table(path, house.database, Chosen(of, [books(house)]), CSV)
        assert written.written == count == len(cells(path))


async def test_the_old_file_stays_when_an_export_fails(house: House, tmp_path: Path) -> None:
    of = await shelf(house)
    path = tmp_path / "out.csv"
    path.write_text("what was there")

    def fails(_: int) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        await write_table(path, house.database, Chosen(of, [books(house)]), CSV, fails)
    assert path.read_text() == "what was there"
    assert [name for name in os.listdir(tmp_path) if name.endswith("part")] == []


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
async def test_ten_times_the_records_take_no_more_memory(house: House, tmp_path: Path, kind: str) -> None:
    made = await house.connection("shelf", "shelf.example/1")
    sync = await house.open(made.id, Request("api"))
    assert sync
    chosen = Chosen(made.id, [books(house)])

    async def export() -> int:
        tracemalloc.start()
        path = tmp_path / kind
        if kind == "ndjson":
            await write_lines(path, house.database, chosen)
        else:
            await write_table(path, house.database, chosen, Format(kind))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    await fill(house, made.id, 0, 3 * BATCH)
    await export()  # what is made once
    few = await export()
    await fill(house, made.id, 3 * BATCH, 30 * BATCH)
    # Parquet gathers rows up to a group, which these few do not fill.
    most = few * 1.5 if kind != "parquet" else few * 12
    assert await export() < most


async def fill(house: House, of: int, first: int, last: int) -> None:
    rows = [
        {"connection_id": of, "key": f"k{i:06}", "observed_at": now_, "stored_at": now_, "hash": b"h",
         "change": i + 1, "look_again_step": 0, "number": i, "body": '{"text": "%s"}' % ("x" * 500)}
        for now_ in [await house.database.time()]
        for i in range(first, last)
    ]  # fmt: skip
    async with house.database.write() as connection:
        await connection.execute(insert(books(house).table), rows)
