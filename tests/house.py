"""A whole Tidegate without Redis: store, door and worker over real remotes, run slice by slice."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
from sqlalchemy import select

from adapters.azure import Azure
from adapters.base import Adapter
from adapters.guard import AddressGuard
from adapters.http import LocalBudget, open_session, utc_now
from adapters.jenkins import Jenkins
from adapters.jira import Jira
from config.secret import Secret
from config.vault import Vault
from scheduler.dispatch import Request, open_sync
from store import connections, credentials, syncs
from store.connections import Connection
from store.database import Database, clock
from store.migrate import migrate
from store.schema import outbox as outbox_table
from store.schema import quarantine
from store.streams import StreamTables
from store.syncs import Ring, Sync
from tests.support import LOOPBACK
from worker.remote import Remotes
from worker.sync import Deps, run_slice

ADAPTERS: Mapping[str, type[Adapter]] = {"jira": Jira, "jenkins": Jenkins, "azure": Azure}
SLICES_AT_MOST = 200


class House:
    """One worker's view, with short cuts for tests. Nothing in it stands in for the real thing."""

    def __init__(self, database: Database, deps: Deps, vault: Vault) -> None:
        self.database = database
        self.deps = deps
        self.vault = vault

    async def credential(self, system: str, kind: str, username: str | None, secret: str) -> int:
        async with self.database.write() as connection:
            now = await clock(connection)
            values = {"name": kind, "system": system, "kind": kind, "username": username}
            made = await credentials.add(connection, values, now)
            sealed = self.vault.seal(secret, credentials.place(made))
            await credentials.change(connection, made, {"secret": sealed})
        return made

    async def connection(
        self, system: str, url: str, credential_id: int | None = None, **values: object
    ) -> Connection:
        """A connection that is synced only when asked, unless `frequency` says otherwise."""
        kind = self.deps.remotes.adapter_of(system)
        params = values.get("params", {})
        assert isinstance(params, dict)
        defaults = {
            "name": system,
            "system": system,
            "url": url,
            "canonical": kind.parse(url, params).canonical,
            "credential_id": credential_id,
            "frequency": "manually",
            "callback_token": f"{system}-{url}-{len(values)}",
        }
        async with self.database.write() as connection:
            made = await connections.add(connection, {**defaults, **values}, await clock(connection))
        return await self.get(made)

    async def get(self, connection_id: int) -> Connection:
        async with self.database.read() as connection:
            found = await connections.get(connection, connection_id)
        assert found is not None
        return found

    async def open(self, connection_id: int, request: Request | None = None) -> Sync:
        async with self.database.write() as connection:
            asked = request or Request("api")
            opened = await open_sync(connection, connection_id, asked, await clock(connection))
        return opened.sync

    async def sync(self, connection_id: int, request: Request | None = None) -> Sync:
        """Open a sync and work on it until it has ended or waits."""
        opened = await self.open(connection_id, request)
        return await self.work(opened.id)

    async def work(self, sync_id: int) -> Sync:
        rings: Sequence[Ring] = (Ring(sync_id, 0, "bulk"),)
        for _ in range(SLICES_AT_MOST):
            if not any(ring.sync_id == sync_id for ring in rings):
                break
            rings = await run_slice(self.deps, sync_id)
        return await self.status(sync_id)

    async def until_ended(self, sync_id: int) -> Sync:
        """Work on a sync through its waits."""
        for _ in range(SLICES_AT_MOST):
            sync = await self.work(sync_id)
            if sync.finished_at is not None:
                return sync
            await asyncio.sleep(0.05)
        raise AssertionError(f"sync {sync_id} does not end: {sync}")

    async def status(self, sync_id: int) -> Sync:
        async with self.database.read() as connection:
            found = await syncs.get(connection, sync_id)
        assert found is not None
        return found

    async def rows(self, system: str, stream: str, connection_id: int | None = None) -> list[dict[str, Any]]:
        """All living rows of a stream's table, by key."""
        table = self.deps.tables.get(system, stream).table
        query = select(table).where(table.c.gone_at.is_(None)).order_by(table.c.key)
        if connection_id is not None:
            query = query.where(table.c.connection_id == connection_id)
        async with self.database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def keys(self, system: str, stream: str) -> set[str]:
        return {row["key"] for row in await self.rows(system, stream)}

    async def quarantined(self) -> list[dict[str, Any]]:
        async with self.database.read() as connection:
            return [dict(row) for row in (await connection.execute(select(quarantine))).mappings()]

    async def events(self, connection_id: int) -> list[tuple[int, str, dict[str, Any]]]:
        """What happened to a connection: sequence, type, data."""
        query = (
            select(outbox_table)
            .where(outbox_table.c.connection_id == connection_id)
            .order_by(outbox_table.c.sequence)
        )
        async with self.database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [(row["sequence"], row["type"], msgspec.json.decode(row["data"])) for row in rows]

    async def states(self, connection_id: int) -> list[str]:
        """The states its syncs went through, progress left out."""
        told = [data["state"] for _, kind, data in await self.events(connection_id) if kind == syncs.STATUS]
        return [state for i, state in enumerate(told) if i == 0 or state != told[i - 1]]


@asynccontextmanager
async def open_house(
    database: Database,
    adapters: Mapping[str, type[Adapter]] = ADAPTERS,
    slice_seconds: float = 10.0,
    proxy: str | None = None,
    allow: Sequence[str] = LOOPBACK,
) -> AsyncIterator[House]:
    """The parts that a worker needs, on a migrated database. A `proxy` stands in for the vendors' hosts."""
    tables = StreamTables(adapters.values())
    await migrate(database, tables)
    vault = Vault([Secret("a key that only tests use")])
    guard = AddressGuard(allow)
    async with open_session(guard, proxied=proxy is not None) as session:
        remotes = Remotes(adapters, session, LocalBudget(utc_now), vault, database, proxy, guard)
        deps = Deps(
            database=database,
            tables=tables,
            remotes=remotes,
            owner="test",
            stopping=lambda: False,
            random=Random(1),
            slice_seconds=slice_seconds,
        )
        yield House(database, deps, vault)
