"""Parquet files, by pyarrow, which comes with the extra `parquet`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from store.typed import Field, Row

#: Rows are written in groups: of so many, or of so many characters of text.
GROUP_ROWS = 20_000
GROUP_CHARACTERS = 32 * 1024 * 1024

TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("ms", tz="UTC"),
}


class ParquetFiles:
    """Opens writers of Parquet."""

    @staticmethod
    @contextmanager
    def opened(file: BinaryIO, fields: Sequence[Field]) -> Iterator["Groups"]:
        """A writer into this file; complete at the end of the context."""
        schema = pa.schema([pa.field(field.name, TYPES[field.type]) for field in fields])
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            groups = Groups(writer, schema)
            yield groups
            groups.flush()


class Groups:
    """Gathers rows and writes them a group at a time."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._rows: list[Row] = []
        self._characters = 0

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._rows.append(row)
            self._characters += sum(len(value) for value in row if isinstance(value, str))
            if len(self._rows) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
                self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        columns = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self._rows.clear()
        self._characters = 0
