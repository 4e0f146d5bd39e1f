"""`tidegate up`: API, scheduler and relay in this process, and the worker processes beside it."""

import asyncio
from collections.abc import Sequence
from subprocess import Popen

import structlog

from config.logs import Redactor
from config.settings import Settings
from tidegate.commands.session import run
from tidegate.compose import Parts, open_all
from tidegate.fitting import until_it_fits
from tidegate.keeping import Roles
from tidegate.presence import ROLES, present
from tidegate.roles import schedule_and_relay, stop_on_signals
from tidegate.room import Room
from tidegate.serving import serving
from tidegate.workers import Workers

log = structlog.get_logger()


def main(early: Sequence[Popen[bytes]]) -> None:
    """`tidegate up`, with workers that load already."""

    async def up_with(settings: Settings, redactor: Redactor) -> None:
        await up(settings, redactor, early)

    run(up_with)


async def up(settings: Settings, redactor: Redactor, early: Sequence[Popen[bytes]] = ()) -> None:
    """Run everything until SIGTERM or SIGINT, then end within 20 s and leave no process behind."""
    with stop_on_signals() as stop:
        async with Room(settings) as room:
            await until_it_fits(settings, stop, room.tell)
            if not stop.is_set():
                async with open_all(settings, redactor) as parts:
                    if not stop.is_set():
                        await run_everything(parts, stop, early, room)
    log.info("up.stopped")


async def run_everything(
    parts: Parts, stop: asyncio.Event, early: Sequence[Popen[bytes]] = (), room: Room | None = None
) -> None:
    """All roles on these parts until `stop`. One that fails is begun again, and the others live on."""
    settings = parts.settings
    told = parts.redis_url if settings.redis_url is None else None
    roles = Roles("api", "scheduler", "relay")
    async with (
        present(parts.database, parts.owner, roles, parts.clock, parts.ground.vault),
        serving(parts, ROLES, roles, stop, room),
        asyncio.TaskGroup() as group,
    ):
        last = asyncio.Event()
        group.create_task(schedule_and_relay(parts, roles, stop, last))
        group.create_task(_workers_first(Workers(settings.workers, told, early, roles), stop, last))


async def _workers_first(workers: Workers, stop: asyncio.Event, last: asyncio.Event) -> None:
    """What the workers end with is still told by the relay."""
    await workers.run(stop)
    last.set()
