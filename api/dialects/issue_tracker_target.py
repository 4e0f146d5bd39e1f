"""Issue tracker connections: server, method, project and parent issue as a URL with parameters, and back."""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec.structs import replace

from adapters.base import Adapter, BadTarget, Target
from api.problems import FieldError, invalid

#: Parameters of a connection that say what is read, by system; the others stay when that changes.
_ASKED = {"jira": ("jql", "filter"), "azure": ("project",)}
_TEXT = r'"(?:\\.|[^"\\])*"'
#: The queries that `made` writes, and the plain ones that people do.
_PROJECT = re.compile(
    rf"project\s*=\s*({_TEXT}|\w+)(?:\s+AND\s+parent\s*=\s*({_TEXT}|[\w-]+))?", re.IGNORECASE
)
_FILTER = re.compile(rf"filter\s*=\s*(\d+)(?:\s+AND\s+parent\s*=\s*({_TEXT}|[\w-]+))?", re.IGNORECASE)
_SCHEME = re.compile(r"(https?)://(.*)", re.IGNORECASE)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What is read and where. `server` may have a path; `query` is the JQL of one that names no project."""

    method: str = "https"
    server: str = ""
    project: str = ""
    parent: str = ""
    query: str | None = None

    @property
    def base(self) -> str:
        return f"{self.method}://{self.server}"


def at(server: str, method: str = "https") -> Place:
    """The place of a server as people write it, with a scheme or without. Raises 422."""
    text = server.strip().rstrip("/")
    if match := _SCHEME.fullmatch(text):
        method, text = match[1].lower(), match[2]
    field = "params.issue_tracker_server"
    try:
        parts = urlsplit(f"{method}://{text}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or re.search(r"\s", text):
        raise invalid(FieldError(field, "Give the name of a server, such as jira.example.com."))
    if "@" in parts.netloc:
        raise invalid(FieldError(field, "Leave user name and password out of it."))
    return Place(method=method, server=text)


def read(adapter: type[Adapter] | None, url: str, params: Mapping[str, object]) -> Place:
    """The place of a stored connection."""
    if adapter is None:
        return _plain(url)
    try:
        target = adapter.parse(url, params)
    except BadTarget:
        return _plain(url)
    place = _plain(target.base)
    match adapter.system:
        case "jira":
            return _of_jira(place, target.options)
        case "jenkins":
            path = target.options.get("path", "")
            return replace(place, project="/".join(unquote(name) for name in path.split("/")[2::2]))
        case "azure":
            return replace(place, project=target.options.get("project") or target.options.get("tail", ""))
        case _:
            return replace(place, project=_below(target))


def _plain(url: str) -> Place:
    match = _SCHEME.fullmatch(url.rstrip("/"))
    return Place(method=match[1].lower(), server=match[2]) if match else Place(server=url.rstrip("/"))


def _below(target: Target) -> str:
    below = target.canonical.removeprefix(target.base)
    return unquote(below.strip("/")) if below != target.canonical else ""


def _of_jira(place: Place, options: Mapping[str, str]) -> Place:
    if "filter" in options:
        return replace(place, project=f"filter={options['filter']}")
    jql = options["jql"]
    if match := _PROJECT.fullmatch(jql):
        return replace(place, project=_unquoted(match[1]), parent=_unquoted(match[2] or ""))
    if match := _FILTER.fullmatch(jql):
        return replace(place, project=f"filter={match[1]}", parent=_unquoted(match[2] or ""))
    return replace(place, project=jql, query=jql)


def made(
    system: str, known: bool, place: Place, params: Mapping[str, object]
) -> tuple[str | None, Mapping[str, object]]:
    """The URL of a place with the parameters that go with it; no URL where more is needed for one.

    `known` says whether the system has an adapter. `params` are those of before. Raises 422.
    """
    if not place.server:
        return None, params
    others = {name: value for name, value in params.items() if name not in _ASKED.get(system, ())}
    names = [quote(name, safe="") for name in place.project.strip("/").split("/") if name]
    if not known:
        return place.base, others
    match system:
        case "jira":
            jql = _jql(place)
            return (place.base, {**others, **jql}) if jql else (None, others)
        case "jenkins":
            return place.base + "".join(f"/job/{name}" for name in names), others
        case "azure" if len(names) == 1:
            return place.base, {**others, "project": place.project}
        case _:
            return "/".join([place.base, *names]), others


def _jql(place: Place) -> Mapping[str, str]:
    """The parameter that names the issues; none without a project."""
    if not place.project:
        return {}
    if place.query is not None:
        if place.parent:
            message = "This connection reads a query of its own: name its project, too."
            raise invalid(FieldError("params.issue_tracker_parent_issue", message))
        return {"jql": place.query}
    match = _FILTER.fullmatch(place.project)
    if match and not place.parent:
        return {"filter": match[1]}
    restriction = f"filter = {match[1]}" if match else f"project = {_quoted(place.project)}"
    return {"jql": f"{restriction} AND parent = {_quoted(place.parent)}" if place.parent else restriction}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
