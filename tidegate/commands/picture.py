"""What `tidegate top` shows: as many lines as a screen has, none of them broken."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from store.connections import Connection
from store.glance import Glance, Work
from tidegate.commands import show

ROLES = ("api", "scheduler", "relay", "worker")
#: Waiting for longer than this is worth a colour.
LATE_SECONDS = 5.0
#: Rates are those of the last seconds, so that they show what is going on.
RATE_SECONDS = 10.0
#: A screen that is wider than this shows the system of a connection, too.
WIDE = 100


class Rates:
    """How many records a second each sync reads, by what was seen of it in the last seconds."""

    def __init__(self) -> None:
        self._seen: dict[int, list[tuple[float, int]]] = {}

    def add(self, seen: Glance, at: float) -> None:
        """What is there at a time, in seconds of any clock that only goes forward."""
        kept = {}
        for work in seen.work:
            before = self._seen.get(work.sync.id, [])
            kept[work.sync.id] = [*(one for one in before if one[0] >= at - RATE_SECONDS), (at, work.read)]
        self._seen = kept

    def of(self, sync_id: int) -> float | None:
        """None until it was seen twice."""
        points = self._seen.get(sync_id, [])
        if len(points) < 2 or points[-1][0] == points[0][0]:
            return None
        return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])


class Frame(msgspec.Struct, frozen=True):
    """The room for a picture: columns, and lines (None: as many as it takes); `foot` is the last line."""

    width: int
    lines: int | None = None
    foot: str = ""


def picture(seen: Glance, rates: Rates, frame: Frame) -> RenderableType:
    """Who runs, hosts that make us wait, syncs, and connections: the most urgent first, as many as fit."""
    work, hosts, rows = _room(seen, frame)
    parts: list[RenderableType] = list(_head(seen))
    if hosts:
        parts += ["", _hosts(seen, hosts)]
    if work:
        parts += ["", _syncs(seen, rates, work)]
    parts += ["", _connections(seen, frame, rows)]
    if frame.foot:
        parts += ["", Text(frame.foot, style="dim", no_wrap=True, overflow="ellipsis")]
    return Group(*parts)


def _room(seen: Glance, frame: Frame) -> tuple[int, int, int]:
    """How many syncs, hosts, and lines of connections are shown."""
    if frame.lines is None:
        return len(seen.work), len(seen.hosts), 10 * len(seen.connections)
    free = frame.lines - 3 - 2 * bool(frame.foot)
    hosts = min(len(seen.hosts), max(1, free // 6))
    free -= hosts + 2 if hosts else 0
    work = min(len(seen.work), max(1, free // 2 - 3))
    free -= work + 2 if work else 0
    return work, hosts, max(2, free - 3)


def _head(seen: Glance) -> Sequence[Text]:
    who = _line("Processes")
    for role in ROLES:
        count = sum(1 for process in seen.processes if process.role == role)
        who.append(f"{role} {count or 'none!'}  ", style="green" if count else "red")
    healths = _line("Connections")
    healths.append(f"{sum(seen.healths.values())}  ")
    for health, count in seen.healths.items():
        if count:
            healths.append(f"{health} {count}  ", style=show.colour_of(health))
    queue = _line("Syncs")
    queue.append("  ".join(f"{state} {count}" for state, count in seen.live.items()))
    for what, since in (("due for", seen.due), ("events unsent for", seen.unsent)):
        waits = _seconds(since, seen.at)
        if waits > LATE_SECONDS:
            queue.append(f"  {what} {show.span(waits)}", style="red")
    return who, healths, queue


def _line(name: str) -> Text:
    return Text.assemble((f"{name:<13}", "bold"), no_wrap=True, overflow="ellipsis")


def _connections(seen: Glance, frame: Frame, lines: int) -> RenderableType:
    if not seen.connections:
        return Text("No connection yet: tidegate connections add --help, or add one on the page.")
    wide = frame.width >= WIDE
    table = _table("CONNECTION", *(["SYSTEM"] if wide else []), "HEALTH", "LAST SUCCESS", "NEXT DUE")
    parts: list[RenderableType] = []
    shown = used = 0
    for one in seen.connections:
        why = _why(one)
        used += 2 if why else 1
        if used > lines:
            break
        shown += 1
        since = _since(one.last_success_at, seen.at)
        table.add_row(
            Text(one.name),
            *([Text(one.system)] if wide else []),
            Text(one.health, style=show.colour_of(one.health)),
            f"{since} ago" if since else "never",
            "" if one.next_due_at is None else _until(one.next_due_at, seen.at),
        )
        if why:
            parts.append(Text.assemble((f"{one.name}: ", "bold"), why, no_wrap=True, overflow="ellipsis"))
    rest = sum(seen.healths.values()) - shown
    more = [Text(f"and {rest:,} more: tidegate connections list", style="dim")] if rest > 0 else []
    return Group(table, *more, *parts)


def _syncs(seen: Glance, rates: Rates, count: int) -> RenderableType:
    table = _table("SYNC OF", "STATE", "WHAT", "RECORDS", "RATE", "FOR")
    for work in seen.work[:count]:
        sync, rate = work.sync, rates.of(work.sync.id)
        table.add_row(
            Text(work.name),
            Text(_state(work, seen.at), style=show.colour_of(sync.state)),
            f"{sync.scope}, {sync.trigger}",
            f"{work.read:,}",
            "" if rate is None else f"{rate:,.0f}/s",
            _since(sync.started_at or sync.queued_at, seen.at) or "",
        )
    return table


def _state(work: Work, at: datetime) -> str:
    sync = work.sync
    if sync.state != "waiting" or sync.resume_at is None:
        return sync.state
    return f"waiting, goes on {_until(sync.resume_at, at)}"


def _hosts(seen: Glance, count: int) -> RenderableType:
    table = _table("HOST THAT MAKES US WAIT", "GOES ON", "WHY")
    for pause in seen.hosts[:count]:
        table.add_row(Text(pause.host), _until(pause.until, seen.at), Text(pause.reason))
    return table


def _table(*columns: str) -> Table:
    """The first column gives way where it is narrow; nothing is broken over lines."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for at, column in enumerate(columns):
        right = column in ("RECORDS", "RATE")
        least = None if at in (0, len(columns) - 1) else len(column)
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=least,
        )
    return table


def _why(one: Connection) -> str:
    problem = one.failure or one.partial
    if one.cause is None:
        return ""
    if problem is None or problem.kind != one.cause:
        return "" if one.cause == one.health else one.cause
    return f"{problem.message} {problem.hint}".strip()


def _seconds(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else (at - since).total_seconds()


def _since(since: datetime | None, at: datetime) -> str | None:
    return None if since is None else show.span(_seconds(since, at))


def _until(until: datetime, at: datetime) -> str:
    left = (until - at).total_seconds()
    return f"in {show.span(left)}" if left > 0 else "now"
