"""Webhooks of Jira: who proves to know the secret, and which issues they are about.

Only ids are taken from them. What they tell of an issue is old when it arrives, is written as another version
of the API does, and may come twice or in another order.
"""

import hmac
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from adapters import senders
from adapters.base import BadHook, Hint, Hook
from adapters.senders import as_bytes, delivery_id

# What Jira may name before the signature; today it signs with SHA-256 (vendor docs).
_METHODS = ("sha256", "sha384", "sha512")
_SIGNATURE = "x-hub-signature"
_DELIVERY = "x-atlassian-webhook-identifier"


_ID = re.compile(r"[1-9][0-9]{0,18}")
_KEY = re.compile(r"[A-Z][A-Z0-9_]*-[1-9][0-9]*")
_OF_ISSUE = re.compile(r"/issue/([1-9][0-9]{0,18})(?:/|$)")
_EVENT = re.compile(r"[\w:.-]{1,80}", re.ASCII)

_EXPECTED = "Expected the JSON of one of Jira's webhooks, an object with a webhookEvent."
_NO_ISSUE = "names no issue: what it changes in issues has webhooks of its own, or the next sync reads it."
_EMPTY = (
    "Its body is empty. In Jira, under System > WebHooks, let this webhook send its details: the option to "
    "exclude the body must be off."
)


class _Subject(msgspec.Struct, rename="camel"):
    """An issue, or what belongs to one: `self` of a comment leads through its issue."""

    id: object = None
    key: object = None
    issue_id: object = None
    self_: object = msgspec.field(default=None, name="self")


class _Link(msgspec.Struct, rename="camel"):
    source_issue_id: object = None
    destination_issue_id: object = None


class _Event(msgspec.Struct, rename="camel"):
    webhook_event: str
    issue: _Subject | None = None
    comment: _Subject | None = None
    worklog: _Subject | None = None
    issue_link: _Link | None = None


_event = msgspec.json.Decoder(_Event)


def verify(hook: Hook, secret: str) -> bool:
    """Whether the body is signed with the secret as `X-Hub-Signature` says: by the HMAC of its raw bytes.

    Older Jira Server and Data Center, and automation rules, sign nothing: they show the secret itself. A
    wrong signature is never made good.
    """
    if _SIGNATURE in hook.headers:
        return _signed(hook, secret)
    return senders.verify(hook, secret)


def signature(body: bytes, secret: str, method: str = "sha256") -> str:
    """The value of `X-Hub-Signature`."""
    return f"{method}={hmac.new(as_bytes(secret), body, method).hexdigest()}"


def hint(hook: Hook) -> Hint:
    """The issues that a webhook is about, by id. Raises `BadHook` for what is no webhook of Jira."""
    if not hook.body:
        raise BadHook(_EMPTY)
    try:
        event = _event.decode(hook.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadHook(_EXPECTED) from None
    if not _EVENT.fullmatch(event.webhook_event):
        raise BadHook(_EXPECTED)
    delivery = delivery_id(hook.headers.get(_DELIVERY, "").strip())
    issues = list(dict.fromkeys(_issues(event)))
    if not issues:
        return Hint(delivery=delivery, ignored=f"{event.webhook_event} {_NO_ISSUE}")
    return Hint({"issues": issues}, delivery)


def _signed(hook: Hook, secret: str) -> bool:
    method, _, given = hook.headers[_SIGNATURE].strip().partition("=")
    if method not in _METHODS:
        return False
    expected = signature(hook.body, secret, method)
    return bool(secret) and hmac.compare_digest(as_bytes(f"{method}={given.lower()}"), expected.encode())


def _issues(event: _Event) -> Iterator[str]:
    """Ids, where possible; a key text leads to the issue, too."""
    if event.issue is not None:
        if found := _id(event.issue.id) or _in_path(event.issue.self_):
            yield found
        elif isinstance(event.issue.key, str) and _KEY.fullmatch(event.issue.key):
            yield event.issue.key
    for part in (event.comment, event.worklog):
        # Data Center tells of a comment without its issue (seen in recorded webhooks).
        if part is not None and (found := _id(part.issue_id) or _in_path(part.self_)):
            yield found
    if event.issue_link is not None:
        for end in (event.issue_link.source_issue_id, event.issue_link.destination_issue_id):
            if found := _id(end):
                yield found


def _id(value: object) -> str | None:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else None


def _in_path(link: object) -> str | None:
    """The issue in a link of Jira's. Nothing else of the link is used, so its host does not matter."""
    try:
        found = _OF_ISSUE.search(urlsplit(link).path) if isinstance(link, str) else None
    except ValueError:
        return None
    return found[1] if found else None
