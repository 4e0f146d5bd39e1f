"""Copied records in a file, which is replaced whole or not at all; in constant memory, by short reads."""

import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from api.records import line
from store import reading, typed
from store.database import Database
from store.reading import Stored
from store.streams import StreamTable
from store.typed import Field, Row
from tidegate.formats import Format, opened

BATCH = 500
STDOUT = Path("-")

#: Is told how many records are written.
Told = Callable[[int], None]


class Chosen(msgspec.Struct, frozen=True):
    """Which records: with `after` what changed since that number, tombstones too; else what is alive, by
    stream and key, and with `deleted` the tombstones as well."""

    connection_id: int
    tables: Sequence[StreamTable]
    after: int | None = None
    deleted: bool = False


async def write_file(
    path: Path, database: Database, tables: Sequence[StreamTable], connection_id: int, after: int | None
) -> int:
    """Write the records of a connection as lines of JSON; how many."""
    return (await write_lines(path, database, Chosen(connection_id, tables, after))).written


class Written(msgspec.Struct, frozen=True):
    """How many records a file holds, and the number of the latest change among them, 0 if there is none."""

    written: int
    change: int


async def write_lines(path: Path, database: Database, chosen: Chosen, told: Told | None = None) -> Written:
    """Write records as lines of JSON. The old file stays until the new one is complete."""
    written = change = 0
    with replacing(path) as file:
        async with aclosing(_stored(database, chosen)) as batches:
            async for batch in batches:
                file.writelines(map(line, batch))
                written += len(batch)
                change = max([change, *(one.change for one in batch)])
                if told is not None:
                    told(written)
    return Written(written, change)


async def write_table(
    path: Path, database: Database, chosen: Chosen, form: Format, told: Told | None = None
) -> Written:
    """Write the records of one stream as a table. The old file stays until the new one is complete."""
    (table,) = chosen.tables
    fields = typed.fields_of(table, body=form.with_body)
    written = change = 0
    with replacing(path) as file, opened(form, file, fields) as writer:
        async with aclosing(_rows(database, chosen, table, fields)) as batches:
            async for batch in batches:
                writer.write(batch)
                written += len(batch)
                change = max([change, *(int(str(row[typed.CHANGE])) for row in batch)])
                if told is not None:
                    told(written)
    return Written(written, change)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end, if all went well; `-` is the standard output."""
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


async def _stored(database: Database, chosen: Chosen) -> AsyncGenerator[Sequence[Stored], None]:
    if chosen.after is not None:
        after = chosen.after
        while True:
            async with database.read() as connection:
                batch = await reading.by_change(connection, chosen.tables, chosen.connection_id, after, BATCH)
            yield batch
            if len(batch) < BATCH:
                return
            after = batch[-1].change
    for table in sorted(chosen.tables, key=lambda table: table.stream.name):
        last: str | None = None
        while True:
            async with database.read() as connection:
                batch = await reading.by_key(
                    connection, table, chosen.connection_id, last, BATCH, deleted=chosen.deleted
                )
            yield batch
            if len(batch) < BATCH:
                break
            last = batch[-1].key


async def _rows(
    database: Database, chosen: Chosen, table: StreamTable, fields: Sequence[Field]
) -> AsyncGenerator[Sequence[Row], None]:
    of, body = chosen.connection_id, typed.BODY in fields
    last: str | None = None
    after = chosen.after
    while True:
        async with database.read() as connection:
            if after is not None:
                batch = await typed.by_change(connection, table, of, after, BATCH, body=body)
            else:
                batch = await typed.by_key(
                    connection, table, of, last, BATCH, body=body, deleted=chosen.deleted
                )
        yield batch
        if len(batch) < BATCH:
            return
        last = str(batch[-1][typed.KEY])
        after = None if after is None else int(str(batch[-1][typed.CHANGE]))
