"""`tidegate` alone: how this installation stands, and what to type next."""

import click

from config.settings import Settings
from store.glance import Glance, glance
from tidegate.commands import show
from tidegate.commands.session import on_ground, settings
from tidegate.compose import Ground
from tidegate.doctor.database import missing_file

#: So many of the connections that need somebody are told of.
SOME = 5
NEEDED = ("api", "scheduler", "worker")


def tell() -> None:
    """Print it. Nothing is made or changed."""
    known = settings()
    if missing_file(known) is not None:
        click.echo("Nothing is set up here yet. Next, one of:")
        _next("tidegate demo", "see it at work on simulated systems")
        _next("tidegate sync --help", "read any URL into a file, with nothing set up")
        _next("tidegate up", "run it, with its page and API")
        click.echo("\nAll commands: tidegate --help")
        return

    async def look(ground: Ground) -> Glance:
        async with ground.database.read() as connection:
            return await glance(connection, SOME)

    seen = on_ground(look)
    _state(known, seen)
    _advice(seen)
    click.echo("\nAll commands: tidegate --help")


def _state(known: Settings, seen: Glance) -> None:
    lacking = lacks(seen)
    running = "running" if not lacking else f"not running: {', '.join(lacking)}"
    facts: dict[str, object] = {"processes": running}
    if "api" not in lacking:
        facts["page"] = known.reached_at
    there = [f"{count} {health}" for health, count in seen.healths.items() if count]
    facts["connections"] = ", ".join(there) or "none"
    live = [f"{count} {state}" for state, count in seen.live.items() if count]
    facts["syncs"] = ", ".join(live) or "none at work"
    show.facts(facts)
    for one in seen.connections:
        problem = one.failure or one.partial
        if one.health in ("failed", "partial", "stale") or one.cause is not None:
            why = f": {problem.message} {problem.hint}".rstrip() if problem else ""
            click.echo(f"\n{one.name} is {one.health}{why}")


def lacks(seen: Glance) -> list[str]:
    """The roles without which nothing is kept in step, and that nobody is running in."""
    there = {process.role for process in seen.processes}
    return [role for role in NEEDED if role not in there]


def _advice(seen: Glance) -> None:
    click.echo("\nNext:")
    if lacks(seen):
        _next("tidegate up", "run API, scheduler and workers")
    if not sum(seen.healths.values()):
        _next("tidegate connections add --help", "say what is to be kept in step")
        return
    urgent = [one for one in seen.connections if one.health in ("failed", "partial", "stale")]
    if urgent:
        _next(f"tidegate test {urgent[0].id}", f"ask the remote of {urgent[0].name} what it says now")
    _next("tidegate top", "watch it live")
    _next("tidegate doctor", "look for what is wrong")


def _next(command: str, about: str) -> None:
    click.echo(f"  {command:<34}{about}")
