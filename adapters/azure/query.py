"""Queries for the ids of work items, and by which clock they were answered."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.azure.credential import WORK_ITEMS
from adapters.azure.errors import TooManyItems
from adapters.azure.project_list import ProjectList
from adapters.azure.site import Site
from adapters.azure.urls import segment
from adapters.base import Unreadable
from adapters.reply import Reply, decode
from adapters.times import parse_http_date, parse_time

_WIQL = "/_apis/wit/wiql"
_GUID_LENGTH = 36
# The two times in an answer are of machines in one place (seen in recorded answers: a second apart).
_AGREE = timedelta(minutes=1)


class _Reference(msgspec.Struct, frozen=True):
    id: int


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    work_items: list[_Reference]
    as_of: object = None


class Ids(msgspec.Struct, frozen=True):
    """What a query answered. Ids up to `through` are all here; `final` if the remote has none beyond.

    `asked_at` is the remote's time of it.
    """

    ids: list[int]
    through: int
    final: bool
    reply: Reply
    asked_at: datetime


class Queries:
    """Asks for ids, in the one project or everywhere."""

    def __init__(self, site: Site, projects: ProjectList, most: int) -> None:
        """`most` ids are asked for in one query."""
        self._site = site
        self._projects = projects
        self._most = most
        self._project: str | None = None

    async def above(self, last: int, since: datetime | None) -> Ids:
        """The next ids of items changed since. Where the remote refuses an open query for its size, a
        bounded one is asked.
        """
        try:
            return await self._above(last, since, self._most, None)
        except TooManyItems:
            span = self._most
        while True:
            try:
                return await self._above(last, since, span, last + span)
            except TooManyItems:
                if span == 1:
                    raise
                span = max(span // 2, 1)

    async def count(self, since: datetime | None) -> int | None:
        """How many there are, if one answer holds them all."""
        try:
            found = await self._above(0, since, self._most, None)
        except TooManyItems:
            return None
        return len(found.ids) if found.final else None

    async def newest(self, *, everywhere: bool = False) -> int:
        """The highest id of what this account reads in the project, or everywhere; 0 if it reads nothing.

        Proven to be about us: in the public part ids are missing.
        """
        path, scope = (_WIQL, []) if everywhere else await self._scope()
        reply, answer = await self._ask(path, _wiql(scope, "DESC"), 1)
        await self._site.prove(reply, anew=True)
        return max((item.id for item in answer.work_items), default=0)

    async def _above(self, last: int, since: datetime | None, most: int, through: int | None) -> Ids:
        conditions = [f"[System.Id] > {last}"]
        if through is not None:
            conditions.append(f"[System.Id] <= {through}")
        if since is not None:
            conditions.append(f"[System.ChangedDate] >= '{since:%Y-%m-%dT%H:%M:%SZ}'")
        path, scope = await self._scope()
        reply, answer = await self._ask(path, _wiql([*scope, *conditions], "ASC"), most)
        ids = [item.id for item in answer.work_items]
        top = through or (ids[-1] if ids else last)
        if len(ids) > most or any(a >= b for a, b in zip([last, *ids], [*ids, top + 1], strict=True)):
            raise Unreadable(f"{self._site.host} answered a query for ids with others than asked for.")
        return Ids(ids, top, through is None and len(ids) < most, reply, remotes_time(reply, answer.as_of))

    async def _ask(self, path: str, query: str, most: int) -> tuple[Reply, _Answer]:
        # Without time precision a time in a condition is refused (reported by users).
        params = {"timePrecision": "true", "$top": str(most)}
        reply = await self._site.post(path, {"query": query}, params, WORK_ITEMS)
        return reply, decode(reply, _Answer)

    async def _scope(self) -> tuple[str, list[str]]:
        """Path and condition that keep a query in the project; the path alone does not restrict it."""
        project = await self.project()
        if project is None:
            return _WIQL, []
        quoted = project.replace("'", "''")
        return f"/{segment(project)}{_WIQL}", [f"[System.TeamProject] = '{quoted}'"]

    async def project(self, *, spelled: bool = False) -> str | None:
        """The project's name: a condition takes no id, so for an id the name is asked once.

        With `spelled` it is asked in any case, and is as work items name it now. Raises `NotFound` if there
        is no such project any more.
        """
        place = await self._site.place()
        if place.project is None:
            return None
        if spelled or (self._project is None and _is_guid(place.project)):
            self._project = next((project.name for project in await self._projects.all()), place.project)
        return self._project or place.project


def remotes_time(reply: Reply, as_of: object) -> datetime:
    """The remote's time of a query, from which the next one goes on: changes are stamped by its clock.

    A `Date` ahead of our own clock is believed if the query's own time agrees, for then no proxy made it up:
    else a remote whose clock is fast would have the last minutes read again and again.
    """
    date = parse_http_date(reply.headers.get("Date"))
    told = parse_time(as_of) if isinstance(as_of, str) else None
    if date and told and abs(date - told) <= _AGREE:
        return min(date, told)
    return min(reply.asked_at, told) if told else reply.asked_at


def _wiql(conditions: Sequence[str], order: str) -> str:
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT [System.Id] FROM WorkItems{where} ORDER BY [System.Id] {order}"  # noqa: S608 - not SQL


def _is_guid(name: str) -> bool:
    return len(name) == _GUID_LENGTH and name.count("-") == 4
