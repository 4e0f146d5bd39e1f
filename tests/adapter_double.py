"""A whole adapter whose remote is a script: pages, errors and answers by key, for tests of the engine."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

import msgspec

from adapters.auth import Anonymous, Auth
from adapters.base import (
    Adapter,
    AdapterError,
    BadTarget,
    Check,
    Column,
    Family,
    Feed,
    Fetched,
    Hint,
    Hook,
    Keys,
    Missing,
    Page,
    Partition,
    Readable,
    Record,
    Rejected,
    Stream,
    Target,
    Value,
)
from adapters.http import Http, Limits

SYSTEM = "double"
COLUMNS = (
    Column("name", "text", "name"),
    Column("size", "integer", "size", "bytes"),
    Column("ratio", "number", "ratio"),
    Column("done", "boolean", "done"),
    Column("seen_at", "time", "seen"),
)
THINGS = Stream("things", COLUMNS, volatile=("views", "meta.asked"))
NOTES = Stream("notes", parent="things")
EXTRAS = Stream("extras")
REMARKS = Stream("remarks", parent="things", embedded=True)


def thing(
    key: str,
    *,
    version: str | None = None,
    final: bool = True,
    parent: str | None = None,
    columns: tuple[Value, ...] = (None,) * len(COLUMNS),
    stream: str = "things",
    members: Mapping[str, object] = {},
    **body: object,
) -> Record:
    """A record; everything else that is named is in its body, and so are `members`."""
    sent = msgspec.json.encode({"key": key, **members, **body})
    values = columns if stream == "things" else ()
    return Record(stream, key, sent, parent, None, version, final, values)


class Step(msgspec.Struct, frozen=True):
    """One page of a partition. `expected` and `rejected` as in a `Page`."""

    records: Sequence[Record] = ()
    rejected: Sequence[Rejected] = ()
    expected: Mapping[str, int] | None = None
    seconds: float = 0.0
    families: Sequence[Family] = ()
    renewed: bool = False


class Script:
    """What the remote holds and how it behaves. Tests change it between and during syncs.

    A partition's cursor is the number of its pages that were read; the last page is the end, unless the
    partition is in `endless`. `errors` are raised once each, before the page of their (partition, number).
    """

    def __init__(self) -> None:
        self.partitions: dict[str, list[str]] = {"things": ["all"], "extras": []}
        self.pages: dict[str, list[Step]] = {}
        self.families: list[Family] = []
        self.there: dict[tuple[str, str], list[str]] = {}
        self.by_key: dict[str, Record | Rejected | Missing] = {}
        self.errors: dict[tuple[str, int], list[AdapterError]] = {}
        self.broken: dict[str, AdapterError] = {}
        self.refused_plans: dict[str, AdapterError] = {}
        self.check_error: AdapterError | None = None
        self.checked = Readable(True)
        self.defect: Exception | None = None
        self.endless: set[str] = set()
        #: While it is there, the remote does not answer.
        self.silence: asyncio.Event | None = None
        #: Called before each page with its partition and number.
        self.before_page: Callable[[str, int], None] = lambda _partition, _number: None
        self.asked: list[tuple[str, int]] = []
        self.fetched: list[list[str]] = []
        self.checks = 0

    def add(self, partition: str, *pages: Sequence[Record]) -> None:
        """Further pages at the end of a partition, which is planned from now on."""
        if partition not in self.partitions["things"]:
            self.partitions["things"].append(partition)
        self.pages.setdefault(partition, []).extend(Step(list(page)) for page in pages)

    def fail(self, partition: str, number: int, *errors: AdapterError) -> None:
        self.errors.setdefault((partition, number), []).extend(errors)


class Double:
    """The adapter. `script` is given by `double`."""

    system: ClassVar[str] = SYSTEM
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("things", (THINGS, NOTES, REMARKS)), Feed("extras", (EXTRAS,)))
    limits: ClassVar[Limits] = Limits()
    overlap: ClassVar[timedelta] = timedelta(0)
    batch: ClassVar[int] = 3
    script: ClassVar[Script]

    def __init__(self, target: Target, http: Http) -> None:
        self._http = http

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:  # noqa: ARG004 - as the contract says
        if not url.startswith("http"):
            raise BadTarget("url", "The URL of a double begins with http.")
        return Target(url, url)

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:  # noqa: ARG004 - as above
        return Anonymous()

    async def check(self) -> Check:
        self.script.checks += 1
        if self.script.check_error is not None:
            raise self.script.check_error
        return Check("me", "1.0", {"things": self.script.checked})

    async def plan(self, feed: str) -> Sequence[Partition]:
        if feed in self.script.refused_plans:
            raise self.script.refused_plans[feed]
        return [Partition(name) for name in self.script.partitions[feed]]

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        script, name = self.script, partition.name
        steps = script.pages.get(name, [])
        first = int(cursor or 0)
        if first == len(steps) and name not in script.broken:
            yield Page(self._http.clock(), str(first), end=name not in script.endless)
        for number, step in enumerate([*steps[first:], *([Step()] if name in script.broken else [])], first):
            asked_at = self._http.clock()
            await self._behave(name, number)
            if step.seconds:
                await asyncio.sleep(step.seconds)
            last = number + 1 == len(steps) and name not in script.endless
            yield Page(
                asked_at,
                str(number + 1),
                step.records,
                step.rejected,
                step.expected,
                last,
                step.families,
                step.renewed,
            )

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return hook.headers.get("secret") == secret

    @staticmethod
    def hint(hook: Hook) -> Hint:
        return Hint({"things": [hook.body.decode()]})

    async def census(
        self, stream: str, partition: Partition, cursor: str | None
    ) -> AsyncGenerator[Keys, None]:
        """`script.there` by (stream, partition), a page of two keys at a time."""
        keys = self.script.there.get((stream, partition.name), [])
        start = int(cursor or 0)
        while True:
            asked_at = self._http.clock()
            await self._behave(f"census: {stream}/{partition.name}", start)
            after = start + 2
            yield Keys(asked_at, str(after), keys[start:after], end=after >= len(keys))
            if after >= len(keys):
                return
            start = after

    async def _behave(self, partition: str, number: int) -> None:
        script = self.script
        script.asked.append((partition, number))
        script.before_page(partition, number)
        if script.silence is not None:
            await script.silence.wait()
        if script.defect is not None:
            raise script.defect
        if partition in script.broken:
            raise script.broken[partition]
        if errors := script.errors.get((partition, number)):
            raise errors.pop(0)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        asked_at = self._http.clock()
        self.script.fetched.append(list(keys))
        await self._behave(f"by key: {stream}", 0)
        found = [self.script.by_key.get(key, Missing(key, "deleted")) for key in keys]
        return Fetched(
            asked_at,
            [one for one in found if isinstance(one, Record)],
            [one for one in found if isinstance(one, Rejected)],
            [one for one in found if isinstance(one, Missing)],
            self.script.families,
        )


def double(script: Script) -> type[Adapter]:
    """The adapter of one script."""

    class Scripted(Double):
        pass

    Scripted.script = script
    return Scripted
