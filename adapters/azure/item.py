"""One work item as a record: its columns, and what may differ although nothing changed."""

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import msgspec

from adapters.azure.values import moment, number, person, person_id, text, whole
from adapters.base import Column, ColumnType, Record, Rejected, Stream, Value

NAME = "work_items"


class _Field(NamedTuple):
    """A column and the field it is made from."""

    name: str
    type: ColumnType
    source: str
    read: Callable[[object], Value]
    unit: str | None = None


_FIELDS = (
    _Field("project", "text", "System.TeamProject", text),
    _Field("type", "text", "System.WorkItemType", text),
    _Field("title", "text", "System.Title", text),
    _Field("state", "text", "System.State", text),
    _Field("reason", "text", "System.Reason", text),
    _Field("assigned_to", "text", "System.AssignedTo", person),
    _Field("assigned_to_id", "text", "System.AssignedTo", person_id),
    _Field("created_at", "time", "System.CreatedDate", moment),
    _Field("created_by", "text", "System.CreatedBy", person),
    _Field("changed_by", "text", "System.ChangedBy", person),
    _Field("state_changed_at", "time", "Microsoft.VSTS.Common.StateChangeDate", moment),
    _Field("closed_at", "time", "Microsoft.VSTS.Common.ClosedDate", moment),
    _Field("area_path", "text", "System.AreaPath", text),
    _Field("iteration_path", "text", "System.IterationPath", text),
    _Field("tags", "text", "System.Tags", text),
    _Field("priority", "integer", "Microsoft.VSTS.Common.Priority", whole),
    _Field("severity", "text", "Microsoft.VSTS.Common.Severity", text),
    _Field("parent_id", "integer", "System.Parent", whole),
    _Field("board_column", "text", "System.BoardColumn", text),
    # Which of the two estimates exists depends on the process: Agile has points, Scrum effort.
    _Field("story_points", "number", "Microsoft.VSTS.Scheduling.StoryPoints", number, "points"),
    _Field("effort", "number", "Microsoft.VSTS.Scheduling.Effort", number, "points"),
    _Field("original_estimate", "number", "Microsoft.VSTS.Scheduling.OriginalEstimate", number, "h"),
    _Field("remaining_work", "number", "Microsoft.VSTS.Scheduling.RemainingWork", number, "h"),
    _Field("completed_work", "number", "Microsoft.VSTS.Scheduling.CompletedWork", number, "h"),
)

STREAM = Stream(
    NAME,
    columns=tuple(Column(f.name, f.type, f"fields.{f.source}", f.unit) for f in _FIELDS),
    # Both only say where we asked: the host and, on some paths, the project. A rename of the organisation
    # changes every one of them and no work item. All else is content, bound to `rev` or worth storing.
    volatile=("_links", "url"),
)

_CHANGED = "System.ChangedDate"
_SOURCES = tuple(dict.fromkeys((_CHANGED, *(f.source for f in _FIELDS))))
_Fields = msgspec.defstruct(
    "_Fields",
    [(f"f{i}", object, msgspec.field(name=source, default=None)) for i, source in enumerate(_SOURCES)],
)
_values = attrgetter("f0", *(f"f{_SOURCES.index(f.source)}" for f in _FIELDS))
_readers = tuple(f.read for f in _FIELDS)


class _Item(msgspec.Struct):
    id: int
    fields: msgspec.Raw
    rev: object = None


class _Id(msgspec.Struct):
    id: int


_item = msgspec.json.Decoder(_Item)
_fields = msgspec.json.Decoder(_Fields)
_id = msgspec.json.Decoder(_Id)


def read_item(raw: msgspec.Raw, hint: int | None = None) -> Record | Rejected:
    """One work item; rejected without an id or without fields, whatever else is odd is left out.

    `hint` is the id that was asked for, for what does not tell its own.
    """
    body = bytes(raw)
    try:
        item = _item.decode(raw)
        changed, *values = _values(_fields.decode(item.fields))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return Rejected(NAME, _key(raw) or _text(hint), f"Not a work item as we know it: {e}", body)
    return Record(
        NAME,
        str(item.id),
        body,
        updated_at=moment(changed),
        version=str(item.rev) if isinstance(item.rev, int) else None,
        columns=tuple([read(value) for read, value in zip(_readers, values, strict=True)]),
    )


def _text(hint: int | None) -> str | None:
    return None if hint is None else str(hint)


def _key(raw: msgspec.Raw) -> str | None:
    try:
        return str(_id.decode(raw).id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
