"""Pipelines: the build definitions of each project, the last changed first."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from adapters.azure.credential import PIPELINES
from adapters.azure.listing import next_token
from adapters.azure.project_list import Project, ProjectList
from adapters.azure.site import Envelope, Site
from adapters.azure.urls import segment
from adapters.azure.values import identifier, is_id, moment, person, person_id, text, whole
from adapters.azure.walk import Listing, Walk, ids_in, walk_of, walked
from adapters.base import (
    Column,
    Feed,
    Fetched,
    Gone,
    Keys,
    Missing,
    NotFound,
    Page,
    Partition,
    Readable,
    Record,
    Rejected,
    Stream,
    Unreadable,
)
from adapters.reply import decode

NAME = "pipelines"
STREAM = Stream(
    NAME,
    columns=(
        Column("project", "text", "project.name"),
        Column("number", "integer", "id"),
        Column("name", "text", "name"),
        Column("folder", "text", "path"),
        Column("type", "text", "type"),
        Column("quality", "text", "quality"),
        Column("queue_status", "text", "queueStatus"),
        Column("revision", "integer", "revision"),
        Column("description", "text", "description"),
        Column("author", "text", "authoredBy.displayName"),
        Column("author_id", "text", "authoredBy.id"),
        Column("repository", "text", "repository.name"),
        Column("repository_id", "text", "repository.id"),
        Column("repository_type", "text", "repository.type"),
        Column("default_branch", "text", "repository.defaultBranch"),
        Column("yaml_file", "text", "process.yamlFilename"),
    ),
    parent="projects",
    # The first two only say where we asked; the project has a revision and a time of change of its own.
    volatile=("_links", "url", "project"),
)
FEED = Feed(NAME, (STREAM,))
#: Definitions in one answer. A designed one, with all its steps, has 100 KB and more.
PAGE = 100
#: Of a census, which asks for the shallow form.
CENSUS_PAGE = 1000
_PATH = "/_apis/build/definitions"
_WHOLE = {"includeAllProperties": "true"}


class _Pipeline(msgspec.Struct, rename="camel"):
    """Only the id must be right; members for columns are taken as they come."""

    id: int
    name: object = None
    path: object = None
    type: object = None
    quality: object = None
    queue_status: object = None
    revision: object = None
    description: object = None
    created_date: object = None
    authored_by: object = None
    repository: object = None
    process: object = None
    project: object = None


_pipeline = msgspec.json.Decoder(_Pipeline)


def read_pipeline(raw: msgspec.Raw, project: str) -> Record | Rejected:
    """One pipeline of the project with that GUID; rejected without an id, whatever else is odd is left out.

    The time of a definition is that at which its present revision was made (vendor's OpenAPI document).
    """
    body = bytes(raw)
    try:
        found = _pipeline.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        return Rejected(NAME, None, f"Not a pipeline as we know it: {e}", body)
    repository, revision = _members(found.repository), whole(found.revision)
    return Record(
        NAME,
        f"{project}/{found.id}",
        body,
        parent=project,
        updated_at=moment(found.created_date),
        version=None if revision is None else str(revision),
        columns=(
            text(_members(found.project).get("name")),
            found.id,
            text(found.name),
            text(found.path),
            text(found.type),
            text(found.quality),
            text(found.queue_status),
            revision,
            text(found.description),
            person(found.authored_by),
            person_id(found.authored_by),
            text(repository.get("name")),
            identifier(repository.get("id")),
            text(repository.get("type")),
            text(repository.get("defaultBranch")),
            text(_members(found.process).get("yamlFilename")),
        ),
    )


class Pipelines:
    """Reads `build/definitions` with all properties, not the newer `pipelines`.

    The latter tells six members and no time of change; the former tells all of these and, besides, the
    repository, YAML file, triggers, variables (values of secret ones are never given out), queue, author and
    state, and exists on every server (vendor's OpenAPI documents, recorded answers of both).

    A walk goes down from the last changed one and is over where the walk before began. What changes
    meanwhile moves to the front, behind us, and is read by the next one.
    """

    feed = FEED

    def __init__(self, site: Site, projects: ProjectList, overlap: timedelta) -> None:
        self._site = site
        self._projects = projects
        self._overlap = overlap

    async def partitions(self) -> Sequence[Partition]:
        return await self._projects.partitions()

    async def read(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        walk = walk_of(cursor) if cursor else Walk()
        async for step in walked(self._site, partition, _LISTING, walk):
            found = [read_pipeline(raw, partition.name) for raw in step.values]
            await self._site.prove(step.reply)
            if _reached(walk.since, found):
                yield replace(step, after=replace(step.after, token="")).page(NAME, found, self._overlap)
                return
            yield step.page(NAME, found, self._overlap)

    async def census(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """The ids of a project's pipelines in the order of their names, each page proven to be for us."""
        walk = walk_of(cursor) if cursor else Walk()
        async for step in walked(self._site, partition, _SHALLOW, walk):
            await self._site.prove(step.reply, anew=True)
            keys = [f"{partition.name}/{number}" for number in ids_in(step.values)]
            yield Keys(step.reply.sent_at, step.after.text, keys, end=not step.after.token)

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        """Pipelines by key, a request for each project.

        What became of a missing one cannot be proved, unless its whole project is in the bin.
        """
        asked_at: datetime | None = None
        found: dict[str, Record] = {}
        for project, ids in _by_project(keys).items():
            asking = {**_WHOLE, "definitionIds": ",".join(ids)}
            try:
                reply = await self._site.get(f"/{segment(project)}{_PATH}", asking, PIPELINES)
            except NotFound:
                continue
            asked_at = asked_at or reply.sent_at
            read = [read_pipeline(raw, project) for raw in decode(reply, Envelope).value]
            if any(isinstance(one, Rejected) for one in read):
                raise Unreadable(f"{self._site.host} answered for pipelines with something else.")
            await self._site.prove(reply, anew=len(read) < len(ids))
            found |= {one.key: one for one in read if isinstance(one, Record) and one.key in set(keys)}
        mine = await self._mine()
        records = [one for one in found.values() if mine is None or one.parent in mine]
        missing = [Missing(one.key, "left") for one in found.values() if one not in records]
        missing += await self._missing([key for key in dict.fromkeys(keys) if key not in found])
        return Fetched(asked_at or self._site.now(), records, missing=missing)

    async def _mine(self) -> set[str] | None:
        """The one project that is read; None if all are."""
        place = await self._site.place()
        return None if place.project is None else {project.id for project in await self._projects.all()}

    async def _missing(self, keys: Sequence[str]) -> list[Missing]:
        binned = await self._projects.binned() if keys else set[str]()
        whys: list[Gone] = ["deleted" if key.partition("/")[0] in binned else "hidden" for key in keys]
        return [Missing(key, why) for key, why in zip(keys, whys, strict=True)]

    async def check(self) -> Readable:
        """How many pipelines there are, where they are few enough to be listed for that."""

        async def ask(project: Project) -> int | None:
            reply = await self._site.get(f"/{segment(project.id)}{_PATH}", {"$top": "500"}, PIPELINES)
            listed = decode(reply, Envelope).value
            return None if next_token(reply) else len(listed)

        return await self._projects.each(PIPELINES, ask)


_LISTING = Listing(NAME, _PATH, PIPELINES, lambda _: {**_WHOLE, "queryOrder": "lastModifiedDescending"}, PAGE)
_SHALLOW = Listing(NAME, _PATH, PIPELINES, lambda _: {"queryOrder": "definitionNameAscending"}, CENSUS_PAGE)


def _reached(since: datetime | None, found: Sequence[Record | Rejected]) -> bool:
    """Whether a page goes back behind `since`, so that everything below it is known.

    Not believed of a page that is not in the order that was asked for.
    """
    times = [one.updated_at for one in found if isinstance(one, Record) and one.updated_at]
    ordered = len(times) == len(found) and all(a >= b for a, b in pairwise(times))
    return since is not None and bool(times) and ordered and times[-1] < since


def _by_project(keys: Sequence[str]) -> dict[str, list[str]]:
    """Ids by the GUID of their project; what is no key of a pipeline is left out."""
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        project, _, number = key.partition("/")
        if project and is_id(number):
            found.setdefault(project, []).append(number)
    return found


def _members(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
