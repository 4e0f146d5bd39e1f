"""A process says that it is there, in which roles, for as long as it works."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from config.settings import SettingsError
from config.vault import Vault, VaultError
from store import instance, processes
from store.database import Database, clock
from store.migrate import HEAD, misfit, shape_seen
from tidegate.keeping import Roles
from worker.budget import Clock

log = structlog.get_logger()

#: What an installation needs for its connections to be kept in step.
ROLES = ("api", "scheduler", "worker")
_NEWER = "A newer version has changed the tables. This process works on; replace it by that version soon."


@asynccontextmanager
async def present(
    database: Database, owner: str, roles: Roles, time: Clock, vault: Vault
) -> AsyncIterator[None]:
    """Be seen in those of these roles that work, from the first line of the context to its end.

    Keeps `time` right, too, and `vault` sealing with the key that the database names.
    """

    known = HEAD

    async def beat() -> None:
        nonlocal known
        there = await _beat(database, owner, roles.working, time, vault)
        if there is not None and there > max(HEAD, known):
            log.warning("schema.newer", there=there, known=HEAD, hint=_NEWER)
        known = there or HEAD

    await beat()
    beating = asyncio.create_task(_keep_beating(beat))
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        try:
            async with database.beside() as connection:
                await processes.leave(connection, owner)
        except (SQLAlchemyError, OSError) as e:
            log.warning("presence.not_ended", error=str(e))


async def _keep_beating(beat: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(processes.BEAT_SECONDS)
        try:
            await beat()
        except (SQLAlchemyError, OSError) as e:
            log.warning("presence.beat_failed", error=str(e))


async def _beat(
    database: Database, owner: str, roles: Sequence[str], time: Clock, vault: Vault
) -> str | None:
    """Returns the shape that the database has by now."""
    _look_for_keys(vault)
    async with database.beside() as connection:
        fingerprint = await instance.get(connection, instance.VAULT)
        if fingerprint is not None and not vault.seal_with(fingerprint):
            log.error("presence.key_missing", hint="Restart with the secret key that this database names.")
        host, keys = socket.gethostname(), ",".join(vault.key_ids)
        await processes.beat(connection, owner, roles, host, os.getpid(), keys)
        time.set(await clock(connection))
        return await shape_seen(connection)


def _look_for_keys(vault: Vault) -> None:
    """A key that was added is known before anything is sealed with it."""
    try:
        vault.refresh()
    except (SettingsError, VaultError) as e:
        log.warning("presence.keys_not_read", error=str(e))


def readiness(
    database: Database, needed: Sequence[str], here: Roles
) -> Callable[[], Awaitable[Mapping[str, bool]]]:
    """Asks the database which of the roles are running, and this process what of it fails."""

    async def ready() -> Mapping[str, bool]:
        async with database.read() as connection:
            missing = await processes.missing(connection, needed)
            there = await shape_seen(connection)
        roles = {role: role not in missing for role in needed}
        roles |= dict.fromkeys(here.failing, False)
        # A newer one is no hindrance to whoever runs already: a release adds to what the one before knows.
        if there is None or there < HEAD:
            roles[misfit(there, may_migrate=False) or ""] = False
        return roles

    return ready
