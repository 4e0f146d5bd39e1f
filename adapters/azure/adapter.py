"""Azure DevOps: the adapter, put together from its feeds."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Protocol

from adapters import senders
from adapters.auth import Anonymous, Auth
from adapters.azure import build, builds, credential, hooks, item, pipelines, projects, urls, work_items
from adapters.azure.project_list import ProjectList
from adapters.azure.site import Site
from adapters.azure.subscriptions import Subscriptions
from adapters.base import (
    AdapterError,
    AuthFailed,
    Check,
    Feed,
    Fetched,
    Forbidden,
    Hint,
    Hook,
    Keys,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    Readable,
    Registered,
    Target,
)
from adapters.http import Http, Limits
from adapters.times import parse_time


class Source(Protocol):
    """What a feed of Azure DevOps can do; a further feed is one more of these."""

    @property
    def feed(self) -> Feed: ...
    async def partitions(self) -> Sequence[Partition]: ...
    def read(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]: ...
    def census(self, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]: ...
    async def fetch(self, keys: Sequence[str]) -> Fetched: ...
    async def check(self) -> Readable: ...


class Azure:
    """An Azure DevOps organisation or collection, or one project in it: what it holds and what it builds."""

    system: ClassVar[str] = "azure"
    feeds: ClassVar[tuple[Feed, ...]] = (projects.FEED, work_items.FEED, pipelines.FEED, builds.FEED)
    # Azure DevOps slows a busy caller down by up to 30 s a request, with status 200 (vendor docs).
    limits: ClassVar[Limits] = Limits(read=90, total=120, parallel=6)
    overlap: ClassVar[timedelta] = timedelta(minutes=5)
    batch: ClassVar[int] = work_items.BATCH
    #: Ids asked for in one query: below the 20,000 at which the remote refuses instead of answering.
    query_size: ClassVar[int] = 19_999

    def __init__(self, target: Target, http: Http) -> None:
        self._site = site = Site(http, target)
        since = parse_time(target.options.get("since"))
        listed = ProjectList(site)
        self._subscriptions = Subscriptions(site, listed)
        self._sources: Mapping[str, Source] = {
            projects.NAME: projects.Projects(site, listed),
            item.NAME: work_items.WorkItems(site, listed, since, self.overlap, self.query_size),
            pipelines.NAME: pipelines.Pipelines(site, listed, self.overlap),
            build.NAME: builds.Builds(site, listed, since, self.overlap),
        }

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        return urls.parse(url, params)

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        """A personal access token goes as Basic with an empty user name; a token of Entra as Bearer."""
        return credential.auth(kind, username, reveal)

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return senders.verify(hook, secret)

    @staticmethod
    def hint(hook: Hook) -> Hint:
        return hooks.hint(hook)

    async def check(self) -> Check:
        """Who we are, what is there, and what can be read; a stream's own refusal is its problem alone."""
        identity = await self._site.identity()
        if identity and identity.anonymous and not isinstance(self._site.auth, Anonymous):
            raise AuthFailed(
                f"{self._site.host} does not know this credential and takes us for anonymous.",
                self._site.refused_hint,
            )
        streams: dict[str, Readable] = {}
        errors: list[AdapterError] = []
        for name, source in self._sources.items():
            try:
                streams[name] = await source.check()
            except (AuthFailed, Forbidden, NotFound, QueryRejected) as e:
                errors.append(e)
                streams[name] = Readable(False, problem=f"{e.message} {e.hint}".strip(), kind=e.kind)
        if len(errors) == len(streams):
            raise errors[0]
        account = identity.name if identity else None
        return Check(account, self._site.product, streams, self._notes())

    def _notes(self) -> Sequence[str]:
        """What a person should know although nothing is wrong yet."""
        if self._site.hosted and isinstance(self._site.auth, credential.Token):
            return (credential.about_global_tokens(self._site.now()),)
        return ()

    async def plan(self, feed: str) -> Sequence[Partition]:
        return await self._sources[feed].partitions()

    def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        return self._sources[feed].read(partition, cursor)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        return await self._sources[stream].fetch(keys)

    def census(self, stream: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        return self._sources[stream].census(partition, cursor)

    async def register(self, url: str, secret: str | None) -> Registered:
        """One service hook subscription for each kind of event; together they are one webhook to us."""
        return await self._subscriptions.make(url, secret)

    async def renew(self, id: str) -> Registered:
        """Subscriptions do not expire; this only sees whether all are there and switched on."""
        return await self._subscriptions.keep(id)

    async def unregister(self, id: str) -> None:
        await self._subscriptions.remove(id)
