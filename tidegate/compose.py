"""From settings to running parts: opened in order, and closed in the reverse of it."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from sqlalchemy.exc import DBAPIError

from adapters.base import Adapter
from adapters.budget import Ceiling
from adapters.guard import AddressGuard
from adapters.http import Budget, LocalBudget, open_session
from config import logs
from config.logs import Redactor
from config.secret import Secret
from config.settings import Settings, SettingsError, keys_now, open_data_dir, vault_keys
from config.vault import Vault
from store import instance
from store.database import Database
from store.migrate import MisfitError, migrate, misfit, shape
from store.streams import StreamTables
from tidegate.redis_policy import refuse_dropping
from tidegate.redis_server import RedisServer
from tidegate.registry import adapters
from worker.budget import Clock, RedisBudget
from worker.queue import Queue, connect
from worker.registrar import Registrar
from worker.remote import Remotes
from worker.sync import Deps


class Ground(msgspec.Struct, frozen=True):
    """What every command stands on: the database in its present shape, and the vault of its secrets."""

    settings: Settings
    redactor: Redactor
    adapters: Mapping[str, type[Adapter]]
    database: Database
    tables: StreamTables
    vault: Vault


class Parts(msgspec.Struct, frozen=True):
    """What a role is made of. `owner` names this process; `clock` is the database's time."""

    ground: Ground
    owner: str
    redis_url: str
    redis: ArqRedis
    queue: Queue
    clock: Clock
    remotes: Remotes

    @property
    def settings(self) -> Settings:
        return self.ground.settings

    @property
    def database(self) -> Database:
        return self.ground.database

    @property
    def registrar(self) -> Registrar:
        ground = self.ground
        return Registrar(ground.database, self.remotes, ground.vault, self.settings.reached_at)

    def deps(self, stopping: Callable[[], bool]) -> Deps:
        """What the worker's slices may touch."""
        # Only spreads retries; nothing secret depends on it.
        return Deps(
            self.database,
            self.ground.tables,
            self.remotes,
            self.owner,
            stopping,
            Random(),  # noqa: S311
            redactor=self.ground.redactor,
        )


def start_logs(settings: Settings) -> Redactor:
    """Logs to stderr, as JSON unless that is a terminal; whatever is secret in the settings is masked."""
    redactor = Redactor()
    for text in settings.secret_texts():
        redactor.register(text)
    logs.configure(settings.log_level, sys.stderr, not sys.stderr.isatty(), redactor)
    return redactor


@asynccontextmanager
async def open_ground(settings: Settings, redactor: Redactor) -> AsyncIterator[Ground]:
    """The database, migrated. Raises `SettingsError` for one that cannot be used as it is set up."""
    _check_folder(settings)
    vault = _vault(settings, redactor)
    known = adapters()
    tables = StreamTables(known.values())
    database = Database(settings.async_database_url.reveal(), settings.database_schema)
    try:
        await _prepare(settings, database, tables, vault)
        yield Ground(settings, redactor, known, database, tables, vault)
    finally:
        await database.close()


async def _prepare(settings: Settings, database: Database, tables: StreamTables, vault: Vault) -> None:
    try:
        if (wrong := misfit(await shape(database), may_migrate=settings.migrate)) is not None:
            raise SettingsError(wrong)
        await migrate(database, tables)
        async with database.write() as connection:
            fingerprint = await instance.settle(connection, instance.VAULT, vault.fingerprint)
    except MisfitError as e:
        raise SettingsError(str(e)) from None
    except (DBAPIError, OSError) as e:
        reason = str(e.orig) if isinstance(e, DBAPIError) else e.strerror or str(e)
        where = "TIDEGATE_DATABASE_URL" if settings.database_url else str(settings.data_dir / "tidegate.db")
        raise SettingsError(f"The database cannot be used ({where}): {reason}") from None
    if not vault.seal_with(fingerprint):
        origin = "TIDEGATE_SECRET_KEY" if settings.secret_key else str(settings.data_dir / "secret.key")
        raise SettingsError(
            f"{origin}: this is not the key that the secrets in this database were sealed with. "
            "Give the right key; nothing was changed."
        )


def _check_folder(settings: Settings) -> None:
    folder = open_data_dir(settings)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"TIDEGATE_DATA_DIR: {folder} is not writable for this user")


def _vault(settings: Settings, redactor: Redactor) -> Vault:
    def known(keys: Sequence[Secret]) -> Sequence[Secret]:
        for key in keys:
            redactor.register(key.reveal())
        return keys

    return Vault(known(vault_keys(settings)), redactor.register, lambda: known(keys_now(settings)))


@asynccontextmanager
async def open_redis(settings: Settings) -> AsyncIterator[str]:
    """The URL of Redis: the one that is set, else of the embedded one, which runs meanwhile.

    Raises `SettingsError` for one that drops keys by itself.
    """
    if settings.redis_url is not None:
        await refuse_dropping(settings.redis_url.reveal())
        yield settings.redis_url.reveal()
        return
    async with RedisServer(open_data_dir(settings)) as server:
        yield server.url


@asynccontextmanager
async def open_remotes(ground: Ground, budget: Budget) -> AsyncIterator[Remotes]:
    """The way to the remotes, within this budget. The address guard holds for every command alike."""
    settings = ground.settings
    proxy = settings.proxy.reveal() if settings.proxy else None
    guard = AddressGuard(settings.allow_networks)
    ca_file = str(settings.ca_file) if settings.ca_file else None
    async with open_session(guard, ca_file, proxied=proxy is not None) as session:
        yield Remotes(ground.adapters, session, budget, ground.vault, ground.database, proxy, guard)


def owner_name() -> str:
    """What tells this process from every other."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


def _ceiling(settings: Settings) -> Ceiling:
    return Ceiling(settings.host_requests, settings.host_rate)


def budget_alone(settings: Settings, clock: Callable[[], datetime]) -> LocalBudget:
    """The budget of a command that works by itself, within what the operator allows."""
    return LocalBudget(clock, ceiling=_ceiling(settings))


def _shared(ground: Ground, redis: ArqRedis, clock: Clock) -> RedisBudget:
    return RedisBudget(redis, ground.database, clock, ceiling=_ceiling(ground.settings))


@asynccontextmanager
async def open_parts(ground: Ground, redis_url: str) -> AsyncIterator[Parts]:
    """Everything that the roles are made of, on a Redis."""
    redis = connect(redis_url)
    try:
        clock = Clock(await ground.database.time())
        async with (
            open_remotes(ground, _shared(ground, redis, clock)) as remotes,
            remotes.counts.written(ground.database),
        ):
            yield Parts(ground, owner_name(), redis_url, redis, Queue(redis), clock, remotes)
    finally:
        await redis.aclose()


@asynccontextmanager
async def open_all(settings: Settings, redactor: Redactor) -> AsyncIterator[Parts]:
    """Database, Redis and all that stands on them."""
    async with (
        open_ground(settings, redactor) as ground,
        open_redis(settings) as redis_url,
        open_parts(ground, redis_url) as parts,
    ):
        yield parts
