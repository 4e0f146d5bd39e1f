"""Webhooks of Jenkins' plugins: Notification, Generic Event and CloudEvents; the core sends none.

None of them signs. Hosts and values in them are never believed: only paths and numbers are taken, to ask the
connection's own Jenkins about.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import msgspec

from adapters.base import BadHook, Hint, Hook
from adapters.jenkins.urls import is_full_name
from adapters.jenkins.values import whole
from adapters.senders import delivery_id

_EXPECTED = (
    "Expected the JSON of Jenkins' Notification plugin (format JSON), its Generic Event plugin or its "
    "CloudEvents plugin."
)
_MOST_DIGITS = 10
_LONGEST_URL = 8000
_CLOUD_TYPE = re.compile(r"org\.jenkinsci\.(\w+)\.(\w+)")


class _Build(msgspec.Struct):
    """`fullUrl` is how the CloudEvents plugin writes `full_url`."""

    number: object = None
    url: object = None
    full_url: object = None
    camel_url: object = msgspec.field(default=None, name="fullUrl")


class _Moved(msgspec.Struct, rename="camel"):
    old_name: object = None
    new_name: object = None


class _Bean(msgspec.Struct, rename="camel"):
    """What the Generic Event plugin is about. The names with an underscore are its own, of pipelines."""

    full_name: object = None
    number: object = None
    timestamp: object = None
    parent_full_name: object = msgspec.field(default=None, name="_parentFullName")
    project_name: object = msgspec.field(default=None, name="_projectName")


class _Event(msgspec.Struct, rename="camel"):
    """The members of all three plugins; they have no name in common but `url`."""

    url: object = None
    build: _Build | None = None
    # Generic Event
    type: object = None
    id: object = None
    source: object = None
    data: _Bean | None = None
    meta_data: _Moved | None = None
    # CloudEvents, of an item, of the queue, of a node
    status: object = None
    jenkins_queue_id: object = None
    node_name: object = None


_event = msgspec.json.Decoder(_Event)


def hint(hook: Hook) -> Hint:
    """The job and the build that a webhook is about. Raises `BadHook` for what none of the plugins sends."""
    event = _decoded(hook.body)
    cloud = _CLOUD_TYPE.fullmatch(hook.headers.get("ce-type", ""))
    delivery = delivery_id(hook.headers.get("ce-id"))
    if isinstance(event.type, str) and event.build is None:
        return _of_generic_event(event, event.type)
    if event.build is not None:
        return Hint(_build_keys(_number(event.build), _item_of_build(event.build, event.url)), delivery)
    about = cloud[1] if cloud else ""
    if about == "queue" or event.jenkins_queue_id is not None:
        return Hint(delivery=delivery, ignored="The queue is not read; the build is told when it starts.")
    if about in ("node", "computer") or event.node_name is not None:
        return Hint(delivery=delivery, ignored="Nodes are not read.")
    if isinstance(event.url, str) and (cloud or event.status is not None):
        return Hint({"jobs": [_item(event.url)]}, delivery)
    raise BadHook(_EXPECTED)


def _decoded(body: bytes) -> _Event:
    try:
        return _event.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        if body.lstrip().startswith(b"<"):
            raise BadHook(f"This is XML: set the format to JSON. {_EXPECTED}") from None
        raise BadHook(f"{_EXPECTED} It cannot be read: {e}") from None


def _of_generic_event(event: _Event, kind: str) -> Hint:
    """Its data is the bean itself, with the very start time that is in a build's key."""
    delivery = delivery_id(event.id)
    data = event.data or _Bean()
    if kind == "item.locationChanged":
        moved = event.meta_data or _Moved()
        names = [name for name in (moved.old_name, moved.new_name, data.full_name) if isinstance(name, str)]
        if not names:
            raise BadHook(f"A {kind} without names. {_EXPECTED}")
        return Hint({"jobs": list(dict.fromkeys(map(_checked, names)))}, delivery)
    if kind.startswith("item."):
        named = data.full_name if isinstance(data.full_name, str) else None
        return Hint({"jobs": [_checked(named) if named is not None else _item(event.url)]}, delivery)
    if kind.startswith("run."):
        at = whole(data.timestamp)
        number = _number(data)
        keys = _build_keys(number, _item_of_run(event, data))
        full = [f"{keys['builds'][0]}@{at}"] if at is not None and 0 <= at < 10**15 else keys["builds"]
        return Hint({**keys, "builds": full}, delivery)
    return Hint(delivery=delivery, ignored=f"Events '{kind[:60]}' are about neither jobs nor builds.")


def _build_keys(number: int, job: str) -> dict[str, list[str]]:
    """The build by its short key, and its job, whose last build and colour change with it."""
    return {"builds": [f"{job}#{number}"], "jobs": [job]}


def _number(build: _Build | _Bean) -> int:
    number = build.number
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS:
        number = int(number)
    if type(number) is not int or not 0 < number < 10**_MOST_DIGITS:
        raise BadHook(f"The build has no number. {_EXPECTED}")
    return number


def _item_of_build(build: _Build, job_url: object) -> str:
    """Relative links first: the absolute one may have a context path, or be missing."""
    for url in (build.url, build.full_url, build.camel_url):
        if isinstance(url, str) and url:
            return _item(re.sub(r"/\d+/?$", "", url))
    if isinstance(job_url, str) and job_url:
        return _item(job_url)
    raise BadHook(f"The build has no URL. {_EXPECTED}")


def _item_of_run(event: _Event, data: _Bean) -> str:
    for url in (event.source, event.url):
        if isinstance(url, str) and url:
            return _item(url)
    if isinstance(data.parent_full_name, str) and isinstance(data.project_name, str):
        return _checked(f"{data.parent_full_name}/{data.project_name}".removeprefix("/"))
    raise BadHook(f"The build has no job. {_EXPECTED}")


def _item(url: object) -> str:
    """The full name that the last chain of `job/NAME` in a path leads to. What stands before it is left out:
    host and context path; and behind it: a build, a combination of a multi-configuration job, a module.

    A branch's name is encoded once more in a path than in the full name.
    """
    if not isinstance(url, str) or len(url) > _LONGEST_URL:
        raise BadHook(f"There is no URL of a job in it. {_EXPECTED}")
    try:
        segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    except ValueError:
        segments = []
    names = [unquote(name) for name in _chain(segments)]
    if not names or any("/" in name for name in names):
        raise BadHook(f"There is no path of a job in it. {_EXPECTED}")
    return _checked("/".join(reversed(names)))


def _chain(segments: list[str]) -> Iterator[str]:
    """The names of the last `job/NAME` pairs, innermost first; views on the way are passed over."""
    last = next((i for i in range(len(segments) - 2, -1, -1) if segments[i] == "job"), -1)
    for i in range(last, -1, -2):
        if segments[i] == "job":
            yield segments[i + 1]
        elif segments[i] != "view":
            return


def _checked(name: str) -> str:
    if not is_full_name(name):
        raise BadHook(f"There is no name of a job in it. {_EXPECTED}")
    return name
