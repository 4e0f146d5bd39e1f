"""The adapter of Jenkins: what it reads, and the four things that an adapter answers."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from adapters import senders
from adapters.auth import Anonymous, Auth, Basic, Bearer
from adapters.base import (
    BadTarget,
    Check,
    Feed,
    Fetched,
    Hint,
    Hook,
    Keys,
    NotFound,
    Page,
    Partition,
    Target,
    Unreadable,
)
from adapters.http import Http, Limits
from adapters.jenkins import hooks
from adapters.jenkins.builds import BUILDS, Mark
from adapters.jenkins.controller import Controller, version
from adapters.jenkins.jobs import JOB_TREE, JOBS, Item, read_answer
from adapters.jenkins.listing import Listing, list_items
from adapters.jenkins.lookup import Lookup
from adapters.jenkins.ranges import keys_since, records_since, walk_builds
from adapters.jenkins.survey import readable
from adapters.jenkins.urls import full_name, item_path, parse
from adapters.jenkins.walk import dump, is_idle, load, on

_JOBS_A_PAGE = 500
_KEYS_A_PAGE = 5000
# A check opens so many containers; with more of them it does not count.
_OPENED_BY_CHECK = 50


class _After(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cursor of the listing: the full name of the last job that was kept, "" when all were."""

    after: str = ""


