"""The stream `issues`: its columns, and how the JSON of an issue becomes a record."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

from adapters.base import Column, Record, Rejected, Stream, Value
from adapters.times import from_millis, parse_time, to_millis

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
        # About the account that asks, and changed by looking.
        "fields.lastViewed",
        "fields.watches.isWatching",
        "fields.votes.hasVoted",
        # About the whole project: it changes with every other issue.
        "fields.project.insight",
    ),
)


class _Category(Struct, gc=False):
    key: str | None = None


class _Named(Struct, gc=False):
    name: str | None = None


class _Status(Struct, gc=False, rename="camel"):
    name: str | None = None
    status_category: _Category | None = None


class _Keyed(Struct, gc=False):
    key: str | None = None


class _User(Struct, gc=False, rename="camel"):
    """`key` stands where there is no accountId: on Jira Server and Data Center; old ones know but `name`."""

    display_name: str | None = None
    account_id: str | None = None
    key: str | None = None
    name: str | None = None

    @property
    def identity(self) -> str | None:
        return self.account_id or self.key or self.name


class _Fields(Struct, gc=False):
    """The members that columns and version need. Everything may be missing."""

    summary: str | None = None
    project: _Keyed | None = None
    issuetype: _Named | None = None
    status: _Status | None = None
    statuscategorychangedate: datetime | None = None
    priority: _Named | None = None
    resolution: _Named | None = None
    assignee: _User | None = None
    reporter: _User | None = None
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


class _Issue(Struct, gc=False):
    id: str | int
    fields: _Fields
    key: str | None = None


class _Loose(Struct):
    """An issue of which some member has an unexpected type."""

    id: str | int
    fields: dict[str, Raw]
    key: Raw = Raw(b"null")


class _Names(Struct):
    """As much as is legible of an issue that is not one."""

    id: str | int | None = None
    key: str | None = None


_NO_STATUS = _Status()
_NO_USER = _User()
_ISSUE = msgspec.json.Decoder(_Issue)
_LOOSE = msgspec.json.Decoder(_Loose)
_NAMES = msgspec.json.Decoder(_Names)
_FIELDS = [(f.name, f.encode_name, msgspec.json.Decoder(f.type)) for f in msgspec.structs.fields(_Fields)]
_TIMES = frozenset("statuscategorychangedate created updated resolutiondate".split())

# What decoding raises for JSON that is broken, does not fit, or is nested beyond sense.
_ILLEGIBLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def decode_issues(raws: Sequence[Raw]) -> tuple[list[Record], list[Rejected]]:
    """The issues of one page, each as sent. What has no legible id or no fields is rejected, alone."""
    records: list[Record] = []
    rejected: list[Rejected] = []
    for one in map(decode_issue, raws):
        if isinstance(one, Record):
            records.append(one)
        else:
            rejected.append(one)
    return records, rejected


def decode_issue(raw: Raw) -> Record | Rejected:
    try:
        return _record(raw)
    except _ILLEGIBLE as e:
        return _rejection(raw, str(e))


def _record(raw: Raw) -> Record:
    try:
        issue = _ISSUE.decode(raw)
    except msgspec.ValidationError:
        issue = _loosely(raw)
    key = str(issue.id)
    if not _is_id(key):
        raise msgspec.ValidationError("the id is not a number")
    updated = _utc(issue.fields.updated)
    return Record(
        "issues",
        key,
        bytes(raw),
        updated_at=updated,
        version=str(to_millis(updated)) if updated else None,
        columns=_columns(issue),
    )


def _loosely(raw: Raw) -> _Issue:
    """The members that have the expected type; the others are left out. Raises ValidationError."""
    loose = _LOOSE.decode(raw)
    fields = _Fields()
    for name, sent_as, decoder in _FIELDS:
        if sent_as in loose.fields:
            setattr(fields, name, _field(name, decoder, loose.fields[sent_as]))
    return _Issue(loose.id, fields, _text(loose.key))


def _field(name: str, decoder: msgspec.json.Decoder[object], value: Raw) -> object:
    try:
        return decoder.decode(value)
    except _ILLEGIBLE:
        return _odd_time(value) if name in _TIMES else None


def _odd_time(value: Raw) -> datetime | None:
    """Times in other spellings: documents of Jira also show epoch milliseconds."""
    try:
        plain = msgspec.json.decode(value, type=str | float)
    except _ILLEGIBLE:
        return None
    return parse_time(plain) if isinstance(plain, str) else from_millis(plain)


def _text(value: Raw) -> str | None:
    try:
        return msgspec.json.decode(value, type=str | None)
    except _ILLEGIBLE:
        return None


def _rejection(raw: Raw, reason: str) -> Rejected:
    """With the id if that much is legible; the issue's own key text only helps the reader."""
    try:
        names = _NAMES.decode(raw)
    except _ILLEGIBLE:
        names = _Names()
    key = str(names.id)
    told = f"{names.key}: {reason}" if names.key else reason
    return Rejected("issues", key if _is_id(key) else None, told, bytes(raw))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _columns(issue: _Issue) -> tuple[Value, ...]:
    """The values of the columns of `ISSUES`, in their order."""
    f = issue.fields
    status, assignee, reporter = f.status or _NO_STATUS, f.assignee or _NO_USER, f.reporter or _NO_USER
    return (
        issue.key,
        f.summary,
        f.project.key if f.project else None,
        f.issuetype.name if f.issuetype else None,
        status.name,
        status.status_category.key if status.status_category else None,
        _utc(f.statuscategorychangedate),
        f.priority.name if f.priority else None,
        f.resolution.name if f.resolution else None,
        assignee.display_name,
        assignee.identity,
        reporter.display_name,
        reporter.identity,
        _utc(f.created),
        _utc(f.resolutiondate),
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


def _utc(moment: datetime | None) -> datetime | None:
    """No offset means UTC; None for what no calendar holds in UTC."""
    if moment is None or moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        return None
