"""Copied records as lines of JSON in a file, which is replaced whole or not at all."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from api.records import line
from store import reading
from store.database import Database
from store.reading import Stored
from store.streams import StreamTable

BATCH = 500


async def write_file(
    path: Path, database: Database, tables: Sequence[StreamTable], connection_id: int, after: int | None
) -> int:
    """Write the records of a connection; how many. The old file stays until the new one is complete.

    Without `after` all living records, by stream and key; with it what changed since, tombstones too.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    written = 0
    try:
        with draft.open("wb") as file:
            if after is None:
                batches = _living(database, tables, connection_id)
            else:
                batches = _changed(database, tables, connection_id, after)
            async for batch in batches:
                file.writelines(map(line, batch))
                written += len(batch)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    return written


async def _living(
    database: Database, tables: Sequence[StreamTable], connection_id: int
) -> AsyncIterator[Sequence[Stored]]:
    for table in sorted(tables, key=lambda table: table.stream.name):
        after: str | None = None
        while True:
            async with database.read() as connection:
                batch = await reading.by_key(connection, table, connection_id, after, BATCH, deleted=False)
            yield batch
            if len(batch) < BATCH:
                break
            after = batch[-1].key


async def _changed(
    database: Database, tables: Sequence[StreamTable], connection_id: int, after: int
) -> AsyncIterator[Sequence[Stored]]:
    while True:
        async with database.read() as connection:
            batch = await reading.by_change(connection, tables, connection_id, after, BATCH)
        yield batch
        if len(batch) < BATCH:
            return
        after = batch[-1].change
