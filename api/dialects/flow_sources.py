"""What Flow calls vendors, source types and data statuses, and what they are here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from adapters.auth import Auth
from adapters.base import Adapter, BadTarget
from api.connections import why
from store.connections import Connection
from store.health import Problem

Status = Literal[
    "Processing",
    "Healthy",
    "Failed integration",
    "Failed repo",
    "Failed PR project",
    "Failed ticket project",
    "Rate limited",
]


class SourceType(msgspec.Struct, frozen=True):
    """A kind of data. `failed` is the status of an integration of which only this cannot be read."""

    number: int
    name: str
    display: str
    failed: Status


TICKET = SourceType(1, "ticket", "Tickets", "Failed ticket project")
PULL_REQUEST = SourceType(2, "pull_request", "Pull Requests", "Failed PR project")
REPO = SourceType(3, "repo", "Repos", "Failed repo")
#: Flow knows no builds: the number is Tidegate's, and the status that of the code that is built.
BUILD = SourceType(4, "build", "Builds", "Failed repo")

#: By stream, whatever the system. Other streams have no source type.
_OF_STREAM: Mapping[str, SourceType] = {
    **dict.fromkeys(("issues", "changelogs", "comments", "worklogs", "work_items", "projects"), TICKET),
    **dict.fromkeys(("pull_requests", "reviews"), PULL_REQUEST),
    **dict.fromkeys(("repositories", "commits", "pushes"), REPO),
    **dict.fromkeys(("jobs", "builds", "pipelines", "runs", "changes"), BUILD),
}
_VENDORS = {"azure": "azure_devops"}
_TITLES = {"jira": "Jira", "jenkins": "Jenkins", "azure": "Azure DevOps"}
#: By the kind of a credential; no credential is that of an anonymous one.
AUTH_TYPES = {"oauth2": "oauth", "basic": "userpass", "pat": "token", "bearer": "token", "anonymous": "none"}
_CLOUDS = ("atlassian.net", "api.atlassian.com", "dev.azure.com", "visualstudio.com")

#: By health and cause; with the cause None for all others of that health. What is partial has the status
#: of the first source type that fails.
STATUSES: Mapping[tuple[str, str | None], Status] = {
    ("pending", None): "Processing",
    ("processing", None): "Processing",
    ("healthy", None): "Healthy",
    ("stale", None): "Healthy",
    ("rate_limited", None): "Rate limited",
    ("failed", "rate_limited"): "Rate limited",
    ("partial", "rate_limited"): "Rate limited",
    ("failed", None): "Failed integration",
    # Nothing comes from these until a person does something.
    ("pending", "incomplete"): "Failed integration",
    ("disabled", None): "Failed integration",
}
#: Message and hint where the connection itself has none.
_SAID: Mapping[tuple[str, str | None], tuple[str, str]] = {
    ("pending", None): ("It was never synced.", "It is at its next due time, or when asked."),
    ("processing", None): ("Its data are read for the first time.", "Nothing to do."),
    ("stale", None): (
        "It was read before, but not for longer than its frequency promises.",
        "Look whether a worker runs, and whether its syncs succeed.",
    ),
    ("rate_limited", None): ("The remote asks for patience.", "Nothing to do: it goes on when it may."),
    ("failed", "unreachable"): (
        "The remote did not answer several times in a row.",
        "Check that it is up and reachable from here; Tidegate keeps trying.",
    ),
    ("disabled", None): ("It is disabled, and nothing is read.", "Enable it."),
}


class Service(msgspec.Struct, frozen=True):
    """A kind of data that a vendor has."""

    name: str
    display: str


class Vendor(msgspec.Struct, frozen=True):
    """What an adapter can do. `is_cloud`: this integration is one of the vendor's own hosts."""

    name: str
    title: str
    services: Sequence[Service]
    icon: str
    auth_types: Sequence[str]
    is_cloud: bool
    enable_webhooks: bool
    allow_multiple_accounts: bool


def vendor_type(system: str) -> str:
    return _VENDORS.get(system, system)


def vendor(system: str, adapter: type[Adapter] | None, canonical: str | None) -> Vendor:
    """The vendor of a system; without an adapter it can do nothing."""
    name = vendor_type(system)
    host = urlsplit(canonical or "").hostname or ""
    return Vendor(
        name=name,
        title=_TITLES.get(system, system.replace("_", " ").replace("-", " ").title()),
        services=[Service(one.name, one.display) for one in source_types(adapter, None)],
        icon=f"vendors/{name}",
        auth_types=[] if adapter is None else _auth_types(adapter.auth),
        is_cloud=any(host == one or host.endswith(f".{one}") for one in _CLOUDS),
        enable_webhooks=adapter is not None,
        allow_multiple_accounts=False,
    )


def source_types(adapter: type[Adapter] | None, streams: Iterable[str] | None) -> list[SourceType]:
    """The source types of these streams, or of all that the adapter has; ascending by number."""
    if adapter is None:
        return []
    names = [stream.name for feed in adapter.feeds for stream in feed.streams]
    return of_streams(names if streams is None else streams)


def of_streams(names: Iterable[str]) -> list[SourceType]:
    found = {_OF_STREAM[name].number: _OF_STREAM[name] for name in names if name in _OF_STREAM}
    return [found[number] for number in sorted(found)]


def status_of(health: str, cause: str | None, failing: Sequence[SourceType]) -> Status:
    """The data status of an integration. `failing` are source types that could not be read completely."""
    if (health, cause) in STATUSES:
        return STATUSES[(health, cause)]
    if health == "partial":
        return failing[0].failed if failing else "Failed integration"
    return STATUSES[(health, None)]


def said_of(connection: Connection) -> tuple[str | None, str | None]:
    """Message and hint of how a connection stands; None for a healthy one."""
    message, hint = why(connection)
    if message is not None:
        return message, hint
    health, cause = connection.health, connection.cause
    return _SAID.get((health, cause)) or _SAID.get((health, None)) or (None, None)


def failing(
    adapter: type[Adapter] | None, by_feed: Iterable[tuple[str, Problem]], short: Iterable[str]
) -> Mapping[int, Problem | None]:
    """By the number of a source type what is wrong with it: the first problem of its feeds, or None where
    only its records (of the streams that are `short`) are not all there.
    """
    found: dict[int, Problem | None] = {one.number: None for one in of_streams(short)}
    streams = {} if adapter is None else {feed.name: [s.name for s in feed.streams] for feed in adapter.feeds}
    for feed, problem in by_feed:
        for one in of_streams(streams.get(feed, ())):
            if found.get(one.number) is None:
                found[one.number] = problem
    return found


def _auth_types(takes: Callable[[str, str | None, Callable[[], str]], Auth]) -> list[str]:
    """What an adapter takes, by asking it; it looks at nothing but the kind and whether there is a name."""
    taken = []
    for kind, name in AUTH_TYPES.items():
        try:
            takes(kind, "someone", str)
        except BadTarget:
            continue
        taken.append(name)
    return list(dict.fromkeys(taken))
