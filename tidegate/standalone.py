"""A sync with nothing set up: the worker's own path, on a private database, into a file."""

import fcntl
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from sqlalchemy import select

from adapters.base import Adapter
from api import edits
from api.checks import Tried, try_unsaved
from api.wanted import Wanted, as_stored
from config.logs import Redactor
from config.secret import Secret
from config.settings import Settings
from config.vault import Vault
from scheduler.dispatch import Request, cancel_all, open_sync
from store import connections, credentials, instance
from store.connections import Connection
from store.database import Database, clock
from store.migrate import migrate
from store.schema import credentials as credentials_table
from store.streams import StreamTables
from store.syncs import Scope, Sync
from tidegate.compose import Ground, budget_alone, open_remotes, owner_name
from tidegate.contexts import offline
from tidegate.export import write_file
from tidegate.foreground import Told, follow, working
from tidegate.registry import adapters
from worker.budget import Clock
from worker.remote import Remotes
from worker.sync import Deps

EXPORTED = "exported"


class StateError(Exception):
    """The state file cannot be used. The message says why and what to do."""


class Login(msgspec.Struct, frozen=True):
    """As whom: with a user name and a secret basic, with a secret alone a token, else nobody."""

    username: str | None
    secret: Secret | None

    @property
    def kind(self) -> str:
        if self.secret is None:
            return "anonymous"
        return "pat" if self.username is None else "basic"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read, as whom, and where it goes. `state` makes it incremental."""

    system: str
    url: str
    params: Mapping[str, str]
    streams: Sequence[str]
    username: str | None
    secret: Secret | None
    scope: Scope
    output: Path
    state: Path | None
    patience: timedelta

    @property
    def login(self) -> Login:
        return Login(self.username, self.secret)


class Outcome(msgspec.Struct, frozen=True):
    """What the sync came to, and how many records were written; None if the file was left as it was."""

    sync: Sync
    written: int | None


async def sync_into_file(settings: Settings, redactor: Redactor, asked: Asked, told: Told) -> Outcome:
    """Read a remote into a file. Raises `StateError`, `BadTarget`, or a 422 problem for what cannot be."""
    async with _private(settings, redactor, asked.state) as ground:
        time = Clock(await ground.database.time())
        async with open_remotes(ground, budget_alone(settings, time)) as remotes:
            connection = await _connection(ground, remotes, asked)
            sync = await _open(ground.database, connection.id, asked.scope)
            # Spreads retries; no secret depends on it.
            deps = Deps(ground.database, ground.tables, remotes, owner_name(), lambda: False, Random())  # noqa: S311
            async with working(deps, sync, time):
                ended = await follow(ground.database, sync.id, time, asked.patience, told)
        if ended.state in ("failed", "cancelled") or (ended.finished_at is None and not ended.pages):
            return Outcome(ended, None)
        return Outcome(ended, await _write(ground, connection, asked))


async def try_remote(settings: Settings, redactor: Redactor, wanted: Wanted, login: Login) -> Tried:
    """What a remote answers, with nothing set up. Raises `BadTarget`, or a 422 problem for what cannot be."""
    async with _private(settings, redactor, None) as ground:
        time = Clock(await ground.database.time())
        async with open_remotes(ground, budget_alone(settings, time)) as remotes:
            remotes.adapter_of(wanted.system)
            credential_id = await _credential(ground, wanted.system, login)
            tried = replace(wanted, credential_id=credential_id)
            return await try_unsaved(offline(ground, remotes), tried)


@asynccontextmanager
async def _private(settings: Settings, redactor: Redactor, state: Path | None) -> AsyncIterator[Ground]:
    """A database of one connection: in the state file, or in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="tidegate-") if state is None else _held(state) as folder:
        path = state if state is not None else Path(folder) / "tidegate.db"
        known: Mapping[str, type[Adapter]] = adapters()
        tables = StreamTables(known.values())
        # The key is of this run alone: the secret is sealed anew in each, and does not outlive it.
        vault = Vault([Secret(secrets.token_urlsafe(32))], redactor.register)
        database = Database(f"sqlite+aiosqlite:///{quote(str(path.absolute()))}")
        try:
            await migrate(database, tables)
            yield Ground(settings, redactor, known, database, tables, vault)
            async with database.write() as connection:
                await connection.execute(credentials_table.update().values(secret=None))
        finally:
            await database.close()


@contextmanager
def _held(state: Path) -> Iterator[str]:
    """The state file for us alone. Raises `StateError`."""
    try:
        fresh = not state.exists()
        with state.open("ab") as held:
            if fresh:
                state.chmod(0o600)
            elif _starts_with(state) not in (b"", b"SQLite format 3"):
                raise StateError(f"{state} is not a state file of Tidegate; name another, or a new one.")
            with Path(f"{state}.lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield str(held.name)
            with suppress(FileNotFoundError):
                Path(f"{state}.lock").unlink()
    except BlockingIOError:
        raise StateError(f"Another sync is using {state}; wait for its end.") from None
    except OSError as e:
        raise StateError(f"{state} cannot be used: {e.strerror}") from None


def _starts_with(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(15)


async def _connection(ground: Ground, remotes: Remotes, asked: Asked) -> Connection:
    """The one connection of this database, as it is asked for now."""
    adapter = remotes.adapter_of(asked.system)
    context = offline(ground, remotes)
    credential_id = await _credential(ground, asked.system, asked.login)
    wanted = Wanted(
        name=asked.system,
        system=asked.system,
        url=asked.url,
        credential_id=credential_id,
        frequency="manually",
        streams=list(asked.streams) or None,
        params=asked.params,
    )
    async with ground.database.read() as connection:
        known = await connections.listed(connection, 0, 1)
    if not known:
        return await edits.make(context, wanted, None)
    before = known[0]
    canonical = adapter.parse(asked.url, asked.params).canonical
    if (before.system, before.canonical) != (asked.system, canonical):
        raise StateError(f"{asked.state} belongs to {before.url}; name another state file for {asked.url}.")
    if as_stored(before) == wanted:
        return before
    return await edits.edit(context, before.id, lambda _: wanted)


async def _credential(ground: Ground, system: str, login: Login) -> int | None:
    if login.secret is None:
        return None
    values = {"name": login.kind, "system": system, "kind": login.kind, "username": login.username}
    async with ground.database.write() as connection:
        now = await clock(connection)
        query = select(credentials_table.c.id).order_by(credentials_table.c.id)
        known = (await connection.execute(query.limit(1))).scalar()
        found = int(known) if known is not None else await credentials.add(connection, values, now)
        sealed = ground.vault.seal(login.secret.reveal(), credentials.place(found))
        await credentials.change(connection, found, {**values, "secret": sealed, "updated_at": now})
    return found


async def _open(database: Database, connection_id: int, scope: Scope) -> Sync:
    """Open the sync; what an earlier run left open is over, for nobody else works here."""
    async with database.write() as connection:
        now = await clock(connection)
        await connections.locked(connection, connection_id)
        await cancel_all(connection, connection_id, now)
        return (await open_sync(connection, connection_id, Request("cli", scope), now)).sync


async def _write(ground: Ground, of: Connection, asked: Asked) -> int:
    """The file, and with a state how far it goes."""
    database, tables = ground.database, ground.tables.of(of.system)
    async with database.write() as connection:
        row = await connections.locked(connection, of.id)
        known = await instance.settle(connection, EXPORTED, "")
    assert row is not None
    written = await write_file(asked.output, database, tables, of.id, int(known) if known else None)
    async with database.write() as connection:
        await instance.change(connection, EXPORTED, str(row["change_sequence"]))
    return written
