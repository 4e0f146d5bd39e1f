"""The part of WIQL that the simulated organisation understands: flat queries, conditions joined by AND."""

import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapters.times import parse_time
from tidegate.demo.remotes.azure.model import Item, View
from tidegate.demo.remotes.azure.render import Refusal

Condition = Callable[[int, View], bool]

_QUERY = re.compile(
    r"\s*SELECT\s+(?P<columns>.+?)\s+FROM\s+WorkItems"
    r"(?:\s+WHERE\s+(?P<where>.+?))?(?:\s+ORDER\s+BY\s+(?P<order>.+?))?\s*",
    re.IGNORECASE | re.DOTALL,
)
_LITERAL = r"(?:'(?:[^']|'')*'|-?\d+|@project)"
_CONDITION = re.compile(
    rf"\s*\(?\s*\[(?P<field>[\w.]+)\]\s*(?:(?P<compare>>=|<=|<>|>|<|=)\s*(?P<value>{_LITERAL})"
    rf"|IN\s*\((?P<values>\s*{_LITERAL}(?:\s*,\s*{_LITERAL})*)\s*\))\s*\)?\s*(?P<joined>AND\b|$)",
    re.IGNORECASE,
)
_ORDER = re.compile(r"\s*\[(System\.Id|System\.ChangedDate)\]\s*(ASC|DESC)?\s*", re.IGNORECASE)
# The values of one field are of one type, which operators cannot say.
Compare = Callable[[Any, Any], bool]
_COMPARE: dict[str, Compare] = {
    "=": operator.eq,
    "<>": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Query(msgspec.Struct, frozen=True):
    """A query that was understood."""

    columns: Sequence[str]
    conditions: Sequence[Condition]
    by_date: bool
    descending: bool

    def run(self, items: Sequence[Item], seen_at: Callable[[Item], datetime | None]) -> list[Item]:
        """What matches, in order. `seen_at` is how far the index is with one, None if it is up to date."""
        found = []
        for item in items:
            view = _view(item, seen_at(item))
            if view and view.listed and all(holds(item.id, view) for holds in self.conditions):
                found.append((str(view.fields["System.ChangedDate"]) if self.by_date else "", item.id, item))
        found.sort(key=lambda row: (parse_time(row[0]) or datetime.min.replace(tzinfo=UTC), row[1]))
        return [item for *_, item in (reversed(found) if self.descending else found)]


def parse(text: str, project: str | None, *, time_precision: bool) -> Query:
    """Raises `Refusal` for what the vendor, or this small part of it, does not take."""
    match = _QUERY.fullmatch(text)
    if match is None:
        raise _unclear(text)
    conditions, at, where = [], 0, match["where"] or ""
    while at < len(where):
        part = _CONDITION.match(where, at)
        if part is None:
            raise _unclear(where[at:])
        conditions.append(_condition(part, project, time_precision=time_precision))
        at = part.end()
    order = _ORDER.fullmatch(match["order"] or "[System.Id]")
    if order is None:
        raise _unclear(match["order"])
    columns = re.findall(r"\[([\w.]+)\]", match["columns"])
    by_date = order[1].casefold() == "system.changeddate"
    return Query(columns, conditions, by_date, (order[2] or "").upper() == "DESC")


def _view(item: Item, seen_at: datetime | None) -> View | None:
    if seen_at is None:
        return item.views[-1]
    return next((view for view in reversed(item.views) if view.at <= seen_at), None)


def _condition(part: re.Match[str], project: str | None, *, time_precision: bool) -> Condition:
    field = part["field"]
    if part["values"] is not None:
        wanted = {_plain(value, project) for value in re.findall(_LITERAL, part["values"])}
        return lambda item_id, view: _value(field, item_id, view) in wanted
    compare, literal = _COMPARE[part["compare"]], part["value"]
    if field.endswith("Date"):
        day_only = parse_time(literal.strip("'")) is None
        if not day_only and not time_precision:
            # Seen quoted by users: without time precision a time is refused.
            raise Refusal(
                400,
                "You cannot supply a time with the date when running a query using date precision. The error "
                f"is caused by «[{field}] {part['compare']} {literal}».",
                "WorkItemTrackingQueryException",
            )
        return _date_condition(field, compare, literal.strip("'"), day_only=day_only)
    value = _plain(literal, project)
    return lambda item_id, view: compare(_value(field, item_id, view), value)


def _date_condition(field: str, compare: Compare, literal: str, *, day_only: bool) -> Condition:
    wanted = parse_time(f"{literal}T00:00:00Z" if day_only else literal)
    if wanted is None:
        raise _unclear(literal)

    def holds(item_id: int, view: View) -> bool:  # noqa: ARG001 - one shape for all conditions
        value = parse_time(str(view.fields.get(field, "")))
        if value is not None and day_only:
            value = value.replace(hour=0, minute=0, second=0, microsecond=0)
        return value is not None and compare(value, wanted)

    return holds


def _value(field: str, item_id: int, view: View) -> object:
    """Text compares in any case (vendor docs)."""
    if field == "System.Id":
        return item_id
    value = view.fields.get(field, "")
    return value.casefold() if isinstance(value, str) else value


def _plain(literal: str, project: str | None) -> object:
    if literal.casefold() == "@project":
        return (project or "").casefold()
    return literal[1:-1].replace("''", "'").casefold() if literal.startswith("'") else int(literal)


def _unclear(where: str) -> Refusal:
    return Refusal(
        400,
        f"TF51006: The query statement is not understood. The error is caused by «{where}».",
        "WorkItemTrackingQueryException",
    )
