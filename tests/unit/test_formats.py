"""Tables in files: what a spreadsheet, a shell and a reader of columns find in them."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from store.typed import Field, Row
from tidegate import parquet
from tidegate.formats import Format, opened

FIELDS = (
    Field("key", "text"),
    Field("number", "integer"),
    Field("ratio", "number"),
    Field("done", "boolean"),
    Field("at", "time"),
)
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
ROWS: Sequence[Row] = [
    ('a,\n"b"', -3, 1.5, True, AT),
    ("é 🐢", None, None, False, None),
    (None, 0, 0.0, None, AT),
]


def written(form: Format, rows: Sequence[Row]) -> io.BytesIO:
    file = io.BytesIO()
    with opened(form, file, FIELDS) as writer:
        writer.write(rows[:1])
        writer.write(rows[1:])
    file.seek(0)
    return file


def cells(rows: Sequence[Row], *, exact: bool = False) -> list[list[str]]:
    text = written(Format("csv", exact), rows).getvalue().decode("utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv_has_a_header_and_every_value() -> None:
    assert cells(ROWS) == [
        ["key", "number", "ratio", "done", "at"],
        ['a,\n"b"', "-3", "1.5", "true", "2026-01-02T03:04:05.678Z"],
        ["é 🐢", "", "", "false", ""],
        ["", "0", "0.0", "", "2026-01-02T03:04:05.678Z"],
    ]


def test_csv_without_rows_is_a_header() -> None:
    assert cells([]) == [["key", "number", "ratio", "done", "at"]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe_unless_exact(text: str) -> None:
    row: Row = (text, -1, -1.0, True, AT)
    assert cells([row])[1][:3] == [f"'{text}", "-1", "-1.0"]
    assert cells([row], exact=True)[1][0] == text


def test_half_a_character_does_not_stop_an_export() -> None:
    assert cells([("\ud800x", 1, 1.0, True, AT)])[1][0] == "?x"


def test_parquet_keeps_types_and_values() -> None:
    table = pq.read_table(written(Format("parquet"), ROWS))
    assert [str(column.type) for column in table.columns] == [
        "string", "int64", "double", "bool", "timestamp[ms, tz=UTC]",
    ]  # fmt: skip
    assert [tuple(row.values()) for row in table.to_pylist()] == list(ROWS)


def test_parquet_without_rows_has_its_columns() -> None:
    assert pq.read_table(written(Format("parquet"), [])).column_names == [field.name for field in FIELDS]


def test_parquet_is_written_in_groups_so_that_memory_stays_flat() -> None:
    rows: list[Row] = [("k", i, 0.0, True, AT) for i in range(parquet.GROUP_ROWS * 2 + 1)]
    read = pq.ParquetFile(written(Format("parquet"), rows)).metadata
    assert [read.row_group(i).num_rows for i in range(read.num_row_groups)] == [
        parquet.GROUP_ROWS, parquet.GROUP_ROWS, 1,
    ]  # fmt: skip
    long = "x" * (parquet.GROUP_CHARACTERS // 2 + 1)
    read = pq.ParquetFile(written(Format("parquet"), [(long, 1, 0.0, True, AT)] * 3)).metadata
    assert [read.row_group(i).num_rows for i in range(read.num_row_groups)] == [2, 1]
