"""The projects of an organisation or collection, or the one project that the URL names."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from adapters.azure.credential import PROJECTS
from adapters.azure.listing import Patience, next_token
from adapters.azure.project_list import ProjectList
from adapters.azure.site import PROJECTS_PATH, Envelope, Site
from adapters.azure.urls import segment
from adapters.azure.values import moment, text
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
from adapters.reply import Reply, decode

NAME = "projects"
STREAM = Stream(
    NAME,
    columns=(
        Column("name", "text", "name"),
        Column("description", "text", "description"),
        Column("state", "text", "state"),
        Column("visibility", "text", "visibility"),
        Column("url", "text", "url"),
    ),
    # A project asked for by itself has these; the same project in the list has not.
    volatile=("_links", "defaultTeam"),
)
FEED = Feed(NAME, (STREAM,))


class _Project(msgspec.Struct, rename="camel"):
    id: str
    name: object = None
    description: object = None
    state: object = None
    visibility: object = None
    url: object = None
    revision: object = None
    last_update_time: object = None


class _Id(msgspec.Struct):
    id: str


class _Walk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cursor: the token of the next page, empty between walks, and the projects seen in this one."""

    token: str = ""
    seen: int = 0


_record = msgspec.json.Decoder(_Project)


def read_project(raw: msgspec.Raw) -> tuple[Record | Rejected, _Project | None]:
    """One project as a record; what has no id is rejected."""
    body = bytes(raw)
    try:
        project = _record.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return Rejected(NAME, None, f"Not a project as we know it: {e}", body), None
    values = (project.name, project.description, project.state, project.visibility, project.url)
    version = str(project.revision) if isinstance(project.revision, int) else None
    record = Record(
        NAME,
        project.id.lower(),
        body,
        updated_at=moment(project.last_update_time),
        version=version,
        columns=tuple(text(value) for value in values),
    )
    return record, project


class Projects:
    """Reads the list anew each time: one request for a hundred projects, and unchanged ones cost nothing."""

    feed = FEED

    def __init__(self, site: Site, projects: ProjectList) -> None:
        self._site = site
        self._projects = projects

    async def partitions(self) -> Sequence[Partition]:
        await self._site.place()
        return [Partition("all")]

    async def read(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """There is one partition, so its name adds nothing."""
        async for page in self._walked(cursor):
            yield page

    async def census(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """The same requests, as a list of projects tells little more than keys; each proven to be for us."""
        async for page in self._walked(cursor, anew=True):
            keys = [record.key for record in page.records]
            yield Keys(page.observed_at, page.cursor, keys, end=page.end)

    async def _walked(self, cursor: str | None, *, anew: bool = False) -> AsyncGenerator[Page, None]:
        place = await self._site.place()
        if place.project is not None:
            yield await self._only(place.project, anew=anew)
            return
        walk = msgspec.json.decode(cursor, type=_Walk) if cursor else _Walk()
        patience = Patience(self._site.host, NAME, walk.token)
        while True:
            page, token = await self._page(walk, anew=anew)
            patience.spend(token, len(page.records) + len(page.rejected))
            yield page
            if not token:
                return
            walk = msgspec.json.decode(page.cursor, type=_Walk)

    async def _only(self, name: str, *, anew: bool) -> Page:
        reply = await self._projects.ask()
        read, project = read_project(msgspec.Raw(_whole(reply)))
        if isinstance(read, Rejected):
            raise Unreadable(f"{self._site.host} answered for the project {name} with something else.")
        private = project is not None and project.visibility != "public"
        await self._site.prove(reply, private=private, anew=anew)
        return Page(reply.sent_at, _encode(_Walk()), [read], expected={NAME: 1}, end=True)

    async def _page(self, walk: _Walk, *, anew: bool) -> tuple[Page, str]:
        """One page of the list and the token of the next; empty at the end."""
        reply = await self._projects.ask(walk.token)
        found = [read_project(raw) for raw in decode(reply, Envelope).value]
        private = any(project and project.visibility != "public" for _, project in found)
        await self._site.prove(reply, private=private, anew=anew)
        token = next_token(reply)
        seen = walk.seen + len(found)
        page = Page(
            reply.sent_at,
            _encode(_Walk(token, seen) if token else _Walk()),
            [read for read, _ in found if isinstance(read, Record)],
            [read for read, _ in found if isinstance(read, Rejected)],
            expected=None if token else {NAME: seen},
            end=not token,
        )
        return page, token

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        """Projects by GUID: those of the list as `read` sees them, the others asked for one by one."""
        observed_at: datetime | None = None
        listed: dict[str, Record] = {}
        async for page in self._walked(None):
            observed_at = observed_at or page.observed_at
            listed |= {record.key: record for record in page.records}
        records, missing = [], []
        for key in dict.fromkeys(keys):
            found = listed.get(key.lower()) or await self._unlisted(key)
            if isinstance(found, Record):
                records.append(found)
            else:
                missing.append(Missing(key, found))
        if observed_at is None:
            raise Unreadable(f"{self._site.host} lists no page of projects.")
        return Fetched(observed_at, records, missing=missing)

    async def _unlisted(self, key: str) -> Record | Gone:
        """What became of a project that is not in the list: proof comes from the bin, kept for 28 days."""
        place = await self._site.place()
        try:
            reply = await self._site.get(f"{PROJECTS_PATH}/{segment(key)}", None, PROJECTS)
        except NotFound:
            return "deleted" if key.lower() in await self._projects.binned() else "hidden"
        read, project = read_project(msgspec.Raw(_whole(reply)))
        if isinstance(read, Rejected) or project is None:
            raise Unreadable(f"{self._site.host} answered for a project with something else.")
        if project.state in ("deleting", "deleted"):
            return "deleted"
        return "left" if place.project is not None else read

    async def check(self) -> Readable:
        """How many projects are shown to us."""
        count = 0
        async for page in self._walked(None):
            count += len(page.records) + len(page.rejected)
        return Readable(True, count)


def _whole(reply: Reply) -> bytes:
    decode(reply, _Id)
    return reply.body


def _encode(walk: _Walk) -> str:
    return msgspec.json.encode(walk).decode()
