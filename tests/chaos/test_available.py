"""Several of everything: each killed in turn, and a deploy, while clients read and ask."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from store.outbox import RELAY
from store.schema import duties, syncs
from tests.chaos import truth
from tests.chaos.marks import SERVERS
from tests.chaos.readers import Asker, Reader, at_it
from tests.chaos.roles import Role
from tests.chaos.servers import free_port
from tests.chaos.town import PROMISED, START_SECONDS, Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

DRIP_SECONDS = 0.15
STOPPED_WITHIN = 20.0


class Harbour:
    """A town with two APIs, and what its clients were answered."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.ports = [town.environ["TIDEGATE_PORT"], str(free_port())]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.readers = [Reader(url) for url in self.urls]
        self._port_of: dict[int, str] = {}

    async def start(self, name: str, port: str = "") -> Role:
        """Start a process and wait until it works."""
        role = await self.town.start(name, **({"TIDEGATE_PORT": port} if port else {}))
        self._port_of[role.pid] = port
        if not port:
            await self.town.all_work([role])
            return role

        async def answers() -> bool:
            async with self.town.http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200

        await self.town.until(answers, START_SECONDS, f"an API on port {port}")
        return role

    async def start_all(self, schedulers: int, workers: int) -> None:
        names = ["scheduler"] * schedulers + ["worker"] * workers
        await self.town.all_work([await self.town.start(name) for name in names])
        for port in self.ports:
            await self.start("api", port)

    async def replaced(self, role: Role) -> Role:
        """Another of its kind, in its place."""
        return await self.start(role.name, self._port_of.get(role.pid, ""))

    @property
    def processes(self) -> Sequence[Role]:
        return [role for role in self.town.roles if role.running]

    async def publisher(self) -> Role | None:
        """The process that publishes events now."""
        query = select(duties.c.owner).where(duties.c.name == RELAY)
        async with self.town.database.read() as connection:
            owner = (await connection.execute(query)).scalar()
        pid = int(owner.split(":")[1]) if owner else 0
        return next((role for role in self.town.roles if role.pid == pid), None)

    async def published(self) -> int:
        async with self.town.database.read() as connection:
            query = select(duties.c.counter).where(duties.c.name == RELAY)
            return int((await connection.execute(query)).scalar_one())

    async def publisher_killed(self) -> float:
        """Kill the one that publishes; the seconds until another does."""
        before, role = await self.published(), await self.publisher()
        assert role is not None
        await role.kill()
        began, before = time.monotonic(), await self.published()

        async def goes_on() -> bool:
            return await self.publisher() is not role and await self.published() > before

        await self.town.until(goes_on, PROMISED, "another publishes")
        took = time.monotonic() - began
        await self.replaced(role)
        return took

    async def worker_killed(self, role: Role) -> float:
        """Kill a worker; the seconds until others hold what it held."""
        query = select(syncs.c.id, syncs.c.fence).where(syncs.c.lease_owner.contains(f":{role.pid}:"))
        await role.kill()
        began = time.monotonic()
        async with self.town.database.read() as connection:
            held = (await connection.execute(query)).all()

        async def all_taken() -> bool:
            now = [await self.town.one(one.id) for one in held]
            return all(new["fence"] > old.fence for new, old in zip(now, held, strict=True))

        await self.town.until(all_taken, PROMISED, f"{len(held)} syncs go on elsewhere")
        took = time.monotonic() - began
        await self.replaced(role)
        return took if held else 0.0

    async def api_killed(self, role: Role, reader: Reader) -> float:
        """Kill an API; the seconds from its replacement's start until its reader gets events again."""
        await role.kill()
        began, seen = time.monotonic(), len(reader.seen)
        await self.replaced(role)

        async def reads_on() -> bool:
            return len(reader.seen) > seen

        await self.town.until(reads_on, PROMISED, "the reader goes on after the last event it saw")
        return time.monotonic() - began

    async def deployed(self, role: Role) -> float:
        """Ask a process to end and start another; the seconds that its end took."""
        began = time.monotonic()
        role.ask_to_end()
        assert await role.ended() == 0, role.tail()
        took = time.monotonic() - began
        await self.replaced(role)
        return took


@asynccontextmanager
async def busy(harbour: Harbour, projects: Sequence[str]) -> AsyncIterator[None]:
    """Syncs run meanwhile, a page at a time, and both APIs are read and asked; in the end all is right."""
    town = harbour.town
    made = await town.connections(projects, 60)
    town.jira.hold()

    async def drip() -> None:
        number = 0
        while True:
            number += 1
            town.jira.let_go(1)
            if number % 10 == 0:
                town.jira.create_issue(projects[number % len(projects)], f"Wave {number}")
            await asyncio.sleep(DRIP_SECONDS)

    asks = [("POST", f"/v1/connections/{one}/sync") for one in made]
    askers = [Asker(url, *asks, ("GET", "/v1/connections"), ("GET", "/v1/syncs")) for url in harbour.urls]
    dripping = asyncio.create_task(drip())
    async with at_it(*harbour.readers, *askers):
        try:
            yield
        finally:
            dripping.cancel()
    async with at_it(*harbour.readers):
        town.jira.open()
        await town.all_end(within=180)
        await truth.holds(town, settled=False)
        last = await harbour.published()

        async def all_seen() -> bool:
            return all(len(reader.seen) == last for reader in harbour.readers)

        await town.until(all_seen, 30, f"all readers have seen {last} events")
    for reader in harbour.readers:
        reader.has_all()
    answers = [reader.statuses for reader in harbour.readers] + [asker.statuses for asker in askers]
    for statuses in answers:
        assert statuses
        assert not [status for status in statuses if status >= 500], statuses


@SERVERS
async def test_another_publishes_soon_after_the_one_at_work_is_killed(town: Town, figures: list[str]) -> None:
    harbour = Harbour(town)
    await harbour.start_all(schedulers=2, workers=1)
    async with busy(harbour, ["TIDE", "SURF"]):
        took = await harbour.publisher_killed()
        api = town.named("api")[0]
        await harbour.deployed(api)
    figures.append(f"the publisher killed: another publishes after {took:.1f} s")
    assert took < PROMISED


@pytest.mark.soak
@SERVERS
async def test_each_of_several_is_killed_in_turn_and_all_are_deployed_anew(
    town: Town, figures: list[str]
) -> None:
    harbour = Harbour(town)
    await harbour.start_all(schedulers=2, workers=3)
    async with busy(harbour, [f"P{number}" for number in range(6)]):
        published = [await harbour.publisher_killed() for _ in range(3)]
        held = [await harbour.worker_killed(role) for role in town.named("worker")]
        read = [
            await harbour.api_killed(role, reader)
            for role, reader in zip(town.named("api"), harbour.readers, strict=True)
        ]
        ends = {role: await harbour.deployed(role) for role in harbour.processes}
    by_name: dict[str, float] = {}
    for role, took in ends.items():
        by_name[role.name] = max(took, by_name.get(role.name, 0.0))
        assert took < STOPPED_WITHIN
    events = len(harbour.readers[0].seen)
    figures += [
        f"3 publishers killed: another publishes after {max(published):.1f} s at most",
        f"3 workers killed: what they held goes on after {max(held):.1f} s at most",
        f"2 APIs killed: their readers go on {max(read):.1f} s after, the start of a new one included",
        "a deploy: " + ", ".join(f"{name} ends within {took:.1f} s" for name, took in by_name.items()),
        f"{events} events, none missing, none doubled, in order, through both APIs; no 5xx",
    ]
