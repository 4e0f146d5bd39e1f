"""One work item as a record: its columns, and what may differ although nothing changed."""

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import msgspec

from adapters.azure.values import Person, moment, number, person, person_id, text, whole
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
_TYPES: dict[Callable[[object], Value], object] = {
    text: str | None,
    whole: int | None,
    number: float | None,
    moment: datetime | None,
    person: Person | str | None,
    person_id: Person | str | None,
}
_READERS = {_CHANGED: moment, **{f.source: f.read for f in _FIELDS}}


def _shape(*, strict: bool) -> type[msgspec.Struct]:
    """A struct for items: with every field of its usual type, or of any, which takes five times as long."""
    fields = msgspec.defstruct(
        "Fields",
        [
            (
                f"f{i}",
                _TYPES[_READERS[source]] if strict else object,
                msgspec.field(name=source, default=None),
            )
            for i, source in enumerate(_SOURCES)
        ],
    )
    return msgspec.defstruct("Item", [("id", int), ("fields", fields), ("rev", object, None)])


class _Id(msgspec.Struct):
    id: int


_usual = msgspec.json.Decoder(_shape(strict=True))
_odd = msgspec.json.Decoder(_shape(strict=False))
_id = msgspec.json.Decoder(_Id)
_take = attrgetter("id", "rev", "fields.f0", *(f"fields.f{_SOURCES.index(f.source)}" for f in _FIELDS))
# What a usual item's values still need: people become names, times become UTC.
_TO_READ = tuple((i, f.read) for i, f in enumerate(_FIELDS) if f.read in (moment, person, person_id))


def read_item(raw: msgspec.Raw, hint: int | None = None) -> Record | Rejected:
    """One work item; rejected without an id or without fields, whatever else is odd is left out.

    `hint` is the id that was asked for, for what does not tell its own.
    """
    body = bytes(raw)
    try:
        item_id, rev, changed, *values = _take(_usual.decode(body))
        for i, read in _TO_READ:
            values[i] = read(values[i])
    except msgspec.ValidationError:
        return _read_odd(body, hint)
    except (msgspec.DecodeError, RecursionError) as e:
        return Rejected(NAME, _text(hint), f"Not readable as JSON: {e}", body)
    return _record(item_id, rev, moment(changed), values, body)


def _read_odd(body: bytes, hint: int | None) -> Record | Rejected:
    """An item with a field of another type than usual: only that column stays empty."""
    try:
        item_id, rev, changed, *values = _take(_odd.decode(body))
    except (msgspec.DecodeError, RecursionError) as e:
        return Rejected(NAME, _key(body) or _text(hint), f"Not a work item as we know it: {e}", body)
    columns = [f.read(value) for f, value in zip(_FIELDS, values, strict=True)]
    return _record(item_id, rev, moment(changed), columns, body)


def _record(
    item_id: int, rev: object, changed: datetime | None, columns: Sequence[Value], body: bytes
) -> Record:
    return Record(
        NAME,
        str(item_id),
        body,
        updated_at=changed,
        version=str(rev) if isinstance(rev, int) else None,
        columns=tuple(columns),
    )


def _text(hint: int | None) -> str | None:
    return None if hint is None else str(hint)


def _key(body: bytes) -> str | None:
    try:
        return str(_id.decode(body).id)
    except (msgspec.DecodeError, RecursionError):
        return None
