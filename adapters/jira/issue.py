"""The stream `issues`: its columns, and how the JSON of an issue becomes a record."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from adapters.base import Column, Record, Rejected, Stream, Value
from adapters.jira.values import ILLEGIBLE, NO_USER, User, is_id, odd_time, utc
from adapters.times import to_millis

ISSUES = Stream(
    "issues",
    columns=(
        Column("issue_key", "text", "key"),
        Column("summary", "text", "fields.summary"),
        Column("project_key", "text", "fields.project.key"),
        Column("issue_type", "text", "fields.issuetype.name"),
        Column("status", "text", "fields.status.name"),
        # `new`, `indeterminate` or `done`: the names of statuses are translated and renamed, these are not.
        Column("status_category", "text", "fields.status.statusCategory.key"),
        Column("status_category_changed_at", "time", "fields.statuscategorychangedate"),
        Column("priority", "text", "fields.priority.name"),
        Column("resolution", "text", "fields.resolution.name"),
        Column("assignee", "text", "fields.assignee.displayName"),
        Column("assignee_id", "text", "fields.assignee.accountId"),
        Column("reporter", "text", "fields.reporter.displayName"),
        Column("reporter_id", "text", "fields.reporter.accountId"),
        Column("created_at", "time", "fields.created"),
        Column("resolved_at", "time", "fields.resolutiondate"),
        Column("due_on", "text", "fields.duedate"),
        Column("parent_key", "text", "fields.parent.key"),
        # Lists are one text with commas between.
        Column("labels", "text", "fields.labels"),
        Column("components", "text", "fields.components.name"),
        Column("fix_versions", "text", "fields.fixVersions.name"),
        Column("time_spent", "integer", "fields.timespent", "s"),
        Column("original_estimate", "integer", "fields.timeoriginalestimate", "s"),
    ),
    volatile=(
        # What could be asked for, not what the issue is.
        "expand",
        # Asked for because of the stream `changelogs`.
        "changelog",
        # About the account that asks, and changed by looking.
        "fields.lastViewed",
        "fields.watches.isWatching",
        "fields.votes.hasVoted",
        # About the whole project: it changes with every other issue.
        "fields.project.insight",
    ),
)


#: In place of a member that is not there.
ABSENT = Raw()


class Issue(Struct, frozen=True, gc=False):
    """An issue, and the lists that came embedded in it, as sent or `ABSENT`."""

    record: Record
    changelog: Raw
    comment: Raw
    worklog: Raw

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def name(self) -> str:
        """What people call it, like TG-1."""
        shown = self.record.columns[0]
        return shown if isinstance(shown, str) else self.record.key


class _Category(Struct, gc=False):
    key: str | None = None


class _Named(Struct, gc=False):
    name: str | None = None


class _Status(Struct, gc=False, rename="camel"):
    name: str | None = None
    status_category: _Category | None = None


class _Keyed(Struct, gc=False):
    key: str | None = None


class _Fields(Struct, gc=False):
    """The members that columns and version need. Everything may be missing."""

    summary: str | None = None
    project: _Keyed | None = None
    issuetype: _Named | None = None
    status: _Status | None = None
    statuscategorychangedate: datetime | None = None
    priority: _Named | None = None
    resolution: _Named | None = None
    assignee: User | None = None
    reporter: User | None = None
    created: datetime | None = None
    updated: datetime | None = None
    resolutiondate: datetime | None = None
    duedate: str | None = None
    parent: _Keyed | None = None
    labels: list[str] | None = None
    components: list[_Named] | None = None
    fix_versions: list[_Named] | None = msgspec.field(default=None, name="fixVersions")
    timespent: int | None = None
    timeoriginalestimate: int | None = None
    comment: Raw = ABSENT
    worklog: Raw = ABSENT


class _Issue(Struct, gc=False):
    id: str | int
    fields: _Fields
    key: str | None = None
    changelog: Raw = ABSENT


class _Loose(Struct):
    """An issue of which some member has an unexpected type."""

    id: str | int
    fields: dict[str, Raw]
    key: Raw = Raw(b"null")
    changelog: Raw = ABSENT


class _Names(Struct):
    """As much as is legible of an issue that is not one."""

    id: str | int | None = None
    key: str | None = None


_NO_STATUS = _Status()
_ISSUE = msgspec.json.Decoder(_Issue)
_LOOSE = msgspec.json.Decoder(_Loose)
_NAMES = msgspec.json.Decoder(_Names)
_FIELDS = [(f.name, f.encode_name, msgspec.json.Decoder(f.type)) for f in msgspec.structs.fields(_Fields)]
_TIMES = frozenset("statuscategorychangedate created updated resolutiondate".split())


def decode_issues(raws: Sequence[Raw]) -> tuple[list[Issue], list[Rejected]]:
    """The issues of one page, each as sent. What has no legible id or no fields is rejected, alone."""
    issues: list[Issue] = []
    rejected: list[Rejected] = []
    for one in map(decode_issue, raws):
        if isinstance(one, Issue):
            issues.append(one)
        else:
            rejected.append(one)
    return issues, rejected


def decode_issue(raw: Raw) -> Issue | Rejected:
    try:
        return _decoded(raw)
    except ILLEGIBLE as e:
        return _rejection(raw, str(e))


def _decoded(raw: Raw) -> Issue:
    try:
        issue = _ISSUE.decode(raw)
    except msgspec.ValidationError:
        issue = _loosely(raw)
    key = str(issue.id)
    if not is_id(key):
        raise msgspec.ValidationError("the id is not a number")
    updated = utc(issue.fields.updated)
    record = Record(
        "issues",
        key,
        bytes(raw),
        updated_at=updated,
        version=str(to_millis(updated)) if updated else None,
        columns=_columns(issue),
    )
    return Issue(record, issue.changelog, issue.fields.comment, issue.fields.worklog)


def _loosely(raw: Raw) -> _Issue:
    """The members that have the expected type; the others are left out. Raises ValidationError."""
    loose = _LOOSE.decode(raw)
    fields = _Fields()
    for name, sent_as, decoder in _FIELDS:
        if sent_as in loose.fields:
            setattr(fields, name, _field(name, decoder, loose.fields[sent_as]))
    return _Issue(loose.id, fields, _text(loose.key), loose.changelog)


def _field(name: str, decoder: msgspec.json.Decoder[object], value: Raw) -> object:
    try:
        return decoder.decode(value)
    except ILLEGIBLE:
        return odd_time(value) if name in _TIMES else None


def _text(value: Raw) -> str | None:
    try:
        return msgspec.json.decode(value, type=str | None)
    except ILLEGIBLE:
        return None


def _rejection(raw: Raw, reason: str) -> Rejected:
    """With the id if that much is legible; the issue's own key text only helps the reader."""
    try:
        names = _NAMES.decode(raw)
    except ILLEGIBLE:
        names = _Names()
    key = str(names.id)
    told = f"{names.key}: {reason}" if names.key else reason
    return Rejected("issues", key if is_id(key) else None, told, bytes(raw))


def _columns(issue: _Issue) -> tuple[Value, ...]:
    """The values of the columns of `ISSUES`, in their order."""
    f = issue.fields
    status, assignee, reporter = f.status or _NO_STATUS, f.assignee or NO_USER, f.reporter or NO_USER
    return (
        issue.key,
        f.summary,
        f.project.key if f.project else None,
        f.issuetype.name if f.issuetype else None,
        status.name,
        status.status_category.key if status.status_category else None,
        utc(f.statuscategorychangedate),
        f.priority.name if f.priority else None,
        f.resolution.name if f.resolution else None,
        assignee.display_name,
        assignee.identity,
        reporter.display_name,
        reporter.identity,
        utc(f.created),
        utc(f.resolutiondate),
        f.duedate,
        f.parent.key if f.parent else None,
        ",".join(f.labels) if f.labels else None,
        _names(f.components) if f.components else None,
        _names(f.fix_versions) if f.fix_versions else None,
        f.timespent,
        f.timeoriginalestimate,
    )


def _names(of: list[_Named]) -> str | None:
    return ",".join(named.name for named in of if named.name) or None
