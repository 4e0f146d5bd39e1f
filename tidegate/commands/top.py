"""`tidegate top`: connections, syncs, processes and hosts, as they are now and live."""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store.database import to_text
from store.glance import Glance, glance
from store.syncs import status_of
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.keyboard import keys
from tidegate.commands.picture import ROLES, Frame, Rates, picture
from tidegate.commands.session import on_ground
from tidegate.compose import Ground

#: Of connections and of syncs, where there is no screen to fill.
SOME = 50


@command(epilog="Example: tidegate top --every 2\ntidegate top --json")
@click.option(
    "--every",
    type=click.FloatRange(0.2, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Look again after so many seconds.",
)
@click.option("--once", is_flag=True, help="Show it once. The default when piped.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), help="So many connections and syncs. Default: what fits."
)
@click.option("--json", "json_", is_flag=True, help="One JSON object of how things are now.")
def top(every: float, once: bool, limit: int | None, json_: bool) -> None:
    """Watch everything: what needs somebody first, what is worked on, who runs, which hosts make us wait.

    It reads the database only, so it shows as much with no process running, and goes on through restarts.
    q, Escape or Ctrl-C leaves it.
    """

    async def main(ground: Ground) -> None:
        console = Console()
        if json_ or once or not show.on_terminal():
            seen = await _look(ground, limit or SOME)
            frame = Frame(console.width)
            show.as_json(told(seen)) if json_ else console.print(picture(seen, Rates(), frame))
            return
        await _watch(ground, console, every, limit)

    with suppress(click.Abort):  # Ctrl-C is how people leave it
        on_ground(main)


async def _watch(ground: Ground, console: Console, every: float, limit: int | None) -> None:
    rates, seen, trouble = Rates(), None, ""
    with keys() as board, Live(console=console, screen=True, auto_refresh=False) as live:
        while not board.left:
            try:
                seen, trouble = await _look(ground, limit or console.height), ""
                rates.add(seen, time.monotonic())
            except (DBAPIError, PoolTimeoutError, OSError) as e:
                reason = e.orig if isinstance(e, DBAPIError) else e
                trouble = f"The database does not answer, trying again: {reason}"
            live.update(_screen(seen, rates, console, every, trouble), refresh=True)
            await board.pause(every)


def _screen(seen: Glance | None, rates: Rates, console: Console, every: float, trouble: str) -> Group:
    """The last picture there was, with what is wrong with it above."""
    above = [Text(trouble, style="bold red", no_wrap=True, overflow="ellipsis")] if trouble else []
    if seen is None:
        return Group(*above)
    # The last line stays free, for a terminal would roll on.
    lines = console.height - 1 - len(above)
    foot = f"{seen.at:%H:%M:%S} UTC, every {every:g} s · q leaves"
    return Group(*above, picture(seen, rates, Frame(console.width, lines, foot)))


async def _look(ground: Ground, limit: int) -> Glance:
    async with ground.database.read() as connection:
        return await glance(connection, limit)


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


def _seconds(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else (at - since).total_seconds()
