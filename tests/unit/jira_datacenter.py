"""A simulated Jira Data Center whose time stands still, and an adapter connected to it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from adapters.base import Page, Partition
from adapters.http import Limits
from adapters.jira import Jira
from tests.support import http_client, read_all, records_of
from tidegate.demo.remotes.base import Clock
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter
from tidegate.demo.remotes.jira_issue import Issue

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
ALL = Partition("all")
SEARCH = "/rest/api/2/search"
JSON = {"Content-Type": "application/json"}


def datacenter(now: datetime = NOON, zone: str = "UTC", context: str = "") -> JiraDataCenter:
    """A site with one account and one project, whose time stands still until a test moves it."""
    remote = JiraDataCenter(Clock(lambda: now), context=context)
    remote.add_user("ada", "secret", zone)
    remote.add_pat("ada", "pat-1")
    remote.add_project("TG")
    return remote


@asynccontextmanager
async def connected(
    remote: JiraDataCenter,
    query: str = "jql=project%20=%20TG",
    limits: Limits | None = None,
    kind: str = "pat",
    secret: str = "pat-1",
    **params: str,
) -> AsyncIterator[Jira]:
    target = Jira.parse(f"{remote.base}/issues/?{query}", params)
    auth = Jira.auth(kind, "ada" if kind == "basic" else None, lambda: secret)
    async with http_client(target.base, auth, limits or Jira.limits, remote.clock.now) as http:
        yield Jira(target, http)


async def first_sync(remote: JiraDataCenter, query: str = "jql=project%20=%20TG") -> str:
    """Read everything; the cursor after it."""
    async with connected(remote, query) as jira:
        _, cursor = await read_all(jira, "issues", ALL)
    assert cursor is not None
    return cursor


def keys_of(pages: list[Page]) -> list[str]:
    """Of the issues."""
    return [record.key for record in records_of(pages, "issues")]


def sent(remote: JiraDataCenter, issue: Issue) -> bytes:
    """An issue as searches give it, its history expanded."""
    return bytes(remote.shown(issue, ["*all"], ["changelog"]))


def asked(remote: JiraDataCenter) -> list[str]:
    """The JQL of every search so far."""
    return [json.loads(seen.body)["jql"] for seen in remote.requests(SEARCH)]


def offsets(remote: JiraDataCenter) -> list[int]:
    """Where every page so far was asked to begin; counts are left out."""
    bodies = [json.loads(seen.body) for seen in remote.requests(SEARCH)]
    return [body["startAt"] for body in bodies if body["maxResults"]]
