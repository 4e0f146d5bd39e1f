"""The projects that a connection reads, listed once for all feeds that are read project by project."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from adapters.azure.credential import PROJECTS, Need
from adapters.azure.listing import Patience, next_token
from adapters.azure.site import PROJECTS_PARAMS, PROJECTS_PATH, Envelope, Site
from adapters.azure.urls import segment
from adapters.base import AdapterError, Forbidden, NotFound, Partition, QueryRejected, Readable
from adapters.reply import Reply, decode

# A check answers while somebody waits: of a large organisation it looks at some projects only.
_CHECKED = 10
_NAMED = 3
#: What may be said of one project and not of another.
_REFUSALS = (Forbidden, NotFound, QueryRejected)


class Project(msgspec.Struct, frozen=True):
    """A project by its GUID, in lower case, which stays when it is renamed."""

    id: str
    name: str


class _Listed(msgspec.Struct):
    id: str
    name: str = ""
    visibility: object = None


_listed = msgspec.json.Decoder(_Listed)


class ProjectList:
    """Answers are kept until the feed of the projects takes them, so that listing costs nothing twice."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: dict[str, Reply] = {}
        self._projects: list[Project] | None = None
        self._asking = asyncio.Lock()

    async def ask(self, token: str = "") -> Reply:
        """A page of the list; or, where the URL names a project, that project by itself."""
        place = await self._site.place()
        if opening := self._site.take_opening():
            self._kept[""] = opening
        if kept := self._kept.pop(token, None):
            return kept
        if place.project is not None:
            return await self._site.get(f"{PROJECTS_PATH}/{segment(place.project)}", None, PROJECTS)
        asking = {"continuationToken": token} if token else {}
        return await self._site.get(PROJECTS_PATH, PROJECTS_PARAMS | asking, PROJECTS)

    async def all(self) -> Sequence[Project]:
        """Every project that is read, asked for once."""
        async with self._asking:
            if self._projects is None:
                self._projects = await self._walked()
            return self._projects

    async def _walked(self) -> list[Project]:
        place = await self._site.place()
        found: list[Project] = []
        token = ""
        patience = Patience(self._site.host, "projects", token)
        while True:
            reply = self._kept[token] = await self.ask(token)
            if place.project is not None:
                listed = [decode(reply, _Listed)]
            else:
                listed = [one for raw in decode(reply, Envelope).value if (one := _legible(raw))]
            await self._site.prove(reply, private=any(one.visibility != "public" for one in listed))
            found += [Project(one.id.lower(), one.name or one.id) for one in listed]
            token = "" if place.project is not None else next_token(reply)
            if not token:
                return found
            patience.spend(token, len(listed))

    async def binned(self) -> set[str]:
        """The GUIDs of the projects in the bin, kept for 28 days; empty where we may not look into it.

        Proven to be for us.
        """
        asking = PROJECTS_PARAMS | {"stateFilter": "deleted", "$top": "1000"}
        try:
            reply = await self._site.get(PROJECTS_PATH, asking, PROJECTS)
        except (Forbidden, NotFound, QueryRejected):
            await self._site.vouch()
            return set()
        await self._site.prove(reply, anew=True)
        return {one.id.lower() for raw in decode(reply, Envelope).value if (one := _legible(raw))}

    async def partitions(self) -> Sequence[Partition]:
        """One for each project, marked with its name for people."""
        return [Partition(project.id, project.name) for project in await self.all()]

    async def each(self, need: Need, ask: Callable[[Project], Awaitable[int | None]]) -> Readable:
        """Whether what `ask` asks of a project can be read, and the sum where all counts are exact.

        Readable if any project's is; the problem then names those that are not.
        """
        projects = await self.all()
        looked = projects[:_CHECKED]

        async def tried(project: Project) -> int | AdapterError | None:
            try:
                return await ask(project)
            except AdapterError as e:
                return e

        answers = await asyncio.gather(*(tried(project) for project in looked))
        for answer in answers:
            if isinstance(answer, AdapterError) and not isinstance(answer, _REFUSALS):
                raise answer
        refused = [(p.name, a) for p, a in zip(looked, answers, strict=True) if isinstance(a, AdapterError)]
        if refused and len(refused) == len(looked):
            raise refused[0][1]
        counts = [answer for answer in answers if isinstance(answer, int)]
        count = sum(counts) if len(counts) == len(projects) else None
        if not refused:
            return Readable(True, count)
        first = refused[0][1]
        names = ", ".join(name for name, _ in refused[:_NAMED]) + (", ..." if len(refused) > _NAMED else "")
        how_many = f"{len(refused)} of {len(looked)} projects"
        problem = f"The {need.what} of {how_many} cannot be read ({names}): {first.message} {first.hint}"
        return Readable(True, None, problem, first.kind)


def _legible(raw: msgspec.Raw) -> _Listed | None:
    """What has no id is the projects feed's to reject; nothing can be read in it."""
    try:
        return _listed.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
