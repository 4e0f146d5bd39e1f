"""Tidegate's own path: a connection, the one door, and slices until the sync has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from types import MappingProxyType
from typing import Any

from adapters.guard import AddressGuard
from adapters.http import LocalBudget, open_session
from adapters.jira import Jira
from bench.remote import EMAIL, TOKEN
from config.secret import Secret
from config.vault import Vault
from scheduler.dispatch import Request, open_sync
from store import connections, credentials, syncs
from store.database import Database, clock
from store.migrate import migrate
from store.streams import StreamTables
from store.syncs import Scope, Sync
from worker.remote import Adapters, Remotes
from worker.sync import Deps, run_slice


class Product:
    """A worker's parts on one database."""

    def __init__(self, database: Database, deps: Deps, vault: Vault) -> None:
        self._database = database
        self._deps = deps
        self._vault = vault

    async def connect(
        self,
        url: str,
        system: str = "jira",
        kind: str = "basic",
        username: str | None = EMAIL,
        secret: str = TOKEN,
        streams: list[str] | None = None,
    ) -> int:
        """A connection, to the benchmarks' Jira unless another remote is named; its id."""
        async with self._database.write() as connection:
            now = await clock(connection)
            values = {"name": "bench", "system": system, "kind": kind, "username": username}
            credential = await credentials.add(connection, values, now)
            sealed = self._vault.seal(secret, credentials.place(credential))
            await credentials.change(connection, credential, {"secret": sealed})
            made: dict[str, Any] = {
                "name": url,
                "system": system,
                "url": url,
                "canonical": self._deps.remotes.adapter_of(system).parse(url, {}).canonical,
                "streams": streams,
                "credential_id": credential,
                "frequency": "manually",
                "callback_token": f"{url} {credential}",
            }
            return await connections.add(connection, made, now)

    async def sync(self, connection_id: int, scope: Scope = "incremental") -> Sync:
        """One sync from door to end."""
        async with self._database.write() as connection:
            request = Request("api", scope)
            opened = await open_sync(connection, connection_id, request, await clock(connection))
        rings = await run_slice(self._deps, opened.sync.id)
        while rings:
            rings = await run_slice(self._deps, rings[0].sync_id)
        async with self._database.read() as connection:
            ended = await syncs.get(connection, opened.sync.id)
        assert ended is not None
        if ended.state != "succeeded":
            raise RuntimeError(f"the sync is {ended.state}: {ended.error}")
        return ended


@asynccontextmanager
async def open_product(
    database: Database, adapters: Adapters = MappingProxyType({"jira": Jira})
) -> AsyncIterator[Product]:
    """A migrated database and everything that a worker needs."""
    tables = StreamTables(adapters.values())
    await migrate(database, tables)
    vault = Vault([Secret("a key for benchmarks only")])
    async with open_session(AddressGuard(["127.0.0.1/32"])) as session:
        budget = LocalBudget(lambda: datetime.now(UTC))
        remotes = Remotes(adapters, session, budget, vault, database)
        deps = Deps(database, tables, remotes, "bench", lambda: False, Random(1))
        yield Product(database, deps, vault)
    await asyncio.sleep(0)
