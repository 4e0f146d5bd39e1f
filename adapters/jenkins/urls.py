"""What people paste for a Jenkins, and how a job's full name becomes a path."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from adapters.base import BadTarget, Target
from adapters.times import parse_time, to_millis

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MY_VIEWS = re.compile(r"/(?:user/[^/]+|me)/my-views(?:/view/(?P<name>[^/]+))?(?P<item>/job/)?")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Pages of a controller that people have open when they copy the address; what follows is no context path.
_PAGES = frozenset(
    "about administrativeMonitor api asynchPeople builds cli cloud computer configure configureSecurity "
    "configureTools credentials crumbIssuer github-webhook label load-statistics log login loginError logout "
    "manage me newJob newView oops overallLoad people pluginManager projectRelationship prometheus queue "
    "rssAll rssFailed rssLatest script search securityRealm signup systemInfo threadDump updateCenter user "
    "userContent whoAmI".split()
)
# Pages of a job or folder; anything else behind it may be a page of a plugin, or a job without its `job/`.
_ITEM_PAGES = frozenset(
    "api build buildWithParameters builds changes computation configure confirm-rename credentials delete "
    "indexing move newJob newView pipeline-syntax rssAll rssFailed testReport workflow-stage ws".split()
)
_LONGEST_NAME = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXAMPLE = "Paste the address of a job, a folder, a view or the controller, like https://jenkins.example.com/job/app."


def parse(url: str, params: Mapping[str, object]) -> Target:
    """The target of a pasted URL. `options`: `path` (the item, percent-encoded, "" for the controller),
    `view` ("yes" if the path is a view), `after` (what stands behind the item, unless it is a known page or
    a build), `since` (epoch milliseconds) if asked for. Raises `BadTarget`.
    """
    origin, segments = _split(url)
    # A context path may be called like a page, but nothing before the item is called like its first step.
    items = (i for i, s in enumerate(segments) if s in ("job", "view", "blue"))
    pages = (i for i, s in enumerate(segments) if s in _PAGES)
    start = next(items, next(pages, len(segments)))
    context = segments[:start]
    path, view, after = _item(segments[start:])
    base = "/".join([origin, *context])
    options = {"path": path, **({"view": "yes"} if view else {}), **_since(params)}
    if after:
        options["after"] = after
    return Target(base, base + path, options)


@lru_cache(maxsize=1024)
def item_path(full_name: str) -> str:
    """`/job/a/job/b` for `a/b`. A branch `feature%2Fx` is stored encoded, so its path is encoded twice."""
    return "".join("/job/" + quote(name, safe="") for name in full_name.split("/")) if full_name else ""


def full_name(path: str) -> str:
    """The full name that a path of `/job/` segments leads to; the opposite of `item_path`."""
    return "/".join(unquote(name) for name in path.split("/")[2::2])


def is_full_name(text: str) -> bool:
    """Whether text can be a full name: no step of its path leads elsewhere, and no character is invisible."""
    clean = len(text) <= _LONGEST_NAME and not _CONTROL.search(text)
    return clean and not {"", ".", ".."} & set(text.split("/"))


def _split(url: str) -> tuple[str, list[str]]:
    """Origin without a trailing slash, and the path's non-empty segments, encoded as pasted."""
    text = url.strip()
    try:
        parts = urlsplit(text if _SCHEME.match(text) else f"https://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise BadTarget("url", f"The host or its port cannot be read. {_EXAMPLE}") from e
    if parts.scheme.lower() not in ("http", "https"):
        raise BadTarget("url", f"Jenkins is reached by http or https, not {parts.scheme}. {_EXAMPLE}")
    if parts.username is not None or parts.password is not None:
        raise BadTarget("url", "Leave user and password out of the URL; they belong in a credential.")
    if not host or re.search(r"[\s<>\"\\^`{|}]", host):
        raise BadTarget("url", f"There is no host in it. {_EXAMPLE}")
    scheme = parts.scheme.lower()
    shown = f"[{host}]" if ":" in host else host
    default = port is None or port == {"http": 80, "https": 443}[scheme]
    segments = [_clean(s) for s in _MY_VIEWS.sub(_shared, parts.path).split("/") if s]
    return f"{scheme}://{shown}" + ("" if default else f":{port}"), segments


def _clean(segment: str) -> str:
    """Encoded where it was not; what is encoded already stays as it is."""
    if unquote(segment) in (".", ".."):
        raise BadTarget("url", f"The path has a step '{segment}' in it. {_EXAMPLE}")
    return quote(_STRAY_PERCENT.sub("%25", segment), safe="%:@!$&'()*+,;=~")


def _shared(match: re.Match[str]) -> str:
    """The path without somebody's own views: their list of all jobs is the controller's."""
    if match["name"] and match["name"].lower() != "all" and not match["item"]:
        raise BadTarget("url", f"A personal view is its owner's alone; use a shared view. {_EXAMPLE}")
    return match["item"] or ""


def _item(segments: list[str]) -> tuple[str, bool, str]:
    """The path of the item, whether it ends in a view, and what stands behind it if that is no known page."""
    if segments[:1] == ["blue"]:
        return _blue(segments), False, ""
    path, view, used = "", "", 0
    for kind, name in _steps(segments):
        used += 2
        if kind == "job":
            path, view = f"{path}/job/{_job_segment(name)}", ""
        else:
            view = f"{view}/view/{name}"
    after = next(iter(segments[used:]), "") if path and not view else ""
    known = after in _ITEM_PAGES or after.isdigit() or re.match("last[A-Z]", after)
    return path + view, bool(view), "" if known else after


def _steps(segments: list[str]) -> Iterator[tuple[str, str]]:
    """The leading `job/NAME` and `view/NAME` pairs; a build number or a page ends them."""
    for i in range(0, len(segments), 2):
        if segments[i] not in ("job", "view"):
            return
        if i + 1 == len(segments):
            raise BadTarget("url", f"It ends before the name of the {segments[i]}. {_EXAMPLE}")
        yield segments[i], segments[i + 1]


def _job_segment(name: str) -> str:
    """No job name holds a slash: a branch that lost one of its two encodings gets it back."""
    return quote(name, safe="") if "/" in unquote(name) else name


def _blue(segments: list[str]) -> str:
    """`/blue/organizations/jenkins/FULL%2FNAME/activity`: the pipeline, whichever page of it is open.

    `/blue/rest/organizations/jenkins/pipelines/FULL/pipelines/NAME/branches/BRANCH`: what it names.
    """
    if segments[1:2] == ["organizations"] and len(segments) > 3 and segments[3] != "pipelines":
        return item_path(unquote(segments[3]).strip("/"))
    path = ""
    if segments[1:3] == ["rest", "organizations"]:
        for kind, name in zip(segments[4::2], segments[5::2], strict=False):
            if kind not in ("pipelines", "branches"):
                break
            path += f"/job/{_job_segment(name)}"
    return path


def _since(params: Mapping[str, object]) -> dict[str, str]:
    since = params.get("since")
    if since is None:
        return {}
    moment = parse_time(f"{since}T00:00" if re.fullmatch(r"\d{4}-\d\d-\d\d", str(since)) else str(since))
    if moment is None:
        raise BadTarget("params.since", "Write a date or a time, like 2026-01-31 or 2026-01-31T08:00:00Z.")
    return {"since": str(to_millis(moment))}
