"""A worker whose remote costs nothing: what is left is Tidegate's own work for a sync that finds no news."""

# ruff: noqa: ARG004 - the arguments are those of the contract

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from msgspec.structs import replace

from adapters.auth import Anonymous, Auth
from adapters.base import (
    BadHook,
    Check,
    Feed,
    Fetched,
    Hint,
    Hook,
    Keys,
    Missing,
    Page,
    Partition,
    Stream,
    Target,
)
from adapters.http import Http, Limits
from config.settings import load
from store.streams import StreamTables
from tidegate.compose import open_ground, open_parts, open_redis, start_logs
from tidegate.roles import run_worker, stop_on_signals

SYSTEM = "still"


class Still:
    """An adapter of one partition in which nothing ever is."""

    system: ClassVar[str] = SYSTEM
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("things", (Stream("things"),)),)
    limits: ClassVar[Limits] = Limits()
    overlap: ClassVar[timedelta] = timedelta(0)
    batch: ClassVar[int] = 100

    def __init__(self, target: Target, http: Http) -> None:
        self._http = http

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        return Target(url, url)

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        return Anonymous()

    async def check(self) -> Check:
        return Check(None, None, {})

    async def plan(self, feed: str) -> Sequence[Partition]:
        return [Partition("all")]

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        yield Page(self._http.clock(), "0", end=True)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        return Fetched(self._http.clock(), missing=[Missing(key, "deleted") for key in keys])

    async def census(
        self, stream: str, partition: Partition, cursor: str | None
    ) -> AsyncGenerator[Keys, None]:
        yield Keys(self._http.clock(), "0", end=True)

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return False

    @staticmethod
    def hint(hook: Hook) -> Hint:
        raise BadHook("There are no webhooks here.")


async def main() -> None:
    """A worker on the settings of this process, as `tidegate worker`, that knows this remote, too."""
    settings = load(os.environ)
    with stop_on_signals() as stop:
        async with open_ground(settings, start_logs(settings)) as plain, open_redis(settings) as redis_url:
            known = {**plain.adapters, SYSTEM: Still}
            tables = StreamTables(known.values())
            await tables.ensure(plain.database)
            async with open_parts(replace(plain, adapters=known, tables=tables), redis_url) as parts:
                await run_worker(parts, stop)


if __name__ == "__main__":
    asyncio.run(main())
