"""`tidegate up`: API, scheduler and relay in this process, and the worker processes beside it."""

import asyncio
from collections.abc import Sequence
from subprocess import Popen

import structlog

from config.logs import Redactor
from config.settings import Settings
from tidegate.commands.session import run
from tidegate.compose import Parts, open_all
from tidegate.presence import ROLES, present
from tidegate.roles import schedule_and_relay, stop_on_signals
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
        async with open_all(settings, redactor) as parts:
            if not stop.is_set():
                await run_everything(parts, stop, early)
    log.info("up.stopped")


async def run_everything(parts: Parts, stop: asyncio.Event, early: Sequence[Popen[bytes]] = ()) -> None:
    """All roles on these parts until `stop`. A role that fails by a defect ends them all."""
    settings = parts.settings
    told = parts.redis_url if settings.redis_url is None else None
    async with (
        present(parts.database, parts.owner, ["api", "scheduler", "relay"], parts.clock, parts.ground.vault),
        serving(parts, ROLES, stop),
        asyncio.TaskGroup() as group,
    ):
        last = asyncio.Event()
        group.create_task(schedule_and_relay(parts, stop, last))
        group.create_task(_workers_first(Workers(settings.workers, told, early), stop, last))


async def _workers_first(workers: Workers, stop: asyncio.Event, last: asyncio.Event) -> None:
    """What the workers end with is still told by the relay."""
    await workers.run(stop)
    last.set()
