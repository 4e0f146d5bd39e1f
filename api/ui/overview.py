"""All connections at a glance, the rows that events ask for anew, and the counts above them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from api.routing import JSON, converted
from api.ui import charts
from api.ui.counts import Counts, Known
from api.ui.front import LOOKS, Route, Visit
from store import outbox, overview, projects
from store.database import clock
from store.health import HEALTHS
from store.overview import Group, Line, Sort
from store.schema import connections as table
from store.schema import projects as project_table
from store.syncs import Sync

PAGE = 100
#: So long may be spent on counting records before the page, or asked-for rows, are sent.
AT_FIRST, LATER = 0.1, 1.0
COUNTS = web.AppKey("counts", Counts)

Show = Literal[
    "all", "attention", "failed", "partial", "stale", "rate_limited", "processing", "pending", "healthy",
    "disabled",
]  # fmt: skip


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections are looked at, and how."""

    q: str = ""
    show: Show = "all"
    system: str = ""
    #: The id of a project; `none` is the account.
    project: str = ""
    group: Group = "none"
    sort: Sort = "attention"
    page: int = 1
    ids: str = ""
    moved: str = ""

    def filters(self, *, health: bool = True) -> Iterator[ColumnElement[bool]]:
        """As the database knows them; without `health` those that the counts are made with."""
        c = table.c
        if self.q.strip():
            yield overview.matching(self.q.strip())
        if self.system:
            yield c.system == self.system
        if self.project == "none":
            yield c.project_id.is_(None)
        elif self.project.isascii() and self.project.isdigit():
            yield c.project_id == int(self.project[:18])
        if health and self.show == "attention":
            yield overview.needing_somebody()
        elif health and self.show in HEALTHS:
            yield c.health == self.show


class Work(msgspec.Struct, frozen=True):
    """What runs for a connection now. `share` is from 0 to 1, where it is known how much there is."""

    sync: Sync
    read: int
    expected: int | None
    rate: float | None
    left: float | None

    @property
    def share(self) -> float | None:
        return None if not self.expected else min(1.0, self.read / self.expected)


class Row(msgspec.Struct, frozen=True):
    """A line with everything that is shown in it."""

    line: Line
    strip: charts.Strip
    work: Work | None
    counted: Known | None

    def group(self, by: Group) -> str:
        """What it is grouped under."""
        if by == "system":
            return self.line.system
        return (self.line.project or "") if by == "project" else ""


async def page(visit: Visit) -> web.Response:
    """The overview; for scripts one more page of its rows."""
    asked = _asked(visit)
    filters = [*asked.filters(), *visit.caller.limits(table.c.project_id)]
    async with visit.context.database.read() as connection:
        # Before the rows: what happens while they are read is told again, and nothing is missed.
        position = await outbox.last_position(connection)
        now = await clock(connection)
        ids = await overview.ids(connection, asked.sort, asked.group, filters)
        shown = ids[(asked.page - 1) * PAGE : asked.page * PAGE]
        rows = await rows_of(visit, connection, shown, now, AT_FIRST)
        values: Mapping[str, Any] = {
            "asked": asked, "rows": rows, "now": now, "total": len(ids), "per_page": PAGE,
            "more": len(ids) > asked.page * PAGE, "last_group": _last_group(visit),
        }  # fmt: skip
        if visit.scripted and asked.page > 1:
            return visit.page("rows.html", **values)
        totals = await _totals(visit, connection, asked)
        known = await projects.listed(connection, 0, 1000, *visit.caller.limits(project_table.c.id))
    systems = sorted(visit.context.remotes.adapters)
    return visit.page(
        "overview.html", **values, totals=totals, projects=known, systems=systems, position=position
    )


