"""`api`, `scheduler`, `worker` and `migrate`: the commands that run a role until it is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Literal

import click
from msgspec.structs import replace

from config.logs import Redactor
from config.secret import Secret
from config.settings import Settings
from store.migrate import HEAD
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.session import on_ground, run
from tidegate.compose import Ground, Parts, open_all
from tidegate.fitting import until_it_fits
from tidegate.roles import run_scheduler, run_worker, stop_on_signals, stop_with_stdin

Role = Callable[[Parts, asyncio.Event], Awaitable[None]]
_NETWORKS = (
    "Private networks are refused unless TIDEGATE_ALLOW_NETWORKS lists them. "
    "Example: TIDEGATE_ALLOW_NETWORKS=10.0.0.0/8 tidegate worker"
)


@command(epilog="Example: TIDEGATE_HOST=0.0.0.0 TIDEGATE_PORT=80 tidegate api")
def api() -> None:
    """Run the API alone, on TIDEGATE_HOST and TIDEGATE_PORT. Any number may share a database."""

    serving, room_of = import_module("tidegate.serving"), import_module("tidegate.room")

    async def main(settings: Settings, redactor: Redactor) -> None:
        with stop_on_signals() as stop:
            async with room_of.Room(settings) as room:
                await until_it_fits(settings, stop, room.tell)
                if not stop.is_set():
                    async with open_all(settings, redactor) as parts:
                        await serving.run_api(parts, stop, room)

    run(main)


@command(epilog="Example: TIDEGATE_DATABASE_URL=postgresql://db/tidegate tidegate scheduler")
def scheduler() -> None:
    """Run the scheduler and the relay of events alone. Any number may run side by side."""
    run(_as(run_scheduler))


@command(epilog=_NETWORKS)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def worker(until_stdin_closes: bool) -> None:
    """Run one worker alone: it takes syncs off the queue and reads the remotes."""
    run(_as(run_worker, starved=until_stdin_closes))


@command(epilog="Example: tidegate migrate")
@click.option("--json", "json_", is_flag=True, help="Print the shape that it has now, as JSON.")
def migrate(json_: bool) -> None:
    """Bring the database to the shape of this version. Every start does so, too, unless TIDEGATE_MIGRATE=no.

    Processes may run meanwhile, and go on: what a release changes is added to what the one before knows.
    """

    async def done(_: Ground) -> None:
        if json_:
            show.as_json({"schema": HEAD})
        else:
            click.echo(f"The database has the shape of this version ({HEAD}).")

    with show.Busy("Bringing the database to the shape of this version", quiet=json_):
        on_ground(done, migrating=True)


def _as(role: Role, *, starved: bool = False) -> Callable[[Settings, Redactor], Awaitable[None]]:
    async def main(settings: Settings, redactor: Redactor) -> None:
        with stop_on_signals() as stop, stop_with_stdin(stop) if starved else nullcontext() as told:
            if told is not None:
                settings = await _told(settings, told, stop)
            await until_it_fits(settings, stop)
            if not stop.is_set():
                async with open_all(settings, redactor) as parts:
                    await role(parts, stop)

    return main


async def _told(settings: Settings, told: asyncio.Future[str], stop: asyncio.Event) -> Settings:
    """The settings with the Redis that the process which started this one names, once it does."""
    stopped = asyncio.create_task(stop.wait())
    either: list[asyncio.Future[str] | asyncio.Task[Literal[True]]] = [told, stopped]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    url = told.result() if told.done() else ""
    return replace(settings, redis_url=Secret(url)) if url else settings
