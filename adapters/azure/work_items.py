"""Work items: ids by query, oldest id first, bodies in batches of 200."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.azure.credential import WORK_ITEMS
from adapters.azure.errors import TooManyItems
from adapters.azure.item import NAME, STREAM, read_item
from adapters.azure.project_list import ProjectList
from adapters.azure.site import Envelope, Site
from adapters.azure.urls import segment
from adapters.azure.values import is_id
from adapters.base import (
    Feed,
    Fetched,
    Forbidden,
    Gone,
    Missing,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    Readable,
    Record,
    Rejected,
    Unavailable,
    Unreadable,
)
from adapters.reply import decode

FEED = Feed(NAME, (STREAM,))
#: More ids in one request are refused (VS403474, vendor docs).
BATCH = 200
_NULL = b"null"
_WIQL = "/_apis/wit/wiql"
_BODIES = "/_apis/wit/workitemsbatch"
_BIN = "/_apis/wit/recyclebin"
_GUID_LENGTH = 36
# Fewer may well be deleted between two requests; so many at once are rather withheld.
_SUSPICIOUS = 10


class _Reference(msgspec.Struct, frozen=True):
    id: int


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    work_items: list[_Reference]


class _Deleted(msgspec.Struct, frozen=True):
    """An entry of the recycle bin; one that is not there comes with a `code` and a message."""

    id: int | str
    code: int = 200


class _Walk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cursor. Between walks only `since`: what changed from then on is to be read.

    During one, `started` is the remote's time of its first query, `last` the highest id that is done,
    `seen` how many items there were.
    """

    since: datetime | None = None
    started: datetime | None = None
    last: int = 0
    seen: int = 0

    @property
    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class _Ids(msgspec.Struct, frozen=True):
    """What a query answered. Ids up to `through` are all here; `final` if the remote has none beyond."""

    ids: list[int]
    through: int
    final: bool
    sent_at: datetime
    asked_at: datetime


class _Bodies(msgspec.Struct, frozen=True):
    asked: Sequence[int]
    sent_at: datetime
    records: list[Record]
    rejected: list[Rejected]


