"""What the Azure DevOps tests share: an adapter towards a simulated organisation, and whole reads."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from adapters.auth import Auth
from adapters.azure import Azure
from adapters.base import Page, Record
from tests.support import http_client, read_all, records_of
from tidegate.demo.remotes.azure import AzureDevOps

TOKEN = Azure.auth("pat", None, lambda: "azure-token")


class SmallQueries(Azure):
    """Asks for few ids at once, so that a walk needs many queries."""

    query_size: ClassVar[int] = 150


@asynccontextmanager
async def adapter_of(
    remote: AzureDevOps,
    project: str = "",
    auth: Auth = TOKEN,
    kind: type[Azure] = Azure,
    params: Mapping[str, object] | None = None,
) -> AsyncIterator[Azure]:
    """A new adapter as a worker would make it, for the organisation or one project in it."""
    target = kind.parse(f"{remote.base}/{project}" if project else remote.base, params or {})
    async with http_client(target.base, auth, limits=kind.limits, clock=remote.clock.now) as http:
        yield kind(target, http)


async def sync(
    remote: AzureDevOps,
    cursor: str | None = None,
    project: str = "",
    feed: str = "work_items",
    kind: type[Azure] = Azure,
    params: Mapping[str, object] | None = None,
    of: str = "",
) -> tuple[list[Page], str | None]:
    """One whole read of one feed by a fresh adapter; `of` names a project where each is read by itself."""
    async with adapter_of(remote, project, kind=kind, params=params) as adapter:
        [partition] = [found for found in await adapter.plan(feed) if of in ("", found.mark)]
        return await read_all(adapter, feed, partition, cursor)


def keys(found: list[Page]) -> list[str]:
    return [record.key for record in records_of(found)]


def column(record: Record, name: str) -> object:
    streams = {stream.name: stream for feed in Azure.feeds for stream in feed.streams}
    names = [c.name for c in streams[record.stream].columns]
    return record.columns[names.index(name)]
