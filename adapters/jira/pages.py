"""Jira's own pages, as their URLs are pasted: which issues each of them shows."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, quote, unquote

from adapters.base import BadTarget

# Path segments that belong to Jira's own pages; what stands before them is the context path.
_PAGES = frozenset(
    "rest issues browse secure projects project filters dashboards plugins servlet servicedesk sr wiki "
    "login.jsp".split()
)
# Kinds of projects in the paths of Jira Cloud's newer pages: /jira/software/c/projects/TG/...
_KINDS = frozenset("software core servicedesk discovery polaris".split())
_GATEWAY_HOST = "api.atlassian.com"
_NO_SITES = frozenset(
    f"{name}.atlassian.com" for name in "id auth admin home start support developer team www".split()
)
_PROJECT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ISSUE = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]+")
# The lists on the page of a project that are the same for everybody.
_LISTS = {
    "allissues": "",
    "allopenissues": " AND resolution = Unresolved",
    "doneissues": " AND statusCategory = Done",
}
_RESERVED = frozenset(
    "and any asc before by changed desc during else empty end exec false from if in inner is join last "
    "like limit not null on or order output raise select set then to true until user view was when "
    "where with".split()
)
_WOULD = "the page of a filter, like {site}/issues/?filter=12345, or of a project, like {site}/browse/TG"


def split(host: str, path: str) -> tuple[str, list[str]]:
    """The context path, and the segments of the page below it. Raises `BadTarget`.

    Jira Cloud has no context path on a site's own host, and `/ex/jira/{cloudId}` behind the gateway.
    """
    segments = [unquote(segment) for segment in path.split("/") if segment]
    if host == _GATEWAY_HOST and (segments[:2] != ["ex", "jira"] or len(segments) < 3):
        raise BadTarget(
            "url", f"Behind the gateway a site is named by https://{host}/ex/jira/ and its cloudId."
        )
    if host in _NO_SITES:
        raise BadTarget(
            "url", f"No Jira is at {host}. Give the address of your site, like https://acme.atlassian.net"
        )
    if host.endswith((".atlassian.net", ".jira.com")):
        return "", segments[1:] if segments[:1] == ["jira"] else segments
    if segments[:1] == ["jira"] and segments[1:2] and segments[1] in _KINDS:
        return "", segments[1:]
    at = next((i for i, s in enumerate(segments) if s in _PAGES or s.endswith(".jspa")), len(segments))
    return "".join(f"/{quote(segment)}" for segment in segments[:at]), segments[at:]


def restriction(site: str, segments: Sequence[str], query: str, fragment: str) -> Mapping[str, str]:
    """`{"jql": text}`, `{"filter": id}`, or nothing for a bare site. Raises `BadTarget` for other pages."""
    old = fragment.partition("?")[2] or fragment.lstrip("?/!")
    asked = _values(query)
    if not asked.keys() & {"jql", "filter"}:
        asked = _values(old) | asked
    if "jql" in asked:
        return {"jql": asked["jql"]}
    if asked.get("filter") and asked["filter"] not in _LISTS:
        return {"filter": asked["filter"]}
    return _of_page(site, segments, asked)


def _values(query: str) -> dict[str, str]:
    """What a query names. On Jira's own pages `jql` beside `filter` is the edited filter."""
    given = {name.lower(): texts[-1] for name, texts in parse_qs(query).items()}
    jql = given.get("jql") or given.get("jqlquery")
    named = given.get("filter") or given.get("filterid") or given.get("requestid")
    return given | ({"jql": jql} if jql else {}) | ({"filter": named} if named else {})


def _of_page(site: str, segments: Sequence[str], asked: Mapping[str, str]) -> Mapping[str, str]:
    """What a page shows by its path."""
    rest = [s for s in segments if s != "c"]
    if rest[:1] and rest[0] in _KINDS and rest[1:2] == ["projects"]:
        rest = rest[1:]
    match rest:
        case ["browse" | "issues", key, *_] if _ISSUE.fullmatch(key):
            raise _refusal(site, f"This is the single issue {key}")
        case ["browse", key, *_] if _PROJECT.fullmatch(key):
            return _project(key, "")
        case ["projects", key, *more] if _PROJECT.fullmatch(key):
            return _on_project(site, key, more, asked)
        case ["rest", "api", _, "filter", number, *_]:
            return {"filter": number}
        case ["rest", "api", _, "project", key, *_] if _PROJECT.fullmatch(key):
            return _project(key, "")
        case ["rest", "api", _, "issue", key, *_]:
            raise _refusal(site, f"This is the single issue {key}")
        case ["plugins", "servlet", "project-config", key, *_] if _PROJECT.fullmatch(key):
            return _project(key, "")
        case ["sr", view, number, *_] if ":searchrequest" in view and number.isdigit():
            return {"filter": number}
        case _:
            _refuse_others(site, rest)
            return {}


def _on_project(site: str, key: str, more: Sequence[str], asked: Mapping[str, str]) -> Mapping[str, str]:
    """A page of a project means all of its issues, unless it says otherwise."""
    if "boards" in more or "board" in more or "backlog" in more:
        raise _refusal(site, "The query of a board is not in its URL", key)
    if "queues" in more:
        raise _refusal(site, "The query of a queue is not in its URL", key)
    return _project(key, _LISTS[asked["filter"]] if "filter" in asked else "")


def _project(key: str, more: str) -> Mapping[str, str]:
    shown = f'"{key}"' if key.lower() in _RESERVED else key
    return {"jql": f"project = {shown}{more}"}


def _refuse_others(site: str, rest: Sequence[str]) -> None:
    """Pages that show issues, but not by a query that their URL tells."""
    path = "/".join(rest).lower()
    if "rapidboard" in path or path.startswith(("rest/agile", "boards")):
        raise _refusal(site, "The query of a board is not in its URL")
    if path.startswith(("dashboards", "secure/dashboard")):
        raise _refusal(site, "A dashboard shows several queries, and its URL names none")
    if path.startswith("servicedesk/customer"):
        raise _refusal(site, "A customer portal shows requests without their query")
    if path.startswith(("filters", "secure/managefilters")):
        raise _refusal(site, "This is the list of filters")
    if path.startswith("wiki"):
        raise _refusal(site, "This is Confluence")


def _refusal(site: str, what: str, key: str = "") -> BadTarget:
    would = _WOULD.format(site=site).replace("/TG", f"/{key or 'TG'}")
    return BadTarget(
        "url",
        f"{what}. What works: {would}; or the site alone with a query in params.jql, "
        f"like: project = {key or 'TG'}",
    )
