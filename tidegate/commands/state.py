"""`tidegate` alone: how this installation stands, and what to type next."""

import shutil
from collections.abc import Mapping, Sequence

import click

from config.settings import Settings
from store.connections import Connection
from store.database import to_text
from store.glance import Glance, glance
from tidegate.commands import show
from tidegate.commands.session import on_ground, settings
from tidegate.compose import Ground
from tidegate.doctor.database import missing_file

#: So many of the connections that need somebody are told of.
SOME = 5
#: Lines for people are no longer than this, however wide the terminal.
MOST = 100
NEEDED = ("api", "scheduler", "worker")
URGENT = ("failed", "partial", "stale")
BEGIN = (
    ("tidegate demo", "see it at work on simulated systems"),
    ("tidegate sync --help", "read any URL into a file, with nothing set up"),
    ("tidegate up", "run it, with its page and API"),
)

Advice = Sequence[tuple[str, str]]


def tell(*, json_: bool) -> None:
    """Print it. Nothing is made or changed."""
    known = settings()
    if missing_file(known) is not None:
        if json_:
            show.as_json({"set_up": False, "next": [command for command, _ in BEGIN]})
        else:
            click.echo("Nothing is set up here yet. Next, one of:")
            _next(BEGIN)
        return

    async def look(ground: Ground) -> Glance:
        async with ground.database.read() as connection:
            return await glance(connection, SOME)

    seen = on_ground(look)
    if json_:
        show.as_json(_facts(known, seen))
        return
    _state(known, seen)
    click.echo("\nNext:")
    _next(_advice(seen))


def _state(known: Settings, seen: Glance) -> None:
    lacking = lacks(seen)
    there = [f"{count} {health}" for health, count in seen.healths.items() if count]
    live = [f"{count} {state}" for state, count in seen.live.items() if count]
    show.facts(
        {
            "processes": f"not running: {', '.join(lacking)}" if lacking else "all running",
            "page": None if "api" in lacking else known.reached_at,
            "connections": ", ".join(there) or "none",
            "syncs": ", ".join(live) or "none at work",
        }
    )
    for one in _troubled(seen):
        problem = one.failure or one.partial
        why = f": {problem.message}" if problem else ""
        click.echo(f"\n{one.name} is {show.coloured_word(one.health)}{why}")
        if problem and problem.hint:
            click.echo(click.wrap_text(problem.hint, _width(), "  -> ", "     "))
    for pause in seen.hosts:
        left = show.span((pause.until - seen.at).total_seconds())
        click.echo(f"\n{pause.host} wants no requests for {left} ({pause.reason}); syncs go on then.")


def _width() -> int:
    """Of the lines that are broken between words."""
    return min(shutil.get_terminal_size().columns, MOST) if show.on_terminal() else MOST


def _troubled(seen: Glance) -> Sequence[Connection]:
    return [one for one in seen.connections if one.health in URGENT or one.cause is not None]


def _facts(known: Settings, seen: Glance) -> Mapping[str, object]:
    lacking = lacks(seen)
    return {
        "set_up": True,
        "at": to_text(seen.at),
        "missing": lacking,
        "page": None if "api" in lacking else known.reached_at,
        "connections": seen.healths,
        "syncs": seen.live,
        "urgent": [
            {"id": one.id, "name": one.name, "health": one.health, "cause": one.cause}
            for one in _troubled(seen)
        ],
        "next": [command for command, _ in _advice(seen)],
    }


def lacks(seen: Glance) -> list[str]:
    """The roles without which nothing is kept in step, and that nobody is running in."""
    there = {process.role for process in seen.processes}
    return [role for role in NEEDED if role not in there]


def _advice(seen: Glance) -> Advice:
    found = []
    if lacks(seen):
        found.append(("tidegate up", "run API, scheduler and workers"))
    if not sum(seen.healths.values()):
        return [*found, ("tidegate connections add --help", "say what is to be kept in step")]
    urgent = [one for one in seen.connections if one.health in URGENT]
    if urgent:
        found.append(
            (f"tidegate test {urgent[0].id}", f"ask the remote of {urgent[0].name} what it says now")
        )
    else:
        found.append(("tidegate connections list", "how each connection stands"))
    found.append(("tidegate top", "watch it live"))
    return [*found, ("tidegate doctor", "look for what is wrong")] if urgent or lacks(seen) else found


def _next(found: Advice) -> None:
    for command, about in [*found, ("tidegate --help", "all commands")]:
        click.echo(f"  {command:<34}{about}")
