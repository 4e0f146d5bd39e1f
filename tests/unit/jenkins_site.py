"""An adapter connected to a simulated Jenkins, for the test files about Jenkins."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from adapters.auth import Auth
from adapters.base import Partition, Record, Value
from adapters.jenkins import Jenkins
from tests.support import http_client, read_all, records_of
from tidegate.demo.remotes.base import Clock
from tidegate.demo.remotes.jenkins import JenkinsController

TOKEN = "11aa-api-token"


def dana() -> Auth:
    return Jenkins.auth("basic", "dana", lambda: TOKEN)


@asynccontextmanager
async def controller(**options: str | bool) -> AsyncIterator[JenkinsController]:
    """A started controller that knows the user dana."""
    # Its time stands still unless a test moves it.
    now = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
    remote = JenkinsController(
        Clock(lambda: now),
        context=str(options.get("context", "")),
        anonymous_read=bool(options.get("anonymous_read")),
    )
    remote.users["dana"] = TOKEN
    async with remote:
        yield remote


@asynccontextmanager
async def connected(
    remote: JenkinsController,
    path: str = "",
    auth: Auth | None = None,
    params: Mapping[str, object] | None = None,
) -> AsyncIterator[Jenkins]:
    """A new adapter instance, as dana if nothing else is said, as each slice of a sync has one."""
    target = Jenkins.parse(remote.base + path, params or {})
    async with http_client(target.base, auth or dana(), Jenkins.limits) as http:
        yield Jenkins(target, http)


async def partition_of(adapter: Jenkins, job: str) -> Partition:
    return next(p for p in await adapter.plan("builds") if p.name == job)


async def read_job(
    remote: JenkinsController, job: str, cursor: str | None = None
) -> tuple[list[Record], str | None]:
    """One sync of one job's builds by an adapter of its own: the records, and the cursor after."""
    async with connected(remote) as adapter:
        pages, after = await read_all(adapter, "builds", await partition_of(adapter, job), cursor)
        assert pages[-1].end
        return records_of(pages), after


def numbers(records: list[Record]) -> list[int]:
    """The build numbers of records, ascending."""
    return sorted(int(record.key.rpartition("#")[2].partition("@")[0]) for record in records)


def named(record: Record) -> dict[str, Value]:
    """The typed columns of a record by name."""
    stream = next(s for feed in Jenkins.feeds for s in feed.streams if s.name == record.stream)
    return dict(zip((column.name for column in stream.columns), record.columns, strict=True))
