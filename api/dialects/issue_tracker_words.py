"""Issue tracker connections: how this product words errors, and what it calls systems and ids."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.problems import FieldError, ProblemError, Wording, invalid
from api.routing import JSON, Dialect

#: Under this name Tidegate keeps what clients of this product leave with connections and credentials.
NAME = "issue_tracker"
#: Where a complaint belongs that is about no field.
OVERALL = "non_field_errors"
_STATUSES = {422: 400}
_LARGEST_ID = 2**63 - 1

#: What a field of ours is called in these documents.
_OF_CONNECTIONS = {
    "name": "alias",
    "credential_id": "connector",
    "project_id": "project",
    "url": "params.issue_tracker_server",
    "params.jql": "params.issue_tracker_project",
    "params.filter": "params.issue_tracker_project",
    "params.project": "params.issue_tracker_project",
}
_OF_CREDENTIALS = {
    "secret": "params.issue_tracker_pass",
    "username": "params.issue_tracker_user",
    "kind": "params.issue_tracker_auth_mode",
    "credential_id": "params.issue_tracker_server",
}

#: Short and long names of the systems that have others than their id in capitals.
_NAMES = {
    "azure": ("Azure DevOps", "Azure DevOps"),
    "github": ("GitHub", "GitHub"),
    "gitlab": ("GitLab", "GitLab"),
    "jenkins": ("Jenkins", "Jenkins"),
    "jira": ("JIRA", "JIRA"),
    "rally": ("CA Agile Central", "CA Agile Central (formerly Rally)"),
    "servicenow": ("ServiceNow", "ServiceNow"),
}
#: Other names for systems that have an adapter.
_ALIASES = {
    "ado": "azure",
    "azure_devops": "azure",
    "azure-devops": "azure",
    "jira_cloud": "jira",
    "jira_server": "jira",
    "tfs": "azure",
    "vsts": "azure",
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What was wrong: `detail` of the whole request, or else messages by field; of `params`, by parameter."""

    detail: str | UnsetType = UNSET
    #: Of a test.
    success: bool | UnsetType = UNSET
    name: list[str] | UnsetType = UNSET
    alias: list[str] | UnsetType = UNSET
    connector: list[str] | UnsetType = UNSET
    project: list[str] | UnsetType = UNSET
    frequency: list[str] | UnsetType = UNSET
    params: list[str] | dict[str, Any] | UnsetType = UNSET


class TrackerSystem(msgspec.Struct, frozen=True):
    """What kind of remote it is."""

    id: str
    short_name: str
    name: str


def system_of(name: str) -> TrackerSystem:
    short, long = _NAMES.get(name, (name.upper(), name.capitalize()))
    return TrackerSystem(name, short, long)


def system_named(text: str) -> str:
    """The system that a client means. Tidegate's Azure DevOps has several names elsewhere."""
    name = text.strip().lower()
    return _ALIASES.get(name, name)


def primary_key(value: int | str, field: str) -> int:
    """An id, as number or text. Raises 422."""
    text = str(value)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    if not 0 < number <= _LARGEST_ID:
        raise invalid(FieldError(field, f"{text[:50]} is no id: give the number of one that exists."))
    return number


def word(error: ProblemError) -> web.Response:
    """A problem as this product words it: `detail`, or messages by field."""
    status = _STATUSES.get(error.status, error.status)
    body: object = {"detail": "Not found." if status == 404 else error.detail}
    if error.errors:
        body = by_field(error.errors)
    encoded = msgspec.json.encode(body)
    return web.Response(status=status, body=encoded, content_type=JSON, headers=error.headers)


def by_field(errors: Iterable[FieldError]) -> dict[str, Any]:
    """Messages by field; those of what is inside of a field are by what it is."""
    told: dict[str, Any] = {}
    for error in errors:
        field, _, inside = error.field.partition(".")
        if not inside and field != "body":
            told.setdefault(field, []).append(error.message)
            continue
        outer = told if field == "body" else told.setdefault(field, {})
        if isinstance(outer, list):
            outer.append(f"{inside}: {error.message}")
        else:
            outer.setdefault(OVERALL if field == "body" else inside, []).append(error.message)
    return told


def _renaming(names: Mapping[str, str]) -> Wording:
    def worded(error: ProblemError) -> web.Response:
        renamed = [FieldError(names.get(one.field, one.field), one.message) for one in error.errors]
        return word(ProblemError(error.status, error.detail, renamed, error.headers))

    return worded


CONNECTIONS = Dialect(
    name=NAME, word=_renaming(_OF_CREDENTIALS | _OF_CONNECTIONS), problem=Refusal, statuses=_STATUSES
)
_OF_TESTS = {ours: theirs for ours, theirs in _OF_CONNECTIONS.items() if ours != "name"}
TESTS = Dialect(name=NAME, word=_renaming(_OF_CREDENTIALS | _OF_TESTS), problem=Refusal, statuses=_STATUSES)
CONNECTORS = Dialect(name=NAME, word=_renaming(_OF_CREDENTIALS), problem=Refusal, statuses=_STATUSES)
