"""Builds: of each project the ones queued since, oldest first; those that still run are asked for by id."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from adapters.azure.build import NAME, STREAM, Build, read_build
from adapters.azure.credential import BUILDS
from adapters.azure.project_list import Project, ProjectList
from adapters.azure.site import Envelope, Site
from adapters.azure.urls import segment
from adapters.azure.values import is_id
from adapters.azure.walk import Listing, Walk, ids_in, walk_of, walked
from adapters.base import (
    AdapterError,
    Feed,
    Fetched,
    Forbidden,
    Gone,
    Keys,
    Missing,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    Readable,
    Rejected,
    Unreadable,
)
from adapters.reply import Reply, decode

FEED = Feed(NAME, (STREAM,))
#: Builds in one answer, of about 6 KB each. The remote gives out up to 5,000.
PAGE = 200
#: Of a census, which keeps nothing of them but the id. No list of builds can do without their bodies.
CENSUS_PAGE = 1000
_PATH = "/_apis/build/builds"


class Builds:
    """Walks up the times at which builds were queued, which never change, project by project.

    The default order is by finish, in which a build that runs long appears behind the cursor or not at all;
    by queue time each appears once, where it was queued, and is looked at again by its id until it has
    finished. `minTime` means the time that `queryOrder` names (vendor's OpenAPI document).
    """

    feed = FEED

    def __init__(self, site: Site, projects: ProjectList, since: datetime | None, overlap: timedelta) -> None:
        self._site = site
        self._projects = projects
        self._since = since
        self._overlap = overlap

    async def partitions(self) -> Sequence[Partition]:
        return await self._projects.partitions()

    async def read(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        walk = walk_of(cursor) if cursor else Walk(since=self._since)
        async for step in walked(self._site, partition, _LISTING, walk):
            found = [read_build(raw, partition.name) for raw in step.values]
            await self._site.prove(step.reply)
            records = [one.record if isinstance(one, Build) else one for one in found]
            yield step.page(NAME, records, self._overlap)

    async def census(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """The ids of a project's builds, each page proven to be for us."""
        walk = walk_of(cursor) if cursor else Walk(since=self._since)
        listing = replace(_LISTING, page=CENSUS_PAGE)
        async for step in walked(self._site, partition, listing, walk):
            await self._site.prove(step.reply, anew=True)
            keys = [str(number) for number in ids_in(step.values)]
            yield Keys(step.reply.sent_at, step.after.text, keys, end=not step.after.token)

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        """Builds by id, deleted ones included: that they are listed as such is the proof.

        Where no project is named all are asked at once, and one by one for what was not found: older
        clients of the vendor leave the project out, today's documents ask for it. Raises the last refusal
        if nobody answers.
        """
        ids = [key for key in dict.fromkeys(keys) if is_id(key)]
        found: dict[str, Build] = {}
        observed_at: datetime | None = None
        refusal: AdapterError | None = None
        async for root in self._roots():
            if not (left := [key for key in ids if key not in found]):
                break
            try:
                reply = await self._site.get(f"{root}{_PATH}", _by_id(left), BUILDS)
            except (Forbidden, NotFound, QueryRejected) as e:
                refusal = e
                continue
            observed_at = observed_at or reply.sent_at
            found |= self._asked_for(reply, left)
            await self._site.prove(reply, anew=any(key not in found for key in left))
        if refusal is not None and observed_at is None:
            raise refusal
        gone: list[tuple[str, Gone]] = [(key, "deleted") for key, build in found.items() if build.deleted]
        gone += [(key, "hidden") for key in dict.fromkeys(keys) if key not in found]
        records = [build.record for build in found.values() if not build.deleted]
        missing = [Missing(key, reason) for key, reason in gone]
        return Fetched(observed_at or self._site.now(), records, missing=missing)

    async def _roots(self) -> AsyncGenerator[str, None]:
        """Where to ask for builds by id: in the one project, else everywhere and then in each project."""
        place = await self._site.place()
        if place.project is not None:
            yield f"/{segment(place.project)}"
            return
        yield ""
        for project in await self._projects.all():
            yield f"/{segment(project.id)}"

    def _asked_for(self, reply: Reply, ids: Sequence[str]) -> dict[str, Build]:
        read = [read_build(raw) for raw in decode(reply, Envelope).value]
        if any(isinstance(one, Rejected) for one in read):
            raise Unreadable(f"{self._site.host} answered for builds with something else.")
        found = {one.record.key: one for one in read if isinstance(one, Build)}
        return {key: found[key] for key in ids if key in found}

    async def check(self) -> Readable:
        """Whether builds can be read; the remote does not count them."""

        async def ask(project: Project) -> None:
            asking = {"$top": "1", "queryOrder": "queueTimeDescending"}
            reply = await self._site.get(f"/{segment(project.id)}{_PATH}", asking, BUILDS)
            decode(reply, Envelope)

        return await self._projects.each(BUILDS, ask)


def _asking(walk: Walk) -> dict[str, str]:
    asking = {"queryOrder": "queueTimeAscending"}
    if walk.since is not None:
        asking["minTime"] = f"{walk.since:%Y-%m-%dT%H:%M:%SZ}"
    return asking


_LISTING = Listing(NAME, _PATH, BUILDS, _asking, PAGE)


def _by_id(ids: Sequence[str]) -> dict[str, str]:
    return {"buildIds": ",".join(ids), "deletedFilter": "includeDeleted"}