async def rows(visit: Visit) -> web.Response:
    """Rows as they are now, for scripts: `ids`, of which those in `moved` with their place.

    `after` is the id of the row before it, null for the first; without `after` it stays where it is. What is
    `gone` does not fit any more. With something moved, the counts above are there too.
    """
    asked = _asked(visit)
    wanted, moved = _numbers(asked.ids), set(_numbers(asked.moved))
    filters = [*asked.filters(), *visit.caller.limits(table.c.project_id)]
    async with visit.context.database.read() as connection:
        now = await clock(connection)
        order = await overview.ids(connection, asked.sort, asked.group, filters) if moved else None
        place = {one: i for i, one in enumerate(order)} if order is not None else None
        if place is None:
            mine = visit.caller.limits(table.c.project_id)
            there = set(await overview.ids(connection, "name", "none", [table.c.id.in_(wanted), *mine]))
        else:
            there = {one for one in wanted if one in place}
        found = await rows_of(visit, connection, [one for one in wanted if one in there], now, LATER)
        totals = await _totals(visit, connection, asked) if moved else None
    told: list[dict[str, object]] = []
    for row in found:
        html = _html(visit, "row.html", row=row, asked=asked, now=now)
        one: dict[str, object] = {"id": row.line.id, "html": html, "group": row.group(asked.group)}
        if order is not None and place is not None and row.line.id in moved:
            at = place[row.line.id]
            one["after"] = order[at - 1] if at else None
        told.append(one)
    answer: dict[str, object] = {"rows": told, "gone": [one for one in wanted if one not in there]}
    if totals is not None:
        answer["summary"] = _html(visit, "summary.html", asked=asked, totals=totals)
    return web.Response(body=msgspec.json.encode(answer), content_type=JSON)


async def rows_of(
    visit: Visit, connection: AsyncConnection, ids: Sequence[int], now: datetime, seconds: float
) -> list[Row]:
    """Lines with what belongs to them, after counting records for so long at most."""
    lines = await overview.lines(connection, ids)
    pasts = await overview.pasts(connection, ids)
    live = await overview.live(connection, ids)
    at_work = {one: of[0] for one, of in live.items()}
    expected = await overview.expected(connection, [sync.id for sync in at_work.values()])
    wanted = [(line.id, line.system, line.change_sequence) for line in lines]
    counted = await visit.request.app[COUNTS].of(visit.context, wanted, seconds)
    return [
        Row(
            line,
            charts.strip(pasts.get(line.id, ())),
            work_of(at_work[line.id], expected.get(at_work[line.id].id), now) if line.id in at_work else None,
            counted.get(line.id),
        )
        for line in lines
    ]


def work_of(sync: Sync, expected: int | None, now: datetime) -> Work:
    """How a sync gets on: its rate over all of its time but what it waited."""
    read = sum(counts.read for counts in sync.counters.values())
    if sync.started_at is None or sync.state != "running":
        return Work(sync, read, expected, None, None)
    seconds = (now - sync.started_at).total_seconds() - sync.waited / 1000
    rate = read / seconds if seconds >= 0.5 and read else None
    left = (expected - read) / rate if rate and expected and expected > read else None
    return Work(sync, read, expected, rate, left)


async def _totals(visit: Visit, connection: AsyncConnection, asked: Asked) -> Mapping[str, int]:
    filters = [*asked.filters(health=False), *visit.caller.limits(table.c.project_id)]
    return await overview.healths(connection, filters)


def _html(visit: Visit, template: str, **values: Any) -> str:
    # Rows are shown on the overview, which is at the root.
    return visit.request.app[LOOKS].render(template, visit=visit, root="./", **values)


def _asked(visit: Visit) -> Asked:
    """What the address asks for; what is no choice is passed over."""
    query = visit.request.query
    known = {name: query[name][:2000] for name in Asked.__struct_fields__ if name in query}
    for name, choices in _CHOICES.items():
        if known.get(name) not in choices:
            known.pop(name, None)
    page = known.pop("page", "1")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1
    return converted({**known, "page": str(max(1, number))}, Asked)


_CHOICES: Mapping[str, Sequence[str]] = {
    "show": ("all", "attention", *HEALTHS),
    "group": ("none", "project", "system"),
    "sort": ("attention", "name", "last_success", "next_due", "since"),
}


def _last_group(visit: Visit) -> str | None:
    """Under what the last row stands that is shown already, where a script goes on."""
    return visit.request.query.get("last_group")


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")[:PAGE] if one.isascii() and one.isdigit() and len(one) < 19]


ROUTES = (
    Route(method="GET", path="/", view=page, by_project=True),
    Route(method="GET", path="/ui/rows", view=rows, by_project=True),
)
