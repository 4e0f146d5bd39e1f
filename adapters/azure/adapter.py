"""Azure DevOps: the adapter, put together from its feeds."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Protocol

from adapters.auth import Anonymous, Auth, Basic, Bearer
from adapters.azure import item, projects, urls, work_items
from adapters.azure.site import API_VERSION, Identity, Site
from adapters.base import (
    AdapterError,
    AuthFailed,
    BadTarget,
    Check,
    Feed,
    Fetched,
    Forbidden,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    Readable,
    Target,
)
from adapters.http import Http, Limits
from adapters.times import parse_time


class Source(Protocol):
    """What a feed of Azure DevOps can do; a further feed is one more of these."""

    @property
    def feed(self) -> Feed: ...
    async def partitions(self) -> Sequence[Partition]: ...
    def read(self, cursor: str | None) -> AsyncGenerator[Page, None]: ...
    async def fetch(self, keys: Sequence[str]) -> Fetched: ...
    async def check(self) -> Readable: ...


class Azure:
    """Projects and work items of an Azure DevOps organisation or collection, or of one project in it."""

    system: ClassVar[str] = "azure"
    feeds: ClassVar[tuple[Feed, ...]] = (projects.FEED, work_items.FEED)
    # Azure DevOps slows a busy caller down by up to 30 s a request, with status 200 (vendor docs).
    limits: ClassVar[Limits] = Limits(read=90, total=120, parallel=6)
    overlap: ClassVar[timedelta] = timedelta(minutes=5)
    batch: ClassVar[int] = work_items.BATCH
    #: Ids asked for in one query: below the 20,000 at which the remote refuses instead of answering.
    query_size: ClassVar[int] = 19_999

    def __init__(self, target: Target, http: Http) -> None:
        self._site = Site(http, target)
        since = parse_time(target.options.get("since"))
        self._sources: Mapping[str, Source] = {
            projects.NAME: projects.Projects(self._site),
            item.NAME: work_items.WorkItems(self._site, since, self.overlap, self.query_size),
        }

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        return urls.parse(url, params)

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        """A personal access token goes as Basic with an empty user name; an Entra token as Bearer."""
        match kind:
            case "pat":
                return Basic("", reveal)
            case "basic":
                return Basic(username or "", reveal)
            case "bearer":
                return Bearer(reveal)
            case "anonymous":
                return Anonymous()
        raise BadTarget("kind", f"Azure DevOps does not take {kind}; use pat, bearer, basic or anonymous.")

    async def check(self) -> Check:
        """Who we are, what is there, and what can be read; a stream's own refusal is its problem alone."""
        identity = await self._site.identity()
        if identity and identity.anonymous and not self._site.anonymous:
            raise AuthFailed(
                f"{self._site.host} does not know this credential and takes us for anonymous.",
                "The token may be expired, revoked, or of another organisation: give a valid one.",
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
        return Check(account, self._version(identity), streams)

    def _version(self, identity: Identity | None) -> str:
        hosted = self._site.host == "dev.azure.com" or (identity and identity.deployment_type == "hosted")
        return f"Azure DevOps {'Services' if hosted else 'Server'} (REST API {API_VERSION})"

    async def plan(self, feed: str) -> Sequence[Partition]:
        return await self._sources[feed].partitions()

    def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """Both feeds have one partition, so its name adds nothing."""
        return self._sources[feed].read(cursor)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        return await self._sources[stream].fetch(keys)
