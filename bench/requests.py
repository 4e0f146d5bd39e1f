"""How many requests each stream costs: a first sync, an idle one, reading all again, and a census."""

import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import structlog

from adapters.azure import Azure
from adapters.base import Adapter
from adapters.jenkins import Jenkins
from adapters.jira import Jira
from bench.product import open_product
from store.database import Database
from store.syncs import Scope
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock, Remote
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter
from worker.remote import Adapters

RECORDS = 1000
ADAPTERS: Adapters = {"jira": Jira, "jenkins": Jenkins, "azure": Azure}


class Place(NamedTuple):
    """A simulated remote with records in it, and how to connect to it."""

    what: str
    system: str
    remote: Remote
    url: str
    kind: str
    username: str | None
    secret: str


def earlier() -> Clock:
    """The records are of this morning, and time passes between the syncs."""
    clock = Clock()
    clock.advance(timedelta(hours=-6))
    return clock


def discussed(remote: JiraCloud | JiraDataCenter) -> None:
    """One issue in fifty has so long lists that a search cuts all three."""
    for number in list(remote.issues)[::50]:
        for _ in range(45):
            remote.add_comment(number, "Seen.")
        for _ in range(25):
            remote.log_work(number, 600)
        for at in range(50):
            remote.update_issue(number, summary=f"Changed {at} times")


@asynccontextmanager
async def cloud() -> AsyncIterator[Place]:
    async with JiraCloud(earlier()) as remote:
        remote.add_account("bench@example.com", "token", zone="Europe/Berlin")
        remote.seed(RECORDS)
        discussed(remote)
        url = f"{remote.url}/issues/?filter={remote.add_filter('project = TG')}"
        yield Place("Jira Cloud", "jira", remote, url, "basic", "bench@example.com", "token")


@asynccontextmanager
async def datacenter() -> AsyncIterator[Place]:
    async with JiraDataCenter(earlier()) as remote:
        remote.add_user("bench", "not used", zone="Asia/Kolkata")
        remote.add_pat("bench", "token")
        remote.seed(RECORDS)
        discussed(remote)
        url = f"{remote.base}/issues/?filter={remote.add_filter('project = TG')}"
        yield Place("Jira Data Center", "jira", remote, url, "pat", None, "token")


@asynccontextmanager
async def jenkins() -> AsyncIterator[Place]:
    async with JenkinsController(earlier()) as remote:
        remote.users["bench"] = "token"
        remote.seed(10, RECORDS // 10)
        yield Place("Jenkins, 10 jobs", "jenkins", remote, remote.base, "basic", "bench", "token")


@asynccontextmanager
async def azure() -> AsyncIterator[Place]:
    async with AzureDevOps(clock=earlier()) as remote:
        remote.model.create_project("newtwitterclone")
        remote.model.seed(RECORDS, Random(1))
        remote.model.seed_builds(RECORDS, Random(1))
        yield Place("Azure DevOps, 1 project", "azure", remote, remote.base, "pat", None, "azure-token")


PLACES = (cloud, datacenter, jenkins, azure)


async def costs(place: Place, stream: str, folder: Path) -> Mapping[str, int]:
    """Requests by kind of sync, of a connection that selects this stream alone; and its records."""
    database = Database(f"sqlite+aiosqlite:///{folder}/{place.system}-{stream}-{id(place)}.db")
    found: dict[str, int] = {}
    async with open_product(database, ADAPTERS) as product:
        account: dict[str, Any] = {"kind": place.kind, "username": place.username, "secret": place.secret}
        connection = await product.connect(place.url, place.system, streams=[stream], **account)
        for what in ("first", "", "idle"):
            before = len(place.remote.ledger)
            ended = await product.sync(connection)
            found |= {what: len(place.remote.ledger) - before} if what else {}
            if what == "first":
                found["records"] = ended.counters[stream].new
            # What the next sync would read again because the remote may lag is over.
            place.remote.clock.advance(timedelta(hours=1))
        scopes: tuple[Scope, ...] = ("full", "census")
        for scope in scopes:
            before = len(place.remote.ledger)
            await product.sync(connection, scope)
            found[scope] = len(place.remote.ledger) - before
    await database.close()
    return found


def streams_of(adapter: type[Adapter]) -> list[str]:
    return [stream.name for feed in adapter.feeds for stream in feed.streams]


async def print_requests() -> None:
    """One line for each stream of each kind of remote."""
    print(f"\n{'requests':34}{'records':>9}{'first':>8}{'idle':>8}{'again':>8}{'census':>8}")
    with tempfile.TemporaryDirectory() as name:
        for make in PLACES:
            async with make() as place:
                for stream in streams_of(ADAPTERS[place.system]):
                    found = await costs(place, stream, Path(name))
                    numbers = [found[column] for column in ("records", "first", "idle", "full", "census")]
                    shown = "".join(
                        f"{n:>{width}}" for n, width in zip(numbers, (9, 8, 8, 8, 8), strict=True)
                    )
                    print(f"  {place.what + ' ' + stream:32}{shown}", flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sys.exit(asyncio.run(print_requests()))
