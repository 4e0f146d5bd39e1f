"""The real core on SQLite, with a clock that only moves when it is told to."""

import asyncio
import shutil
from collections.abc import Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import event, select, update
from sqlalchemy.engine import RowMapping

from adapters.base import Page, Partition, Record
from scheduler.dispatch import ClosedError, RememberedError, Request, cancel_all, open_sync
from scheduler.due import open_due
from store import claims, connections, outbox, parts, syncs
from store.connections import Connection
from store.database import Database, clock, to_text
from store.outbox import RELAY
from store.parts import NAMED, Part, Planned
from store.records import Progress, Target, commit_page, prepare_page
from store.schema import connections as connections_table
from store.schema import cursors
from store.schema import outbox as outbox_table
from store.schema import syncs as syncs_table
from store.syncs import LostLeaseError, Sync
from tests.adapter_double import SYSTEM, Script, double, thing
from tests.house import House, open_house
from worker import ending
from worker.outcome import Outcome
from worker.sync import Deps

T = TypeVar("T")
#: When the clock shows 0.
BEGAN = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
FILE = "tidegate.db"
THINGS = "things"


class Holding:
    """A claim in the hands of a worker: what it believes, however long ago it was true."""

    def __init__(self, sync: Sync, owner: str) -> None:
        self.sync = sync
        self.owner = owner
        self.progress = Progress(sync.counters, told_at=sync.progress_at)
        self.part: Part | None = None
        self.fetched: Page | None = None
        self.ended = False


def make_template(folder: Path) -> None:
    """A migrated database that each run begins with a copy of."""

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{folder / FILE}")
        async with open_house(database, {SYSTEM: double(Script())}):
            pass
        await database.close()

    asyncio.run(make())