class Jenkins:
    """The jobs below a URL, containers included, and their builds."""

    system: ClassVar[str] = "jenkins"
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("jobs", (JOBS,)), Feed("builds", (BUILDS,)))
    # Each build is loaded from the controller's disk, which may take its time.
    limits: ClassVar[Limits] = Limits(read=60.0, total=120.0, parallel=4)
    # Build numbers are given in order and shown at once, so that a cursor need not keep away from now. What
    # is not final at its end, a build that still runs, is read again by key.
    overlap: ClassVar[timedelta] = timedelta(0)
    batch: ClassVar[int] = 100

    def __init__(self, target: Target, http: Http) -> None:
        self._target = target
        self._controller = Controller(http)
        self._since = int(target.options.get("since", "0"))
        self._listing: Listing | None = None
        self._listed = asyncio.Lock()
        self._vouched = False

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        return parse(url, params)

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return senders.verify(hook, secret)

    @staticmethod
    def hint(hook: Hook) -> Hint:
        return hooks.hint(hook)

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        match kind:
            case "anonymous":
                return Anonymous()
            case "bearer":
                return Bearer(reveal)
            case "basic" | "pat" if username and ":" not in username:
                return Basic(username, reveal)
            case "basic" | "pat" if username:
                raise BadTarget("username", "A user name of Jenkins holds no colon.")
            case "basic":
                raise BadTarget("username", "Jenkins needs the user name that the API token belongs to.")
            case "pat":
                raise BadTarget(
                    "kind", "A Jenkins API token belongs to a user: use basic, with its user name."
                )
            case _:
                raise BadTarget("kind", f"Jenkins takes basic, bearer or anonymous, not {kind}.")

    async def check(self) -> Check:
        """The count is told unless there are too many folders to look into."""
        account = await self._controller.prove()
        listing = await list_items(self._controller, self._target, _OPENED_BY_CHECK)
        return Check(account, version(listing.reply), readable(listing, account))

    async def plan(self, feed: str) -> Sequence[Partition]:
        """Jobs: all in one partition. Builds: a partition for each job, marked with its newest build.

        A folder that may not be opened is a partition, too, and reading it raises what Jenkins said.
        """
        await self._controller.prove(only_if_silent=True)
        if feed == "jobs":
            return [Partition("all")]
        listing = await self._list()
        jobs = [Partition(i.full_name, _text(i.mark)) for i in listing.items.values() if i.mark]
        return sorted([*jobs, *map(Partition, listing.refused)], key=lambda partition: partition.name)

    def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        return self._read_jobs(cursor) if feed == "jobs" else self._read_builds(partition, cursor)

    def census(self, stream: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        return self._count_jobs(cursor) if stream == "jobs" else self._count_builds(partition, cursor)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        listed = (await self._list()).items.keys() if "view" in self._target.options else None
        lookup = Lookup(self._controller, self._target, listed)
        return await (lookup.jobs(keys) if stream == "jobs" else lookup.builds(keys))

    async def _list(self) -> Listing:
        async with self._listed:
            if self._listing is None:
                self._listing = await list_items(self._controller, self._target)
            return self._listing

    async def _read_jobs(self, cursor: str | None) -> AsyncGenerator[Page, None]:
        listing = await self._list()
        after = _after(cursor)
        names = sorted(name for name in listing.items if name > after)
        expected = {"jobs": len(listing.items) + len(listing.rejected)}
        for start in range(0, max(len(names), 1), _JOBS_A_PAGE):
            chunk = names[start : start + _JOBS_A_PAGE]
            last = start + _JOBS_A_PAGE >= len(names)
            yield Page(
                listing.observed_at,
                msgspec.json.encode(_After("" if last else chunk[-1])).decode(),
                [listing.items[name].record for name in chunk],
                listing.rejected if last else (),
                expected,
                last and not listing.refused,
            )
        if listing.refused:
            raise next(iter(listing.refused.values()))

    async def _read_builds(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        job = partition.name
        position = load(cursor)
        try:
            mark = await self._mark(partition)
            position = on(position, mark)
            if is_idle(position, mark):
                yield Page(self._observed_at(), dump(position), end=True)
                return
            wish = records_since(self._since)
            async with aclosing(walk_builds(self._controller, job, position, mark, wish)) as ranges:
                async for found in ranges:
                    position = found.cursor
                    records = [build.record for build in found.builds.values()]
                    yield Page(found.observed_at, dump(position), records, found.rejected, end=found.end)
        except NotFound:
            if await self._is_still_there(job):
                raise
            # The job was deleted since it was listed, and its builds with it: there is nothing left to read.
            yield Page(self._controller.now(), dump(position), end=True)

    async def _count_jobs(self, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """All keys of the listing, which shows less to somebody else: it is made between two proofs."""
        if self._listing is None:
            await self._controller.vouch()
        listing = await self._list()
        await self._vouch()
        names = sorted(name for name in listing.items if name > _after(cursor))
        for start in range(0, max(len(names), 1), _KEYS_A_PAGE):
            chunk = names[start : start + _KEYS_A_PAGE]
            last = start + _KEYS_A_PAGE >= len(names)
            after = msgspec.json.encode(_After(chunk[-1] if chunk else "")).decode()
            yield Keys(listing.observed_at, after, chunk, end=last and not listing.refused)
        if listing.refused:
            raise next(iter(listing.refused.values()))

    async def _count_builds(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """A job that vanished since it was planned has no builds, once Jenkins has proved to know us, and to
        show us something.
        """
        job, position = partition.name, load(cursor)
        await self._vouch()
        try:
            mark = await self._mark(partition, counting=True)
            if is_idle(position, mark):
                yield Keys(self._observed_at(), dump(position), end=True)
                return
            ranges = walk_builds(self._controller, job, position, mark, keys_since(self._since))
            async with aclosing(ranges):
                async for found in ranges:
                    yield Keys(found.observed_at, dump(found.cursor), list(found.builds), end=found.end)
        except NotFound:
            if await self._is_still_there(job):
                raise
            await self._controller.vouch()
            if not await self._controller.names(""):
                raise
            yield Keys(self._controller.now(), dump(position), end=True)

    async def _vouch(self) -> None:
        """Prove once, after the listing that a census rests on, that Jenkins still knows us."""
        if not self._vouched:
            await self._controller.vouch()
            self._vouched = True

    async def _is_still_there(self, job: str) -> bool:
        """Whether a job that was not found is one all the same; the target itself must be there."""
        if job == full_name(self._target.options["path"]):
            return True
        return await self._controller.lists(job)

    async def _mark(self, partition: Partition, *, counting: bool = False) -> Mark:
        """The mark of planning; where there is none, the job is asked. Not even a folder counts as one that
        holds nothing, as it could not be opened when its jobs were looked for.
        """
        if partition.mark:
            return msgspec.json.decode(partition.mark, type=Mark)
        reply = await self._controller.ask(item_path(partition.name), JOB_TREE)
        answer = read_answer(reply, self._controller.base, partition.name.rpartition("/")[0])
        mark = answer.item.mark if isinstance(answer.item, Item) else None
        if mark is None and counting:
            raise Unreadable(
                f"'{partition.name}' could not be opened when the census began.", "The next census counts it."
            )
        return mark or Mark()

    def _observed_at(self) -> datetime:
        return self._listing.observed_at if self._listing else self._controller.now()


def _text(mark: Mark) -> str:
    return msgspec.json.encode(mark).decode()


def _after(cursor: str | None) -> str:
    """Where an interrupted listing goes on; what is not legible means from the beginning."""
    try:
        return msgspec.json.decode(cursor, type=_After).after if cursor else ""
    except msgspec.DecodeError:
        return ""
