"""Azure DevOps addresses: what people paste, understood without a request."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import SplitResult, quote, unquote, urlsplit

from adapters.base import BadTarget, Target
from adapters.times import parse_time

_PARAMS = ("project", "since", "exclude", "columns", "census_every")
SERVICES = "dev.azure.com"
_OLD_SERVICES = ".visualstudio.com"
_EXAMPLES = "https://dev.azure.com/company or https://dev.azure.com/company/project"
# Hosts of single Azure DevOps areas and of sign-in; none of them is where an organisation is read.
_OTHER_HOSTS = frozenset({"app", "www", "aex", "vssps", "vs-ssh", "go", "marketplace"})
_ELSEWHERE = frozenset({"azure.com", "portal.azure.com", "azure.microsoft.com", "login.microsoftonline.com"})
_SSH = re.compile(r"git@|ssh://|ssh\.dev\.azure\.com|[^/]*@?vs-ssh\.visualstudio\.com", re.IGNORECASE)


def segment(name: str) -> str:
    """A name as one path segment, percent-encoded."""
    return quote(name, safe="")


def parse(url: str, params: Mapping[str, object]) -> Target:
    """The organisation or collection, and the project if one is named.

    Options: `project` where it is certain, `since`; `tail` where the last path segment may be the
    collection itself or a project in it, which only a request can tell. Then `base` ends before it.
    """
    for name in params:
        if name not in _PARAMS:
            known = ", ".join(_PARAMS)
            raise BadTarget(f"params.{name}", f"{name} is not a parameter of Azure DevOps; known: {known}.")
    options = {"since": since.isoformat()} if (since := _since(params.get("since"))) else {}
    parts = _split(url)
    host, (segments, page) = (parts.hostname or "").lower(), _segments(parts.path)
    project = _project(params.get("project"))
    if host == SERVICES or host.endswith(_OLD_SERVICES):
        organisation, named = _services(host, segments, page)
        if project and named and project.casefold() != named.casefold():
            raise BadTarget("params.project", f"The URL names the project {named}, params.project {project}.")
        root, project = f"{parts.scheme}://{SERVICES}/{segment(organisation)}", project or named
    else:
        root, project, tail = _elsewhere(_origin(parts), segments, project)
        options |= {"tail": tail} if tail else {}
    below = project or options.get("tail")
    options |= {"project": project} if project else {}
    return Target(root, f"{root}/{segment(below)}" if below else root, options)


def _split(url: str) -> SplitResult:
    text = url.strip().strip("<>")
    if text.startswith("vstfs:"):
        raise BadTarget("url", f"This names something inside Azure DevOps, not where it is; use {_EXAMPLES}.")
    if _SSH.match(text):
        raise BadTarget("url", f"An SSH clone address cannot be read; use {_of_clone(text) or _EXAMPLES}.")
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError as e:
        raise BadTarget("url", f"This is not a URL ({e}); use {_EXAMPLES}.") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or c == "%" for c in host):
        raise BadTarget("url", f"This is not a web address; use {_EXAMPLES}.")
    # The clone addresses that Azure DevOps shows begin with organisation@; that is a name and no secret.
    if parts.password is not None or (parts.username is not None and host != SERVICES):
        raise BadTarget("url", "User names and passwords do not belong in the URL; use a credential.")
    if host in _ELSEWHERE or host.endswith(f".{SERVICES}"):
        raise BadTarget(
            "url", f"No organization is read at {host}; use {_at_services(parts.path) or _EXAMPLES}."
        )
    return parts


def _of_clone(address: str) -> str | None:
    """The web address of the project that an SSH clone address (`.../v3/org/project/repository`) is in."""
    return _at_services(address.replace(":v3/", "/v3/").partition("/v3/")[2])


def _at_services(path: str) -> str | None:
    """Where the organisation that a path begins with, and the project after it, are read."""
    names = [unquote(name) for name in path.split("/") if name][:2]
    if not names or names[0].startswith("_"):
        return None
    if len(names) > 1 and names[1].startswith("_"):
        names.pop()
    return f"https://{SERVICES}/{'/'.join(segment(name) for name in names)}"


def _segments(path: str) -> tuple[list[str], str | None]:
    """Decoded path segments up to the first page or API (`_git`, `_workitems`, `_apis`), and that page."""
    found = [unicodedata.normalize("NFC", unquote(part)).strip() for part in path.split("/")]
    found = [name for name in found if name]
    if any(name in (".", "..") or not name.isprintable() or set(name) & set("/\\") for name in found):
        raise BadTarget("url", f"The path of this URL cannot be used; use {_EXAMPLES}.")
    at = next((i for i, name in enumerate(found) if name.startswith("_")), None)
    if at is None:
        return found, None
    return found[:at], "/".join(found[at:])


def _services(host: str, segments: list[str], page: str | None) -> tuple[str, str | None]:
    """Organisation and project of Azure DevOps Services; both host forms are one identity."""
    if host == SERVICES:
        if not segments:
            raise BadTarget("url", f"The organization is missing: {_EXAMPLES}.")
        organisation, *rest = segments
    else:
        organisation = host.removesuffix(_OLD_SERVICES)
        if not organisation or "." in organisation or organisation in _OTHER_HOSTS:
            raise BadTarget("url", f"{host} is not the host of an organization; use {_EXAMPLES}.")
        rest = segments[1:] if segments[:1] and segments[0].lower() == "defaultcollection" else segments
    if len(rest) > 1 and page is None:
        raise BadTarget("url", f"Nothing can follow the project {rest[0]}: {_EXAMPLES}.")
    if rest:
        return organisation, rest[0]
    return organisation, _repository(page)


def _repository(page: str | None) -> str | None:
    """The project of a repository that is shown without one, because both have one name."""
    area, _, name = (page or "").partition("/")
    return name.partition("/")[0] or None if area == "_git" else None


def _elsewhere(origin: str, segments: list[str], project: str | None) -> tuple[str, str | None, str | None]:
    """Root, project and undecided last segment on a host of one's own."""
    if not segments:
        raise BadTarget(
            "url", f"The collection or organization is missing; use {origin}/DefaultCollection or the like."
        )
    above = "/".join([origin, *(segment(name) for name in segments[:-1])])
    whole = f"{above}/{segment(segments[-1])}"
    if project is None:
        return above, None, segments[-1]
    named_twice = len(segments) > 1 and segments[-1].casefold() == project.casefold()
    return above if named_twice else whole, project, None


def _origin(parts: SplitResult) -> str:
    try:
        host = (parts.hostname or "").encode("idna").decode()
    except UnicodeError:
        raise BadTarget("url", "The host name of this URL cannot be one.") from None
    usual = 443 if parts.scheme == "https" else 80
    port = f":{parts.port}" if parts.port not in (None, usual) else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _project(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "/" in value:
        raise BadTarget("params.project", "The name or id of one project is needed.")
    return unicodedata.normalize("NFC", value).strip()


def _since(value: object) -> datetime | None:
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else ""
    moment = parse_time(text) or parse_time(f"{text}T00:00:00Z")
    if moment is None:
        raise BadTarget("params.since", "A date or time is needed, like 2026-01-31 or 2026-01-31T08:00:00Z.")
    return moment