class World:
    """One installation. Times are in milliseconds since `BEGAN`."""

    def __init__(self, template: Path, folder: Path) -> None:
        folder.mkdir()
        for file in template.iterdir():
            shutil.copy(file, folder)
        self.now = 0
        self.runner = asyncio.Runner()
        self.database = Database(f"sqlite+aiosqlite:///{folder / FILE}")
        for engine in (self.database.engine, self.database.aside):
            event.listen(engine.sync_engine, "connect", self._set_clock)
        self._house = open_house(self.database, {SYSTEM: double(Script())})
        self.house: House = self.run(self._house.__aenter__())

    def _set_clock(self, connection: Any, _record: object) -> None:
        """The database's clock is ours: an application may define SQLite's functions anew."""
        connection.create_function("strftime", 3, self._strftime)

    def _strftime(self, form: str, moment: str, plus: str) -> str:
        assert (form, moment) == ("%Y-%m-%dT%H:%M:%fZ", "now")
        return to_text(at(self.now) + timedelta(seconds=float(plus.removesuffix(" seconds"))))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self._house.__aexit__(None, None, None))
        self.run(self.database.close())
        self.runner.close()

    # --- what comes in

    def connect(self, number: int) -> int:
        made: Connection = self.run(
            self.house.connection(
                SYSTEM, f"http://double/{number}", callback_token=str(number), frequency="every 5m"
            )
        )
        return made.id

    def ask(self, connection_id: int, request: Request) -> tuple[str, int | None]:
        """What the door says, and the sync it leads to."""

        async def asked() -> tuple[str, int | None]:
            async with self.database.write() as connection:
                try:
                    opened = await open_sync(connection, connection_id, request, await clock(connection))
                except ClosedError:
                    return "closed", None
                except RememberedError:
                    return "remembered", None
                return ("joined" if opened.joined else "opened"), opened.sync.id

        return self.run(asked())

    def due(self) -> Sequence[int]:
        """The syncs that were rung for by a tick of the scheduler."""
        return [ring.sync_id for ring in self.run(open_due(self.database))]

    def change(self, connection_id: int, values: Mapping[str, object], *, drop: bool = False) -> None:
        """Edit a connection as the API does: what runs is cancelled."""

        async def changed() -> None:
            async with self.database.write() as connection:
                assert await connections.locked(connection, connection_id) is not None
                now = await clock(connection)
                await cancel_all(connection, connection_id, now)
                if drop:
                    await connections.drop_cursors(connection, connection_id)
                await connections.change(connection, connection_id, now, values)

        self.run(changed())

    def set_due(self, connection_id: int, due: int) -> None:
        async def set_it() -> None:
            mine = update(connections_table).where(connections_table.c.id == connection_id)
            async with self.database.write() as connection:
                await connection.execute(mine.values(next_due_at=at(due)))

        self.run(set_it())

    def cancel(self, sync_id: int) -> bool:
        async def cancelled() -> bool:
            async with self.database.write() as connection:
                found = await syncs.get(connection, sync_id)
                assert found is not None
                await connections.locked(connection, found.connection_id)
                return await syncs.cancel(connection, found, await clock(connection))

        return self.run(cancelled())

    # --- the work

    def claim(self, sync_id: int, owner: str) -> Holding | None:
        async def claimed() -> Holding | None:
            async with self.database.write() as connection:
                found = await claims.claim(connection, sync_id, owner)
            return None if found is None else Holding(found[0], owner)

        return self.run(claimed())

    def renew(self, owner: str, sync_ids: Collection[int]) -> None:
        async def renewed() -> None:
            async with self.database.beside() as connection:
                await claims.renew(connection, owner, sync_ids)

        self.run(renewed())

    def plan(self, holding: Holding) -> bool:
        """Whether the plan could be written; the part is then in the worker's hands."""

        async def planned() -> bool:
            named = holding.sync.lane == "records"
            wanted = Planned(NAMED if named else THINGS, Partition(THINGS if named else "all"))
            try:
                async with self.database.write() as connection:
                    await claims.hold(connection, holding.sync, holding.owner)
                    await parts.plan(connection, holding.sync, [wanted])
            except LostLeaseError:
                return False
            return True

        return self.run(planned())

    def take_part(self, holding: Holding) -> None:
        async def taken() -> None:
            async with self.database.read() as connection:
                found = await parts.listed(connection, holding.sync.id)
            holding.part = found[0] if found else None

        self.run(taken())

    def fetch(self, holding: Holding, records: Sequence[tuple[str, int]], cursor: str, *, end: bool) -> None:
        """The remote answers; nothing is written yet."""
        holding.fetched = Page(at(self.now), cursor, [_record(*one) for one in records], end=end)

    def commit(self, holding: Holding) -> bool:
        """Whether the page went in."""
        assert holding.fetched is not None
        assert holding.part is not None
        target = Target(holding.sync, holding.owner, SYSTEM, self.house.deps.tables)
        prepared = prepare_page(target, holding.fetched)
        try:
            holding.part = self.run(
                commit_page(self.database, target, holding.part, prepared, holding.progress)
            )
        except LostLeaseError:
            return False
        finally:
            holding.fetched = None
        return True

    def end(self, holding: Holding, outcome: Outcome) -> bool:
        """Whether the outcome of the slice went in."""
        deps: Deps = replace(self.house.deps, owner=holding.owner)
        try:
            self.run(ending.write(deps, holding.sync, holding.progress, outcome))
        except LostLeaseError:
            return False
        return True

    # --- the relay

    def take_duty(self, owner: str) -> int | None:
        async def taken() -> int | None:
            async with self.database.beside() as connection:
                return await outbox.take_duty(connection, RELAY, owner, claims.LEASE_SECONDS)

        return self.run(taken())

    def number(self, fence: int) -> int:
        async def numbered() -> int:
            async with self.database.write() as connection:
                return await outbox.give_positions(connection, fence, 7)

        return self.run(numbered())

    # --- what is to be seen

    def claimable(self) -> set[int]:
        async def listed() -> set[int]:
            async with self.database.read() as connection:
                return {ring.sync_id for ring in await claims.claimable(connection, 1000)}

        return self.run(listed())

    def all_rows(self) -> tuple[Sequence[RowMapping], ...]:
        """Connections, syncs, events, records and cursors, each by id."""
        table = self.house.deps.tables.get(SYSTEM, THINGS).table
        queries = (
            select(connections_table).order_by(connections_table.c.id),
            select(syncs_table).order_by(syncs_table.c.id),
            select(outbox_table).order_by(outbox_table.c.connection_id, outbox_table.c.sequence),
            select(table),
            select(cursors),
        )

        async def read() -> tuple[Sequence[RowMapping], ...]:
            async with self.database.read() as connection:
                return tuple([(await connection.execute(query)).mappings().all() for query in queries])

        return self.run(read())


def _record(key: str, version: int) -> Record:
    return thing(key, version=str(version), value=version)


def value_of(row: RowMapping) -> int:
    return int(msgspec.json.decode(row["body"])["value"])


def at(ms: int) -> datetime:
    return BEGAN + timedelta(milliseconds=ms)


def since(moment: datetime | None) -> int | None:
    """Milliseconds, as `at` takes them."""
    return None if moment is None else (moment - BEGAN) // timedelta(milliseconds=1)
