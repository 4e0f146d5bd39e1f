"""The database: reachable, of the right shape, sealed with our key, of the same time."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from config.logs import Redactor
from config.settings import Settings, vault_keys
from config.vault import Vault
from store.database import Database, clock
from store.instance import VAULT
from store.migrate import HEAD, shape
from store.schema import instance
from tidegate.doctor import server
from tidegate.doctor.clocks import compared
from tidegate.doctor.finding import Finding, Redact, fail, ok, warn


@asynccontextmanager
async def opened(
    settings: Settings, redact: Redact, now: Callable[[], datetime]
) -> AsyncIterator[tuple[Database | None, Sequence[Finding]]]:
    """The database if it can be used, and what was found. One that is not there yet is not made."""
    missing = missing_file(settings)
    if missing is not None:
        advice = "The first start makes it; `tidegate migrate` does only that."
        yield None, [warn("database", f"{missing} is not there yet.", advice)]
        return
    database = Database(settings.async_database_url.reveal(), settings.database_schema, pool=2)
    try:
        reached, found = await _reach(database, settings, redact, now)
        yield (database if reached else None), found
    finally:
        await database.close()


async def _reach(
    database: Database, settings: Settings, redact: Redact, now: Callable[[], datetime]
) -> tuple[bool, Sequence[Finding]]:
    """Whether the tables are there to be read, and what was found."""
    try:
        async with database.read() as connection:
            found = [ok("database", await _version(connection, database))]
            found.append(compared("clock", "The database", now(), await clock(connection)))
            found += await (
                server.sqlite(connection) if database.is_sqlite else server.postgresql(connection)
            )
        found.append(await server.writable(database))
        there = await shape(database)
        if there != HEAD:
            return False, [*found, _misfit(there, database)]
        found.append(ok("schema", f"The tables have the shape of this version ({HEAD})."))
        async with database.read() as connection:
            return True, [*found, await _key(connection, settings)]
    except (SQLAlchemyError, OSError, TimeoutError) as e:
        reason = str(e.orig) if isinstance(e, DBAPIError) else str(e) or type(e).__name__
        advice = "Check TIDEGATE_DATABASE_URL, and that the server runs and lets this machine in."
        if settings.database_url is None:
            advice = "Check the file and its folder; put a backup back if it is damaged."
        return False, [fail("database", f"It cannot be used: {redact(reason)}", advice)]


def missing_file(settings: Settings) -> Path | None:
    """The file of an SQLite database that was not made yet."""
    if not settings.is_sqlite:
        return None
    path = Path(unquote(urlsplit(settings.async_database_url.reveal()).path.removeprefix("/")))
    if settings.database_url is None:
        path = settings.data_dir / "tidegate.db"
    return None if path.is_file() else path


async def _version(connection: AsyncConnection, database: Database) -> str:
    asked = "SELECT sqlite_version()" if database.is_sqlite else "SHOW server_version"
    version = (await connection.execute(text(asked))).scalar_one()
    if database.is_sqlite:
        return f"SQLite {version} answers."
    return f"PostgreSQL {version} answers; everything is in its schema {database.schema}."


def _misfit(there: str | None, database: Database) -> Finding:
    if there is None:
        where = "" if database.is_sqlite else f" in the schema {database.schema}"
        return warn("schema", f"There are no tables of Tidegate{where} yet.", "Run `tidegate migrate`.")
    if there > HEAD:
        said = f"The tables are of a newer Tidegate ({there}); this version knows {HEAD}."
        return fail("schema", said, "Start the newer version, or put the backup of before its start back.")
    said = f"The tables have the shape {there}; this version needs {HEAD}."
    return fail("schema", said, "Run `tidegate migrate`.")


async def _key(connection: AsyncConnection, settings: Settings) -> Finding:
    query = select(instance.c.value).where(instance.c.name == VAULT)
    fingerprint = (await connection.execute(query)).scalar()
    if fingerprint is None:
        return ok("secret key", "No secret is stored yet.")
    if settings.secret_key is None and settings.database_url is not None:
        advice = "Give the key that all processes of this installation share."
        return fail("secret key", "TIDEGATE_SECRET_KEY is not set.", advice)
    path = settings.data_dir / "secret.key"
    if settings.secret_key is None and not path.is_file():
        said = f"{path} is gone, and with it what opens the stored credentials."
        return fail("secret key", said, "Put it back from the backup, or give TIDEGATE_SECRET_KEY.")
    if Vault(vault_keys(settings)).knows(str(fingerprint)):
        return ok("secret key", "It is the one that the secrets in the database were sealed with.")
    said = "The secrets in the database were sealed with another key: nothing will start."
    return fail("secret key", said, "Give the right key.")


def vault(settings: Settings, redactor: Redactor) -> Vault | None:
    """What opens the stored secrets; None where there is no key, which is then told by itself."""
    given = settings.secret_key is not None or (settings.data_dir / "secret.key").is_file()
    if not given or (settings.secret_key is None and settings.database_url is not None):
        return None
    return Vault(vault_keys(settings), redactor.register)
