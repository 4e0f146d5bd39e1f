"""Service hooks of Azure DevOps: who sent one, and what it is about.

They are not signed: the subscription is given a password, or a header of its own. Of the payload only ids
are taken, for samples sent by its Test button hold made-up data.
"""

import re

import msgspec

from adapters.base import BadHook, Hint, Hook
from adapters.senders import delivery_id

_EXPECTED = "Expected a JSON object with an eventType, as the Web Hooks service of Azure DevOps sends it."
_LESS = (
    "It does not tell which {what} it is about: set Resource details to send to All in the service hook "
    "subscription."
)
_LAST_ID = (1 << 31) - 1
_UPDATE = re.compile(r"/workitems/(\d{1,10})/updates/\d+(?:$|\?)", re.IGNORECASE)
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _Identified(msgspec.Struct):
    id: object = None


class _Resource(msgspec.Struct, rename="camel"):
    """The members of all kinds of resources that tell an id; of whatever type they are."""

    id: object = None
    work_item_id: object = None
    url: object = None
    revision: msgspec.Raw = msgspec.Raw(b"null")
    run: msgspec.Raw = msgspec.Raw(b"null")
    project: msgspec.Raw = msgspec.Raw(b"null")


class _Containers(msgspec.Struct):
    project: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, rename="camel"):
    event_type: str
    subscription_id: object = None
    notification_id: object = None
    id: object = None
    resource: msgspec.Raw = msgspec.Raw(b"null")
    resource_containers: msgspec.Raw = msgspec.Raw(b"null")


_event = msgspec.json.Decoder(_Event)
_resource = msgspec.json.Decoder(_Resource)
_identified = msgspec.json.Decoder(_Identified)
_containers = msgspec.json.Decoder(_Containers)


def hint(hook: Hook) -> Hint:
    """The record that an event is about. Raises `BadHook` for what is no event of a service hook."""
    try:
        event = _event.decode(hook.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadHook(f"{_EXPECTED} It cannot be read: {str(e)[:200]}") from None
    kind, delivery = event.event_type, _delivery(event)
    resource = _part(event.resource)
    if kind.startswith("workitem."):
        return _about("work_items", "work item", _work_item(kind, resource), delivery)
    if kind == "build.complete":
        return _about("builds", "build", _whole(resource.id), delivery)
    if kind.startswith("ms.vss-pipelines."):
        # A run of a pipeline is a build, with the same id (vendor's OpenAPI documents).
        return _about("builds", "build", _whole(_id(resource.run)), delivery)
    if re.search(r"(?:^|[.-])project(?:[.-]|$)", kind):
        return _about("projects", "project", _project(event, resource), delivery)
    known = kind[:80] if kind.isprintable() else "of this type"
    return Hint(delivery=delivery, ignored=f"Events {known} are about nothing that is read.")


def _about(stream: str, what: str, key: str | None, delivery: str | None) -> Hint:
    if key is None:
        return Hint(delivery=delivery, ignored=_LESS.format(what=what))
    return Hint({stream: [key]}, delivery)


def _work_item(kind: str, resource: _Resource) -> str | None:
    """The id of the work item: the resource of an update is the update, whose own id is a number of that.

    In a sample sent by the Test button the update tells 0 for its work item (seen in recorded events).
    """
    if kind != "workitem.updated" and resource.work_item_id is None:
        return _whole(resource.id)
    told = _whole(resource.work_item_id) or _whole(_id(resource.revision))
    path = _UPDATE.search(resource.url) if isinstance(resource.url, str) else None
    return told or (_whole(int(path[1])) if path else None)


def _project(event: _Event, resource: _Resource) -> str | None:
    try:
        container = _id(_containers.decode(event.resource_containers).project)
    except (msgspec.DecodeError, RecursionError):
        container = None
    for found in (_id(resource.project), resource.id, container):
        if isinstance(found, str) and _GUID.fullmatch(found.lower()):
            return found.lower()
    return None


def _part(raw: msgspec.Raw) -> _Resource:
    """What is sent of the resource; nothing, where the subscription leaves it out."""
    try:
        return _resource.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return _Resource()


def _id(raw: msgspec.Raw) -> object:
    try:
        return _identified.decode(raw).id
    except (msgspec.DecodeError, RecursionError):
        return None


def _whole(value: object) -> str | None:
    """An id that the remote could have given; 0 is none."""
    return str(value) if type(value) is int and 0 < value <= _LAST_ID else None


def _delivery(event: _Event) -> str | None:
    """Equal when it is sent again: the event's own id is the same for all subscriptions."""
    subscription, number = delivery_id(event.subscription_id), event.notification_id
    if subscription and type(number) is int and abs(number) < 1 << 63:
        return f"{subscription}/{number}"
    return delivery_id(event.id)
