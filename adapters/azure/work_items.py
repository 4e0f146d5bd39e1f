"""Work items: ids by query, oldest id first, bodies in batches of 200."""

from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.azure import absent
from adapters.azure.credential import WORK_ITEMS
from adapters.azure.item import NAME, STREAM, read_item
from adapters.azure.project_list import ProjectList
from adapters.azure.query import Ids, Queries
from adapters.azure.site import Envelope, Site
from adapters.azure.values import is_id
from adapters.base import (
    Feed,
    Fetched,
    Keys,
    Missing,
    Page,
    Partition,
    Readable,
    Record,
    Rejected,
    Unavailable,
    Unreadable,
)
from adapters.reply import Reply, decode

FEED = Feed(NAME, (STREAM,))
#: More ids in one request are refused (VS403474, vendor docs).
BATCH = 200
_NULL = b"null"
_BODIES = "/_apis/wit/workitemsbatch"
# Fewer may well be deleted between two requests; so many at once are rather withheld.
_SUSPICIOUS = 10
_KEYS_A_PAGE = 5000


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


class _Bodies(msgspec.Struct, frozen=True):
    asked: Sequence[int]
    reply: Reply
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
        self._since = since
        self._overlap = overlap
        self._queries = Queries(site, projects, most)

    async def partitions(self) -> Sequence[Partition]:
        place = await self._site.place()
        return [Partition(place.project or "all")]

    async def read(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """There is one partition, so its name adds nothing."""
        walk = msgspec.json.decode(cursor, type=_Walk) if cursor else _Walk(since=self._since)
        final = False
        while not final:
            found = await self._queries.above(walk.last, walk.since)
            walk = msgspec.structs.replace(walk, started=walk.started or found.asked_at)
            final = found.final
            async for page, after in self._pages(walk, found):
                walk = after
                yield page
            walk = msgspec.structs.replace(walk, last=found.through)

    async def census(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """The ids of the queries, each answer proven to be for us. One partition, as in reading."""
        last, final = (msgspec.json.decode(cursor, type=_Walk).last if cursor else 0), False
        while not final:
            found = await self._queries.above(last, self._since)
            await self._site.prove(found.reply, anew=True)
            last, final = found.through, found.final
            for at in range(0, max(len(found.ids), 1), _KEYS_A_PAGE):
                ids = found.ids[at : at + _KEYS_A_PAGE]
                through = at + _KEYS_A_PAGE >= len(found.ids)
                after = _Walk(last=last if through else ids[-1])
                yield Keys(found.reply.sent_at, after.text, list(map(str, ids)), end=final and through)

    async def _pages(self, walk: _Walk, found: Ids) -> AsyncGenerator[tuple[Page, _Walk], None]:
        """A page a batch. At the end of the last the walk is over, and the next one's start is known."""
        if found.final and not found.ids:
            sent_at = found.reply.sent_at
            yield Page(sent_at, self._over(walk), expected={NAME: walk.seen}, end=True), walk
        for at in range(0, len(found.ids), BATCH):
            answer = await self._listed(found.ids[at : at + BATCH])
            left = len(found.ids) - at - len(answer.asked)
            # Items that vanished between query and batch are not there to be counted.
            seen = walk.seen + len(answer.records) + len(answer.rejected)
            walk = msgspec.structs.replace(walk, last=answer.asked[-1], seen=seen)
            end = found.final and left == 0
            page = Page(
                answer.reply.sent_at,
                self._over(walk) if end else walk.text,
                answer.records,
                answer.rejected,
                expected={NAME: seen + left} if found.final else None,
                end=end,
            )
            yield page, walk

    def _over(self, walk: _Walk) -> str:
        return _Walk(since=walk.started - self._overlap if walk.started else walk.since).text

    async def _bodies(self, ids: Sequence[int]) -> _Bodies:
        """What these ids are now; deleted and hidden ones come as null, or not at all."""
        asking = {"ids": ids, "$expand": "relations", "errorPolicy": "omit"}
        reply = await self._site.post(_BODIES, asking, None, WORK_ITEMS)
        values = decode(reply, Envelope).value
        # One element for each id, in their order: so even an illegible one can be told.
        hints = ids if len(values) == len(ids) else [None] * len(values)
        found = [read_item(raw, hint) for raw, hint in zip(values, hints, strict=True) if bytes(raw) != _NULL]
        records = [read for read in found if isinstance(read, Record)]
        return _Bodies(ids, reply, records, [read for read in found if isinstance(read, Rejected)])

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
        """Work items by id. One in another project than the connection's has left."""
        ids = sorted({int(key) for key in keys if is_id(key)})
        if not ids:
            missing = [Missing(key, "hidden") for key in dict.fromkeys(keys)]
            return Fetched(self._site.now(), missing=missing)
        bodies = await self._bodies(ids)
        if any(read.key is None for read in bodies.rejected):
            raise Unreadable(f"{self._site.host} answered for work items with something else.")
        found = {record.key: record for record in bodies.records if record.key in set(keys)}
        away = await self._away(found.values())
        missing = [Missing(key, "left") for key in away]
        settled = {*found, *(read.key for read in bodies.rejected)}
        if unknown := [key for key in dict.fromkeys(keys) if key not in settled]:
            why = await absent.reasons(self._site, self._queries, unknown)
            missing += [Missing(key, reason) for key, reason in why.items()]
        records = [record for key, record in found.items() if key not in away]
        return Fetched(bodies.reply.sent_at, records, bodies.rejected, missing)

    async def _away(self, records: Collection[Record]) -> set[str]:
        """The keys of those outside of the one project that is read.

        Before any is believed to be, the project is looked up: under its old name all would be outside.
        """
        project = await self._queries.project()
        if project is None or all(_in_project(record, project) for record in records):
            return set()
        project = await self._queries.project(spelled=True) or project
        return {record.key for record in records if not _in_project(record, project)}

    async def check(self) -> Readable:
        """Whether a query is answered, and how many ids it names if one answer holds them all."""
        return Readable(True, await self._queries.count(self._since))


def _in_project(record: Record, project: str) -> bool:
    at = next(i for i, column in enumerate(STREAM.columns) if column.name == "project")
    name = record.columns[at]
    return not isinstance(name, str) or name.casefold() == project.casefold()