class WorkItems:
    """Walks up the ids, which neither change nor move: whatever happens meanwhile, nothing is skipped.

    An item that changes behind the walk is read by the next one, which goes back to this one's start.
    """

    feed = FEED

    def __init__(
        self, site: Site, projects: ProjectList, since: datetime | None, overlap: timedelta, most: int
    ) -> None:
        """`most` ids are asked for in one query."""
        self._site = site
        self._projects = projects
        self._since = since
        self._overlap = overlap
        self._most = most
        self._project: str | None = None

    async def partitions(self) -> Sequence[Partition]:
        place = await self._site.place()
        return [Partition(place.project or "all")]

    async def read(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """There is one partition, so its name adds nothing."""
        walk = msgspec.json.decode(cursor, type=_Walk) if cursor else _Walk(since=self._since)
        final = False
        while not final:
            found = await self._ids(walk)
            walk = msgspec.structs.replace(walk, started=walk.started or found.asked_at)
            final = found.final
            async for page, after in self._pages(walk, found):
                walk = after
                yield page
            walk = msgspec.structs.replace(walk, last=found.through)

    async def _pages(self, walk: _Walk, found: _Ids) -> AsyncGenerator[tuple[Page, _Walk], None]:
        """A page a batch. At the end of the last the walk is over, and the next one's start is known."""
        if found.final and not found.ids:
            yield Page(found.sent_at, self._over(walk), expected={NAME: walk.seen}, end=True), walk
        for at in range(0, len(found.ids), BATCH):
            answer = await self._listed(found.ids[at : at + BATCH])
            left = len(found.ids) - at - len(answer.asked)
            # Items that vanished between query and batch are not there to be counted.
            seen = walk.seen + len(answer.records) + len(answer.rejected)
            walk = msgspec.structs.replace(walk, last=answer.asked[-1], seen=seen)
            end = found.final and left == 0
            page = Page(
                answer.sent_at,
                self._over(walk) if end else walk.text,
                answer.records,
                answer.rejected,
                expected={NAME: seen + left} if found.final else None,
                end=end,
            )
            yield page, walk

    def _over(self, walk: _Walk) -> str:
        return _Walk(since=walk.started - self._overlap if walk.started else walk.since).text

    async def _ids(self, walk: _Walk) -> _Ids:
        """The next ids. Where the remote refuses an open query for its size, a bounded one is asked."""
        try:
            return await self._query(walk, self._most, None)
        except TooManyItems:
            span = self._most
        while True:
            try:
                return await self._query(walk, span, walk.last + span)
            except TooManyItems:
                if span == 1:
                    raise
                span = max(span // 2, 1)

    async def _query(self, walk: _Walk, most: int, through: int | None) -> _Ids:
        conditions = [f"[System.Id] > {walk.last}"]
        if through is not None:
            conditions.append(f"[System.Id] <= {through}")
        if walk.since is not None:
            conditions.append(f"[System.ChangedDate] >= '{walk.since:%Y-%m-%dT%H:%M:%SZ}'")
        path, scope = await self._scope()
        reply = await self._site.post(
            path,
            {"query": _wiql([*scope, *conditions])},
            # Without time precision a time in a condition is refused (reported by users).
            {"timePrecision": "true", "$top": str(most)},
            WORK_ITEMS,
        )
        ids = [item.id for item in decode(reply, _Answer).work_items]
        top = through or (ids[-1] if ids else walk.last)
        if len(ids) > most or any(a >= b for a, b in zip([walk.last, *ids], [*ids, top + 1], strict=True)):
            raise Unreadable(f"{self._site.host} answered a query for ids with others than asked for.")
        return _Ids(ids, top, through is None and len(ids) < most, reply.sent_at, reply.asked_at)

    async def _scope(self) -> tuple[str, list[str]]:
        """Path and condition that keep a query in the project; the path alone does not restrict it."""
        project = await self._project_name()
        if project is None:
            return _WIQL, []
        quoted = project.replace("'", "''")
        return f"/{segment(project)}{_WIQL}", [f"[System.TeamProject] = '{quoted}'"]

    async def _project_name(self) -> str | None:
        """The project's name: a condition takes no id, so for an id the name is asked once."""
        place = await self._site.place()
        if self._project is None and place.project is not None:
            name = place.project
            if len(name) == _GUID_LENGTH and name.count("-") == 4:
                name = next((project.name for project in await self._projects.all()), name)
            self._project = name
        return self._project

    async def _bodies(self, ids: Sequence[int]) -> _Bodies:
        """What these ids are now; deleted and hidden ones come as null, or not at all."""
        asking = {"ids": ids, "$expand": "relations", "errorPolicy": "omit"}
        reply = await self._site.post(_BODIES, asking, None, WORK_ITEMS)
        values = decode(reply, Envelope).value
        # One element for each id, in their order: so even an illegible one can be told.
        hints = ids if len(values) == len(ids) else [None] * len(values)
        found = [read_item(raw, hint) for raw, hint in zip(values, hints, strict=True) if bytes(raw) != _NULL]
        records = [read for read in found if isinstance(read, Record)]
        return _Bodies(ids, reply.sent_at, records, [read for read in found if isinstance(read, Rejected)])

    async def _listed(self, ids: Sequence[int]) -> _Bodies:
        """The bodies of ids that a query has just named."""
        bodies = await self._bodies(ids)
        if not bodies.records and not bodies.rejected and len(ids) > _SUSPICIOUS:
            raise Unavailable(
                f"{self._site.host} names {len(ids)} work items and then gives out none of them.",
                hint="If this goes on, check that the account may see the area paths of the work items.",
            )
        return bodies

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        """Work items by id; of a missing one the recycle bin is the only proof that it was deleted."""
        ids = sorted({int(key) for key in keys if is_id(key)})
        bodies = await self._bodies(ids) if ids else _Bodies(ids, self._site.now(), [], [])
        if any(read.key is None for read in bodies.rejected):
            raise Unreadable(f"{self._site.host} answered for work items with something else.")
        project = await self._project_name()
        found = {record.key: record for record in bodies.records if record.key in set(keys)}
        away = [key for key, record in found.items() if project and not _in_project(record, project)]
        missing = [Missing(key, "left") for key in away]
        settled = {*found, *(read.key for read in bodies.rejected)}
        unknown = [key for key in dict.fromkeys(keys) if key not in settled]
        in_bin = await self._in_bin([key for key in unknown if is_id(key)])
        for key in unknown:
            reason: Gone = "deleted" if key in in_bin else "hidden"
            missing.append(Missing(key, reason))
        records = [record for key, record in found.items() if key not in away]
        return Fetched(bodies.sent_at, records, bodies.rejected, missing)

    async def _in_bin(self, keys: Sequence[str]) -> set[str]:
        """Which of these the recycle bin holds; none where we may not look into it."""
        if not keys:
            return set()
        try:
            reply = await self._site.get(_BIN, {"ids": ",".join(keys)}, WORK_ITEMS)
        except (Forbidden, NotFound, QueryRejected):
            return set()
        # Seen both bare and in the usual envelope (documented examples, vendor's OpenAPI document).
        bare = reply.body.lstrip().startswith(b"[")
        listed = decode(reply, list[_Deleted | None]) if bare else decode(reply, _Bin).value
        return {str(entry.id) for entry in listed if entry is not None and entry.code == 200}

    async def check(self) -> Readable:
        """Whether a query is answered, and how many ids it names if one answer holds them all."""
        try:
            found = await self._query(_Walk(since=self._since), self._most, None)
        except TooManyItems:
            return Readable(True)
        return Readable(True, len(found.ids) if found.final else None)


class _Bin(msgspec.Struct, frozen=True):
    value: list[_Deleted | None]


def _wiql(conditions: Sequence[str]) -> str:
    where = " AND ".join(conditions)
    return f"SELECT [System.Id] FROM WorkItems WHERE {where} ORDER BY [System.Id] ASC"  # noqa: S608 - not SQL


def _in_project(record: Record, project: str) -> bool:
    at = next(i for i, column in enumerate(STREAM.columns) if column.name == "project")
    name = record.columns[at]
    return not isinstance(name, str) or name.casefold() == project.casefold()
