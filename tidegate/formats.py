"""Tables in files: CSV for spreadsheets and shells, Parquet for everything that reads columns."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO, Protocol

import msgspec

from store.database import to_text
from store.typed import Field, Row

#: A text that begins with one of these is a formula to a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class MissingExtra(Exception):
    """What this needs is not installed. The message says how to get it."""


class Format(msgspec.Struct, frozen=True):
    """How a table is written. `exact` leaves texts in CSV as they are, even if they look like formulas."""

    name: str
    exact: bool = False

    @property
    def with_body(self) -> bool:
        """Whether the remote's JSON is a column: not in what people look at."""
        return self.name == "parquet"


class Writer(Protocol):
    """Takes rows, in the order of its fields."""

    def write(self, rows: Sequence[Row]) -> None: ...


@contextmanager
def opened(form: Format, file: BinaryIO, fields: Sequence[Field]) -> Iterator[Writer]:
    """A writer into this file; complete at the end of the context. Raises `MissingExtra`."""
    if form.name == "csv":
        yield Csv(file, fields, exact=form.exact)
        return
    with parquet().opened(file, fields) as writer:
        yield writer


class _Parquet(Protocol):
    """What `tidegate/parquet.py` offers, which cannot be imported without the extra."""

    @staticmethod
    @contextmanager
    def opened(file: BinaryIO, fields: Sequence[Field]) -> Iterator[Writer]: ...


def parquet() -> _Parquet:
    """The writer of Parquet. Raises `MissingExtra`."""
    try:
        from tidegate.parquet import ParquetFiles  # noqa: PLC0415 - of an extra
    except ImportError as e:
        raise MissingExtra(
            "Parquet needs the extra tidegate[parquet], which is not installed here: "
            f"pip install 'tidegate[parquet]' ({e})."
        ) from None
    return ParquetFiles


class Csv:
    """RFC 4180 in UTF-8, with a header. Times are UTC, `2026-01-02T03:04:05.000Z`; what is null is empty.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, unless `exact`.
    """

    def __init__(self, file: BinaryIO, fields: Sequence[Field], *, exact: bool) -> None:
        self._file = file
        self._exact = exact
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text, lineterminator="\r\n")
        self._flush([[field.name for field in fields]])

    def write(self, rows: Sequence[Row]) -> None:
        self._flush([[self._cell(value) for value in row] for row in rows])

    def _flush(self, cells: Sequence[Sequence[object]]) -> None:
        self._csv.writerows(cells)
        # Half a character, as a remote's JSON may name it, has no bytes in UTF-8.
        self._file.write(self._text.getvalue().encode("utf-8", "replace"))
        self._text.seek(0)
        self._text.truncate()

    def _cell(self, value: str | int | float | bool | datetime | None) -> object:
        if isinstance(value, datetime):
            return to_text(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str) and not self._exact and value.startswith(FORMULA):
            return f"'{value}"
        return value
