"""Connections at a glance: who needs somebody first, what runs, and how it went lately."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Select, and_, case, func, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.health import HEALTHS, Problem, problem
from store.schema import LIVE, connections, projects, sync_parts, syncs
from store.syncs import Sync, among, from_row

Sort = Literal["attention", "name", "last_success", "next_due", "since"]
Group = Literal["none", "project", "system"]

#: So many syncs are shown of each connection, among so many of its newest.
SHOWN, AMONG = 30, 150
#: Causes that nobody but a person can do anything about.
PERSONAL = ("auth", "forbidden", "not_found", "rejected", "crashing", "blocked", "tls", "incomplete")


class Line(msgspec.Struct, frozen=True):
    """A connection as a line of the overview. `change_sequence` grows with whatever is stored of it."""

    id: int
    name: str
    system: str
    url: str | None
    project_id: int | None
    project: str | None
    frequency: str
    enabled: bool
    draft: bool
    health: str
    cause: str | None
    since: datetime
    problem: Problem | None
    next_due_at: datetime | None
    last_success_at: datetime | None
    change_sequence: int
    rank: int


class Past(msgspec.Struct, frozen=True):
    """A sync that a line shows as a mark."""

    connection_id: int
    id: int
    state: str
    scope: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took, once it is over."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


_C = connections.c
_RANK = case(
    (and_(_C.health == "failed", _C.cause.in_(PERSONAL)), 0),
    (_C.health == "failed", 1),
    (_C.health == "partial", 2),
    (_C.health == "stale", 3),
    (and_(_C.health == "pending", _C.cause.is_not(None)), 4),
    (_C.health == "rate_limited", 5),
    (_C.health == "processing", 6),
    (_C.health == "pending", 7),
    (_C.health == "healthy", 8),
    else_=9,
)
#: Up to this rank a connection needs somebody.
NEEDS_SOMEBODY = 4


def needing_somebody() -> ColumnElement[bool]:
    """What a person should look at."""
    return _RANK <= NEEDS_SOMEBODY


def matching(text: str) -> ColumnElement[bool]:
    """What has this in its name or its URL."""
    return or_(_C.name.icontains(text, autoescape=True), _C.url.icontains(text, autoescape=True))


def _order(sort: Sort, group: Group) -> list[ColumnElement[Any]]:
    grouped: dict[Group, list[ColumnElement[Any]]] = {
        "none": [],
        "project": [projects.c.name.is_(None), projects.c.name],
        "system": [_C.system],
    }
    by: dict[Sort, list[ColumnElement[Any]]] = {
        "attention": [_RANK, func.lower(_C.name)],
        "name": [func.lower(_C.name)],
        "last_success": [_C.last_success_at.is_(None), _C.last_success_at.desc()],
        "next_due": [_C.next_due_at.is_(None), _C.next_due_at],
        "since": [_C.since.desc()],
    }
    return [*grouped[group], *by[sort], _C.id]


async def ids(
    connection: AsyncConnection, sort: Sort, group: Group, filters: Sequence[ColumnElement[bool]]
) -> list[int]:
    """The ids of all living connections that fit, in an order."""
    query = (
        select(_C.id)
        .select_from(connections.outerjoin(projects, projects.c.id == _C.project_id))
        .where(_C.deleted_at.is_(None), *filters)
        .order_by(*_order(sort, group))
    )
    return list((await connection.execute(query)).scalars())


async def lines(connection: AsyncConnection, wanted: Sequence[int]) -> list[Line]:
    """These connections, in the order of `wanted`."""
    rows = (await connection.execute(_lines(wanted))).mappings()
    found = {row["id"]: _line(row) for row in rows}
    return [found[one] for one in wanted if one in found]


def _lines(wanted: Sequence[int]) -> Select[tuple[object, ...]]:
    names = "id name system url project_id frequency enabled canonical health cause since failure partial"
    names += " next_due_at last_success_at change_sequence"
    columns = [_C[name] for name in names.split()]
    joined = connections.outerjoin(projects, projects.c.id == _C.project_id)
    query = select(*columns, projects.c.name.label("project"), _RANK.label("rank")).select_from(joined)
    return query.where(_C.id.in_(wanted), _C.deleted_at.is_(None))


def _line(row: RowMapping) -> Line:
    found = [problem(row["failure"]), problem(row["partial"])]
    why = next((one for one in found if one is not None and one.kind == row["cause"]), None)
    made = ("draft", "problem")
    values = {name: row[name] for name in Line.__struct_fields__ if name not in made}
    return Line(**values, draft=row["canonical"] is None, problem=why)


async def pasts(connection: AsyncConnection, wanted: Sequence[int]) -> Mapping[int, list[Past]]:
    """The last syncs of these connections that moved their cursors, the oldest first."""
    s = syncs.c
    floor = (
        select(s.id)
        .where(s.connection_id == _C.id)
        .order_by(s.id.desc())
        .limit(1)
        .offset(AMONG - 1)
        .scalar_subquery()
    )
    recent = select(_C.id.label("of"), func.coalesce(floor, 0).label("floor")).where(_C.id.in_(wanted)).cte()
    query = (
        select(*(s[name] for name in Past.__struct_fields__))
        .join(recent, and_(s.connection_id == recent.c.of, s.id >= recent.c.floor))
        .where(s.lane == "bulk")
        .order_by(s.connection_id, s.id)
    )
    found: dict[int, list[Past]] = {}
    for row in await connection.execute(query):
        past = Past(*row)
        found.setdefault(past.connection_id, []).append(past)
    return {one: of[-SHOWN:] for one, of in found.items()}


async def live(connection: AsyncConnection, wanted: Sequence[int]) -> Mapping[int, list[Sync]]:
    """The syncs of these connections that have not ended: those at work first."""
    s = syncs.c
    query = select(syncs).where(s.connection_id.in_(wanted), among(s.state, LIVE)).order_by(s.id)
    found: dict[int, list[Sync]] = {}
    for row in (await connection.execute(query)).mappings():
        sync = from_row(row)
        found.setdefault(sync.connection_id, []).append(sync)
    order = ("running", "waiting", "queued")
    return {one: sorted(of, key=lambda sync: order.index(sync.state)) for one, of in found.items()}


async def expected(connection: AsyncConnection, sync_ids: Sequence[int]) -> Mapping[int, int]:
    """How many records these syncs will read, as far as all of their parts know."""
    p = sync_parts.c
    rows = await connection.execute(
        select(p.sync_id, p.done, p.expected, p.stored).where(p.sync_id.in_(sync_ids))
    )
    totals: dict[int, int] = {}
    unknown: set[int] = set()
    for sync_id, done, counts, stored in rows:
        known = counts if counts is not None else stored if done else None
        if known is None:
            unknown.add(sync_id)
        totals[sync_id] = totals.get(sync_id, 0) + sum((known or {}).values())
    return {one: total for one, total in totals.items() if one not in unknown}


async def healths(connection: AsyncConnection, filters: Sequence[ColumnElement[bool]]) -> Mapping[str, int]:
    """How many connections are of each health; `attention` are those that need somebody, `all` are all."""
    rank = _RANK.label("rank")
    query = (
        select(_C.health, rank, func.count())
        .where(_C.deleted_at.is_(None), *filters)
        .group_by(_C.health, rank)
    )
    totals = dict.fromkeys((*HEALTHS, "attention", "all"), 0)
    for health, of_rank, count in await connection.execute(query):
        totals[health] += count
        totals["all"] += count
        if of_rank <= NEEDS_SOMEBODY:
            totals["attention"] += count
    return totals
