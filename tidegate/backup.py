"""Backups: a ZIP file with each table as lines of JSON, which fits SQLite and PostgreSQL alike.

The secret key is not in it: stored secrets stay sealed, and the fingerprint says which key opens them.
"""

import os
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Table

from config.logs import Redactor
from config.settings import Settings, SettingsError, keys_now
from config.vault import Vault
from store import dump, instance
from store.database import Database, clock
from store.dump import DumpError
from store.migrate import HEAD, migrate
from store.streams import StreamTables, analyse
from tidegate.compose import Ground
from tidegate.registry import adapters

FORMAT = 1
MANIFEST = "tidegate.json"

#: Hears how many rows are done, and of how many.
Told = Callable[[int, int | None], None]


class BackupError(Exception):
    """It cannot be made or put back: the message says why and what to do."""


class Part(msgspec.Struct, frozen=True):
    """One table: its columns, in the order of each line, and how many lines there are."""

    columns: Sequence[str]
    rows: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is. `schema` is the shape of the tables, `key` the fingerprint of the secret key."""

    format: int
    schema: str
    made_at: datetime
    key: str
    ids: Mapping[str, int]
    tables: Mapping[str, Part]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.tables.values())


class Made(msgspec.Struct, frozen=True):
    """A backup that was made. `left_out` are tables of records whose adapter is not installed."""

    manifest: Manifest
    left_out: Sequence[str]
    size: int


def _tell(told: Told, before: int, total: int, count: int) -> None:
    told(before + count, total)


def _silent(_done: int, _total: int | None) -> None:
    """Nobody is told how far it is."""


async def make(ground: Ground, path: Path, told: Told = _silent) -> Made:
    """Write a backup of this moment, whatever runs meanwhile. The file appears when it is complete.

    `told` hears how many rows are written, and of how many.
    """
    tables = dump.tables_of(ground.tables)
    parts = {}
    with (
        _replacing(path) as draft,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as file,
    ):
        async with dump.moment(ground.database) as connection:
            made_at = await clock(connection)
            left_out = await dump.strangers(connection, tables)
            key = await instance.get(connection, instance.VAULT) or ground.vault.fingerprint
            total, done = await dump.count(connection, tables), 0
            for table in tables:
                before = done
                rows = dump.rows(connection, table)
                count = await _write(file, table, rows, partial(_tell, told, before, total))
                done += count
                parts[str(table.name)] = Part([str(column.name) for column in table.columns], count)
            ids = await dump.high_ids(connection, tables)
        manifest = Manifest(format=FORMAT, schema=HEAD, made_at=made_at, key=key, ids=ids, tables=parts)
        file.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        size = file.fp.tell() if file.fp else 0
    return Made(manifest, left_out, size)


async def _write(
    file: zipfile.ZipFile,
    table: Table,
    found: AsyncIterator[Sequence[dump.Row]],
    told: Callable[[int], None],
) -> int:
    count = 0
    encode = msgspec.json.Encoder().encode_lines
    with file.open(f"{table.name}.ndjson", "w", force_zip64=True) as lines:
        async for batch in found:
            lines.write(encode(batch))
            count += len(batch)
            told(count)
    return count


async def restore(settings: Settings, redactor: Redactor, path: Path, told: Told = _silent) -> Manifest:
    """Put a backup into an empty database, which is made if it is not there: all of it, or nothing.

    Raises `BackupError`, or `SettingsError` without the key that the secrets in it were sealed with.
    """
    with _opened(path) as file:
        manifest = _manifest(file, path)
        _require_key(settings, redactor, manifest)
        async with _target(settings) as (database, tables):
            try:
                await _fill(database, tables, file, manifest, told)
            except (DumpError, zipfile.BadZipFile, zlib.error, msgspec.DecodeError, ValueError) as e:
                raise BackupError(f"{path} was not restored, and nothing was changed: {e}.") from None
            for stream in tables.all():
                await analyse(database, stream)
    return manifest


async def _fill(
    database: Database, streams: StreamTables, file: zipfile.ZipFile, manifest: Manifest, told: Told
) -> None:
    tables = dump.tables_of(streams)
    unknown = [
        name for name, part in manifest.tables.items() if part.rows and name not in {t.name for t in tables}
    ]
    if unknown:
        raise DumpError(f"no adapter here knows {', '.join(unknown)}: install what was installed there")
    done = 0
    async with database.write() as connection:
        await dump.require_empty(connection, tables)
        for table in tables:
            part = manifest.tables.get(table.name)
            if part is None:
                continue
            count = 0
            for batch in dump.batches(_read(file, table, part)):
                await dump.put(connection, table, batch)
                count += len(batch)
                told(done + count, manifest.rows)
            done += count
            if count != part.rows:
                raise DumpError(f"{table.name} has {count} rows instead of {part.rows}")
        await dump.settle(connection, tables, manifest.ids, manifest.key)


def _read(file: zipfile.ZipFile, table: Table, part: Part) -> Iterator[dict[str, Any]]:
    read = dump.reader(table, part.columns)
    decode = msgspec.json.Decoder(list[Any]).decode
    with file.open(f"{table.name}.ndjson") as lines:
        for line in lines:
            yield read(decode(line))


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        file = zipfile.ZipFile(path)
    except OSError as e:
        raise BackupError(f"{path} cannot be read: {e.strerror}.") from None
    except zipfile.BadZipFile:
        raise BackupError(f"{path} is no backup of Tidegate, or it is not complete.") from None
    with file:
        yield file


def _manifest(file: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(file.read(MANIFEST), type=Manifest)
    except (KeyError, zipfile.BadZipFile, zlib.error, msgspec.DecodeError):
        raise BackupError(f"{path} is no backup of Tidegate, or it is damaged.") from None
    if (manifest.format, manifest.schema) != (FORMAT, HEAD):
        raise BackupError(
            f"{path} was made by another version (shape {manifest.schema}, here {HEAD}): restore it with "
            "that version, and then start this one, which brings the database to its shape."
        )
    return manifest


def _require_key(settings: Settings, redactor: Redactor, manifest: Manifest) -> None:
    keys = keys_now(settings)
    for key in keys:
        redactor.register(key.reveal())
    if keys and Vault(keys).knows(manifest.key):
        return
    where = "TIDEGATE_SECRET_KEY" if settings.secret_key or settings.database_url else "DATA_DIR/secret.key"
    raise SettingsError(
        f"{where}: the secrets in this backup were sealed with another key, which is not in the backup. Give "
        "the key of the installation that it was made of; nothing was changed."
    )


@asynccontextmanager
async def _target(settings: Settings) -> AsyncIterator[tuple[Database, StreamTables]]:
    """The database that is to be filled, in the shape of this version."""
    tables = StreamTables(adapters().values())
    database = Database(settings.async_database_url.reveal(), settings.database_schema)
    try:
        await migrate(database, tables)
        yield database, tables
    finally:
        await database.close()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file for its owner alone, which takes the place of `path` at the end, if all went well."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as e:
        raise BackupError(f"{path} cannot be written: {e.strerror}.") from None
    draft = Path(name)
    os.close(handle)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as e:
        raise BackupError(f"{path} cannot be written: {e.strerror}.") from None
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
