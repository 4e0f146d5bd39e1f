"""The stage of the suite: a running remote with its kit, a house of that adapter, and one connection."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from sqlalchemy import Text, cast, select

from adapters.base import Gone
from scheduler.dispatch import Request
from store import syncs
from store.connections import Connection
from store.database import Database, now
from store.streams import kept
from store.syncs import Sync
from tests.conformance.kit import Kit
from tests.conformance.kits import KITS
from tests.engine import set_sync
from tests.house import House, open_house


class Stage:
    """What a test of the suite acts on."""

    def __init__(self, kit: Kit, house: House, connection: Connection) -> None:
        self.kit = kit
        self.house = house
        self.connection = connection

    async def sync(self, request: Request | None = None) -> Sync:
        """A sync until its end, through all waits."""
        opened = await self.house.open(self.connection.id, request)
        return await self.end(opened.id)

    async def end(self, sync_id: int) -> Sync:
        """Work on a sync until its end; what it would wait for in between has passed."""
        for _ in range(100):
            sync = await self.house.work(sync_id)
            if sync.finished_at is not None:
                return sync
            await set_sync(self.house, sync_id, run_at=now())
        raise AssertionError(f"sync {sync_id} does not end: {sync}")

    async def census(self) -> Sync:
        return await self.sync(Request("api", "census", accept_loss=True))

    async def copy(self) -> dict[str, Any]:
        """What users see here: by key, what the kit sees in the body."""
        c = self._table.c
        query = select(c.key, cast(c.body, Text).label("body")).where(
            c.connection_id == self.connection.id, kept(self._table)
        )
        async with self.house.database.read() as connection:
            rows = (await connection.execute(query)).all()
        return {row.key: self.kit.seen(msgspec.json.decode(row.body)) for row in rows}

    async def gone(self) -> dict[str, Gone]:
        c = self._table.c
        query = select(c.key, c.gone_reason).where(
            c.connection_id == self.connection.id, c.gone_at.is_not(None)
        )
        async with self.house.database.read() as connection:
            return {row.key: row.gone_reason for row in await connection.execute(query)}

    async def live(self) -> list[Sync]:
        """What is open or queued, in the order in which it can be worked on."""
        found: list[Sync] = []
        async with self.house.database.read() as connection:
            for lane in ("records", "bulk"):
                found += await syncs.of_lane(connection, self.connection.id, lane)
        return sorted(found, key=lambda sync: sync.state == "queued")

    async def change_number(self) -> int:
        c = self._table.c
        query = (
            select(c.change).where(c.connection_id == self.connection.id).order_by(c.change.desc()).limit(1)
        )
        async with self.house.database.read() as connection:
            return int((await connection.execute(query)).scalar() or 0)

    @property
    def _table(self) -> Any:
        return self.house.deps.tables.get(self.kit.adapter.system, self.kit.stream).table

    def requests(self) -> int:
        return len(self.kit.remote.ledger)


def living(stage: Stage, deleted: Mapping[str, Any]) -> dict[str, Any]:
    """What the copy must hold: what is there, and what is gone there and kept here."""
    return {**(deleted if stage.kit.kept else {}), **stage.kit.truth()}


@pytest.fixture(params=KITS)
async def kit(request: pytest.FixtureRequest) -> AsyncIterator[Kit]:
    made = KITS[request.param]()
    async with made.serve():
        yield made


@pytest.fixture
async def stage(kit: Kit, database: Database) -> AsyncIterator[Stage]:
    async with open_house(database, {kit.adapter.system: kit.adapter}) as house:
        yield await on_stage(kit, house)


async def on_stage(kit: Kit, house: House, **values: Any) -> Stage:
    credential = await house.credential(kit.adapter.system, *kit.credential)
    params = {"params": dict(kit.params)} if kit.params else {}
    made = await house.connection(kit.adapter.system, kit.url, credential, **params, **values)
    return Stage(kit, house, made)
