"""Which issues a pasted URL means: site, filter or JQL, and what the parameters add."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import SplitResult, quote, urlsplit

from adapters.base import BadTarget, Target
from adapters.jira import pages
from adapters.jira.jql import Malformed, filter_named, without_order
from adapters.times import parse_time

#: Parameters that mean something here, and those that other parts of Tidegate use.
_OURS = ("jql", "filter", "since")
_OTHERS = ("exclude", "columns", "census_every")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_EXAMPLE = "https://your-site.atlassian.net/issues/?filter=12345"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def parse(url: str, params: Mapping[str, object]) -> Target:
    """The target of a Jira connection. Raises `BadTarget`; makes no request.

    Options are either `filter` (an id) or `jql` (without its ORDER BY), and `since` if given.
    """
    where, host, parts = _split(url.strip())
    context, page = pages.split(host, parts.path)
    base = where + context
    given = _texts(params)
    restriction = _restriction(pages.restriction(base, page, parts.query, parts.fragment), "url")
    stated = _restriction(given, "params.")
    if restriction and stated and restriction != stated:
        field = "params.jql" if "jql" in given else "params.filter"
        raise BadTarget(field, "The URL names other issues already; leave the query out of one of the two.")
    chosen = restriction or stated
    if not chosen:
        raise BadTarget(
            "url",
            f"This names a site but no issues. Give the page of a filter, like {_EXAMPLE}, or of a project, "
            "or a query in params.jql, like: project = TG",
        )
    options = {**chosen, **_since(given.get("since"))}
    shown = "&".join(f"{name}={quote(value, safe='')}" for name, value in chosen.items())
    return Target(base, f"{base}/issues/?{shown}", options)


def _split(url: str) -> tuple[str, str, SplitResult]:
    """The origin without a trailing slash, the host's name, and all parts of the URL."""
    if not url:
        raise BadTarget("url", f"A URL is needed, like {_EXAMPLE}")
    if url.startswith("//"):
        url = "https:" + url
    try:
        parts = urlsplit(url if _SCHEME.match(url) else f"https://{url}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadTarget("url", f"This is not a URL; one that works: {_EXAMPLE}") from None
    if parts.scheme not in {"http", "https"}:
        raise BadTarget("url", "Only https and http URLs can be read.")
    if "@" in parts.netloc:
        raise BadTarget("url", "Leave user name and password out of the URL; use a credential for them.")
    shown = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(shown):
        raise BadTarget("url", f"This URL names no host; one that works: {_EXAMPLE}")
    default = {"http": 80, "https": 443}[parts.scheme]
    where = f"{parts.scheme}://{shown}" + (f":{port}" if port not in {None, default} else "")
    return where, host, parts


def _texts(params: Mapping[str, object]) -> dict[str, str]:
    for name in params:
        if name not in _OURS and name not in _OTHERS:
            known = ", ".join((*_OURS, *_OTHERS))
            raise BadTarget(f"params.{name}", f"This parameter is not known for Jira; known are: {known}.")
    texts = {}
    for name in _OURS:
        value = params.get(name)
        if name == "filter" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            raise BadTarget(f"params.{name}", "This must be text, and not empty.")
        texts[name] = value.strip()
    if "jql" in texts and "filter" in texts:
        raise BadTarget("params.filter", "Give either params.jql or params.filter, not both.")
    return texts


def _restriction(given: Mapping[str, str], where: str) -> dict[str, str]:
    """`{"filter": id}`, `{"jql": text}` or nothing."""
    if named := given.get("filter"):
        if not (named.isascii() and named.isdigit()):
            field = "params.filter" if where == "params." else where
            raise BadTarget(
                field,
                "A filter is named by its number, as in ?filter=12345. The lists that Jira itself offers "
                "have none: give their JQL in params.jql, or save them as a filter.",
            )
        return {"filter": str(int(named))}
    if "jql" not in given:
        return {}
    field = "params.jql" if where == "params." else where
    try:
        jql = without_order(given["jql"])
    except Malformed as e:
        raise BadTarget(field, f"This JQL cannot be right: {e}.") from None
    if not jql:
        raise BadTarget(field, "Jira refuses a query that restricts nothing; add one, like: project = TG")
    named = filter_named(jql)
    return {"filter": str(int(named))} if named else {"jql": jql}


def _since(text: str | None) -> dict[str, str]:
    """`since` as a UTC time. A date alone is its first moment in UTC."""
    if text is None:
        return {}
    moment = parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    if moment is None or moment < datetime(1970, 1, 2, tzinfo=UTC):
        raise BadTarget("params.since", "This must be a date, like 2025-01-31, or an ISO time.")
    return {"since": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
