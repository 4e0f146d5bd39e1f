"""A town of real processes: API, schedulers, workers, and the remotes that they read."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis
from sqlalchemy import func, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import SQLAlchemyError

from adapters.azure import Azure
from adapters.jenkins import Jenkins
from adapters.jira import Jira
from store.database import Database
from store.schema import connections, processes, syncs
from store.streams import StreamTables
from tests.chaos import roles
from tests.chaos.gate import EMAIL, TOKEN, GatedJira
from tests.chaos.roles import Role
from tests.chaos.servers import free_port
from tidegate.redis_server import socket_of

SECRET_KEY = "a key that only the tests of chaos use"
ADMIN_KEY = "the-administrator-of-the-town"
START_SECONDS = 180.0  # processes, on a machine that is busy with other tests
#: What is promised after any accident: all work goes on within this time.
PROMISED = 15.0


class Town:
    """Its processes, and a test's ways to look at them: the database, Redis, and the API."""

    def __init__(self, folder: Path, environ: Mapping[str, str], database: Database) -> None:
        folder.mkdir()
        self.folder = folder
        self.environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("TIDEGATE_")},
            "PYTHONPATH": str(roles.ROOT),
            "TIDEGATE_DATA_DIR": str(folder),
            "TIDEGATE_PORT": str(free_port()),
            "TIDEGATE_SECRET_KEY": SECRET_KEY,
            "TIDEGATE_ADMIN_KEY": ADMIN_KEY,
            "TIDEGATE_ALLOW_NETWORKS": "127.0.0.1/32",
            **environ,
        }
        self.database = database
        self.tables = StreamTables((Jira, Jenkins, Azure))
        self.jira = GatedJira()
        #: The projects that the connections read, by their ids.
        self.projects: dict[int, str] = {}
        self.roles: list[Role] = []
        self._http: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environ['TIDEGATE_PORT']}"

    @property
    def redis_url(self) -> str:
        return self.environ.get("TIDEGATE_REDIS_URL") or f"unix://{socket_of(self.folder)}"

    # Processes

    async def start(self, name: str, *arguments: str, **more: str) -> Role:
        """Start a process, with `more` variables than the others have."""
        environ = {**self.environ, **more}
        role = await roles.start(name, environ, self.folder, len(self.roles), *arguments)
        self.roles.append(role)
        return role

    async def start_all(self, *names: str) -> None:
        """Start processes at once, and return when every one of them works."""
        await self.all_work([await self.start(name) for name in names])

    async def all_work(self, started: Sequence[Role]) -> None:
        names = ", ".join(role.name for role in started)
        await self.until(lambda: self._all_work(started), START_SECONDS, f"the start of {names}")

    async def _all_work(self, started: Sequence[Role]) -> bool:
        for role in started:
            assert role.running, f"{role.name} ended with {role.child.returncode}:\n{role.tail()}"
        if any(role.name in ("api", "up") for role in started):
            async with self.http.get(f"{self.url}/readyz") as answer:
                if answer.status != 200:
                    return False
        async with self.database.read() as connection:
            seen = set((await connection.execute(select(processes.c.pid))).scalars())
        return {role.pid for role in started} <= seen

    def named(self, name: str) -> list[Role]:
        """The processes of a role that run."""
        return [role for role in self.roles if role.name == name and role.running]

    def holder(self, sync: RowMapping) -> Role:
        """The worker that has the lease of a sync."""
        pid = int(sync["lease_owner"].split(":")[1])
        return next(role for role in self.roles if role.pid == pid)

    async def freeze(self, *frozen: Role) -> None:
        """SIGSTOP, while nothing of the database is locked: it would be for as long as they stand still."""

        async def tried() -> bool:
            for role in frozen:
                role.freeze()
            try:
                await self._write()
            except BaseException:
                for role in frozen:
                    role.thaw()
                raise
            return True

        await self.until(tried, 30, "a moment in which nothing is locked")

    async def _write(self) -> None:
        """Take the locks that others need, for a moment; an error if they are not to be had soon."""
        if self.database.is_sqlite:
            await asyncio.to_thread(_write_lock, self.folder / "tidegate.db")
            return
        async with self.database.write() as connection:
            await connection.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
            for table in (connections, syncs, processes):
                await connection.execute(select(table).with_for_update())

    def nobody_died(self) -> None:
        """No process ended but those that the test ended."""
        for role in self.roles:
            assert role.running or role.meant, f"{role.name} ended by itself:\n{role.tail()}"

    # The API

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer of the API, which must not be an error."""
        async with self.http.request(method, self.url + path, json=body) as answer:
            assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
            return await answer.json()

    async def connections(self, projects: Sequence[str], issues: int, **values: object) -> list[int]:
        """A connection to each of these new projects of the Jira, with so many issues in each."""
        body = {"name": "town", "system": "jira", "kind": "basic", "username": EMAIL, "secret": TOKEN}
        credential = (await self.call("POST", "/v1/credentials", body))["id"]
        made = []
        for project in projects:
            self.jira.seed(issues, project)
            common = {"name": project, "system": "jira", "url": self.jira.url, "credential_id": credential}
            wanted = {"frequency": "manually", "params": {"jql": f"project = {project}"}, **common, **values}
            connection_id = (await self.call("POST", "/v1/connections", wanted))["id"]
            self.projects[connection_id] = project
            made.append(connection_id)
        return made

    async def sync(self, connection_id: int, scope: str = "incremental") -> int:
        """Ask for a sync; its id."""
        asked = await self.call("POST", f"/v1/connections/{connection_id}/sync", {"scope": scope})
        return int(asked["id"])

    # What is to be seen

    async def one(self, sync_id: int) -> RowMapping:
        """A sync's row."""
        async with self.database.read() as connection:
            found = await connection.execute(select(syncs).where(syncs.c.id == sync_id))
            return found.mappings().one()

    async def until(
        self, check: Callable[[], Awaitable[bool]], within: float, what: str, every: float = 0.05
    ) -> float:
        """Wait for a condition; the seconds it took. The servers may be away meanwhile."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                if await check():
                    return loop.time() - began
                away: object = None
            except (SQLAlchemyError, sqlite3.Error, OSError, aiohttp.ClientError) as e:
                away = e
            if loop.time() - began > within:
                logs = "\n\n".join(f"--- {role.name} {role.pid}\n{role.tail()}" for role in self.roles)
                raise AssertionError(f"Not within {within} s: {what}; {away or 'just not'}\n{logs}")
            await asyncio.sleep(every)

    async def stands_at(self, sync_id: int, pages: int) -> RowMapping:
        """The sync's row, once it has committed so many pages and waits at the gate for the next."""

        async def there() -> bool:
            return self.jira.held > 0 and (await self.one(sync_id))["pages"] == pages

        await self.until(there, START_SECONDS, f"sync {sync_id} at page {pages}")
        return await self.one(sync_id)

    async def goes_on(self, sync: RowMapping) -> float:
        """Wait for the first page that another claim than this one commits; the seconds it took."""

        async def another() -> bool:
            now = await self.one(sync["id"])
            return bool(now["fence"] > sync["fence"] and now["claim_pages"] > 0)

        return await self.until(another, PROMISED, f"sync {sync['id']} goes on elsewhere")

    async def claimed_again(self, sync: RowMapping, within: float = PROMISED) -> RowMapping:
        """The sync's row, once it was claimed after this one."""

        async def another() -> bool:
            now = await self.one(sync["id"])
            return bool(now["fence"] > sync["fence"] and now["lease_owner"])

        await self.until(another, within, f"sync {sync['id']} is claimed again")
        return await self.one(sync["id"])

    async def all_end(self, within: float = 60.0) -> None:
        """Wait until no sync is open, and see that all of them succeeded."""

        async def none_open() -> bool:
            async with self.database.read() as connection:
                left = select(func.count()).where(syncs.c.finished_at.is_(None))
                return (await connection.execute(left)).scalar_one() == 0

        await self.until(none_open, within, "all syncs end")
        async with self.database.read() as connection:
            states = set((await connection.execute(select(syncs.c.state))).scalars())
        assert states == {"succeeded"}

    async def ends(self, sync_id: int, within: float = 30.0) -> None:
        """Wait until a sync has succeeded."""

        async def succeeded() -> bool:
            return bool((await self.one(sync_id))["state"] == "succeeded")

        await self.until(succeeded, within, f"sync {sync_id} succeeds")

    async def quiet(self) -> None:
        """Nothing falls due any more."""
        async with self.database.write() as connection:
            await connection.execute(update(connections).values(next_due_at=None, frequency="manually"))

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        client = Redis.from_url(self.redis_url)
        try:
            yield client
        finally:
            await client.aclose()

    # From the first to the last process

    async def __aenter__(self) -> "Town":
        self._http = aiohttp.ClientSession(headers={"X-API-Key": self.environ["TIDEGATE_ADMIN_KEY"]})
        await self.jira.start()
        return self

    async def end(self) -> None:
        """End all processes."""
        await roles.end_all(self.roles)

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.end()
        finally:
            await self.http.close()
            await self.jira.close()


def _write_lock(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
