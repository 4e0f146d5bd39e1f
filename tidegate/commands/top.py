"""`tidegate top`: connections, syncs, processes and hosts, as they are now and live."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from store.connections import Connection
from store.database import to_text
from store.glance import Glance, Work, glance
from store.syncs import status_of
from tidegate.commands import show
from tidegate.commands.session import on_ground
from tidegate.compose import Ground

ROLES = ("api", "scheduler", "relay", "worker")
#: Waiting for longer than this is worth a colour.
LATE_SECONDS = 5.0
#: Rates are those of the last seconds, so that they show what is going on.
RATE_SECONDS = 10.0


@click.command(epilog="Example: tidegate top --every 2")
@click.option("--every", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Show it once. The default when piped.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), help="So many connections and syncs. Default: what fits."
)
@click.option("--json", "json_", is_flag=True, help="One JSON object of how things are now.")
def top(every: float, once: bool, limit: int | None, json_: bool) -> None:
    """Watch everything: what needs somebody first, what is worked on, who runs, which hosts make us wait.

    It reads the database only, so it shows as much with no process running. Ctrl-C ends it.
    """

    async def main(ground: Ground) -> None:
        console = Console()
        some = limit or (max(5, (console.height - 12) // 2) if show.on_terminal() else 50)
        if json_ or once or not show.on_terminal():
            seen = await _look(ground, some)
            show.as_json(told(seen)) if json_ else console.print(picture(seen, Rates()))
            return
        await _watch(ground, console, every, some)

    with suppress(click.Abort):  # Ctrl-C is how people leave it
        on_ground(main)


async def _watch(ground: Ground, console: Console, every: float, limit: int) -> None:
    rates = Rates()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            seen = await _look(ground, limit)
            rates.add(seen, time.monotonic())
            live.update(picture(seen, rates), refresh=True)
            await asyncio.sleep(every)


async def _look(ground: Ground, limit: int) -> Glance:
    async with ground.database.read() as connection:
        return await glance(connection, limit)


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


def picture(seen: Glance, rates: Rates) -> RenderableType:
    """What a screen shows."""
    parts: list[RenderableType] = [*_head(seen), "", _connections(seen)]
    if seen.work:
        parts += ["", _syncs(seen, rates)]
    if seen.hosts:
        parts += ["", _hosts(seen)]
    return Group(*parts)


def _head(seen: Glance) -> Sequence[Text]:
    who = Text("tidegate  ", style="bold")
    for role in ROLES:
        count = sum(1 for process in seen.processes if process.role == role)
        who.append(f"{role} {count}  ", style="green" if count else "red")
    healths = Text(f"{sum(seen.healths.values())} connections  ", style="bold")
    for health, count in seen.healths.items():
        if count:
            healths.append(f"{health} {count}  ", style=_colour(health))
    queue = Text("queue  ", style="bold")
    queue.append("  ".join(f"{state} {count}" for state, count in seen.live.items()))
    for what, since in (("due for", seen.due), ("events unsent for", seen.unsent)):
        waits = _seconds(since, seen.at)
        if waits > LATE_SECONDS:
            queue.append(f"  {what} {show.span(waits)}", style="red")
    return who, healths, queue


def _connections(seen: Glance) -> RenderableType:
    if not seen.connections:
        return Text("No connection yet: tidegate connections add --help, or add one on the page.")
    table = _table("connection", "system", "health", "last success", "next due", "why, and what to do")
    for one in seen.connections:
        table.add_row(
            Text(one.name),
            Text(one.system),
            Text(one.health, style=_colour(one.health)),
            _since(one.last_success_at, seen.at) or "never",
            "" if one.next_due_at is None else _until(one.next_due_at, seen.at),
            Text(_why(one)),
        )
    rest = sum(seen.healths.values()) - len(seen.connections)
    return Group(table, Text(f"and {rest} more", style="dim")) if rest > 0 else table


def _syncs(seen: Glance, rates: Rates) -> RenderableType:
    table = _table("sync", "connection", "state", "what", "records", "rate", "for", "")
    for work in seen.work:
        sync, rate = work.sync, rates.of(work.sync.id)
        table.add_row(
            str(sync.id),
            Text(work.name),
            Text(sync.state, style=_colour(sync.state)),
            f"{sync.scope}, {sync.trigger}",
            f"{work.read:,}",
            "" if rate is None else f"{rate:,.0f}/s",
            _since(sync.started_at or sync.queued_at, seen.at) or "",
            Text(_waits(work, seen.at)),
        )
    return table


def _waits(work: Work, at: datetime) -> str:
    sync = work.sync
    if sync.state != "waiting" or sync.resume_at is None:
        return ""
    why = f": {sync.error.message}" if sync.error else ""
    return f"goes on {_until(sync.resume_at, at)}{why}"


def _hosts(seen: Glance) -> RenderableType:
    table = _table("host that makes us wait", "goes on", "why")
    for pause in seen.hosts:
        table.add_row(Text(pause.host), _until(pause.until, seen.at), Text(pause.reason))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        right = column in ("records", "rate")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _colour(word: str) -> str:
    return (
        "green" if word in show.GOOD else "red" if word in show.BAD else "yellow" if word in show.BUSY else ""
    )


def _why(one: Connection) -> str:
    problem = one.failure or one.partial
    if one.cause is None:
        return ""
    if problem is None or problem.kind != one.cause:
        return one.cause
    return f"{one.cause}: {problem.message} {problem.hint}".strip()


def _seconds(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else (at - since).total_seconds()


def _since(since: datetime | None, at: datetime) -> str | None:
    return None if since is None else show.span(_seconds(since, at))


def _until(until: datetime, at: datetime) -> str:
    left = (until - at).total_seconds()
    return f"in {show.span(left)}" if left > 0 else "now"


def told(seen: Glance) -> Mapping[str, object]:
    """The same as JSON."""
    return {
        "at": to_text(seen.at),
        "processes": {role: sum(1 for p in seen.processes if p.role == role) for role in ROLES},
        "connections": seen.healths,
        "queue": {**seen.live, "due_seconds": round(_seconds(seen.due, seen.at), 3)},
        "events_unsent_seconds": round(_seconds(seen.unsent, seen.at), 3),
        "urgent": [
            {"id": c.id, "name": c.name, "system": c.system, "health": c.health, "cause": c.cause}
            for c in seen.connections
            if c.health != "healthy"
        ],
        "syncs": [{"connection": one.name, **msgspec.to_builtins(status_of(one.sync))} for one in seen.work],
        "hosts": [{"host": p.host, "until": to_text(p.until), "reason": p.reason} for p in seen.hosts],
    }
