"""A simulated Jira Cloud site whose time stands still, and an adapter connected to it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from adapters.base import Page, Partition
from adapters.http import Limits
from adapters.jira import Jira
from tests.support import http_client, read_all, records_of
from tidegate.demo.remotes.base import Clock
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_issue import Issue

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
ALL = Partition("all")
SEARCH = "/rest/api/3/search/jql"
JSON = {"Content-Type": "application/json"}


def cloud(now: datetime = NOON, zone: str = "UTC") -> JiraCloud:
    """A site with one account and one project, whose time stands still until a test moves it."""
    remote = JiraCloud(Clock(lambda: now))
    remote.add_account("ada@example.com", "token", zone)
    remote.add_project("TG")
    return remote


@asynccontextmanager
async def connected(
    remote: JiraCloud, query: str = "jql=project%20=%20TG", limits: Limits | None = None, **params: str
) -> AsyncIterator[Jira]:
    target = Jira.parse(f"{remote.url}/issues/?{query}", params)
    auth = Jira.auth("basic", "ada@example.com", lambda: "token")
    async with http_client(target.base, auth, limits or Jira.limits, remote.clock.now) as http:
        yield Jira(target, http)


async def first_sync(remote: JiraCloud, query: str = "jql=project%20=%20TG") -> str:
    """Read everything; the cursor after it."""
    async with connected(remote, query) as jira:
        _, cursor = await read_all(jira, "issues", ALL)
    assert cursor is not None
    return cursor


async def keep(jira: Jira, kept: list[Page], then: Callable[[], object] = lambda: None) -> None:
    """Read from the beginning into `kept`, doing something after each page."""
    async for page in jira.read("issues", ALL, None):
        kept.append(page)
        then()


def keys_of(pages: list[Page]) -> list[str]:
    """Of the issues."""
    return [record.key for record in records_of(pages, "issues")]


def sent(remote: JiraCloud, issue: Issue) -> bytes:
    """An issue as searches give it, its history expanded."""
    return bytes(remote.shown(issue, ["*all"], ["changelog"]))


def asked(remote: JiraCloud) -> list[str]:
    """The JQL of every search so far."""
    return [json.loads(seen.body)["jql"] for seen in remote.requests(SEARCH)]
