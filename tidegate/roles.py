"""The roles that a process can have: each runs until it is told to stop."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random

import structlog

from config.settings import Settings
from events.attempt import Courier
from events.relay import Relay
from events.webhooks import Sender
from scheduler.scheduler import Scheduler
from scheduler.triggers import Triggers
from scheduler.upkeep import Kept
from tidegate.compose import Parts
from tidegate.keeping import Roles, keep
from tidegate.presence import present
from worker.ears import Ears
from worker.queue import RUNG, TOLD
from worker.worker import Worker

log = structlog.get_logger()

#: How long a thread of a worker may go on while another wants to; Python's own is five times as long.
SWITCH_SECONDS = 0.001


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; whoever waits for it ends in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def stop_with_stdin(stop: asyncio.Event) -> Iterator[asyncio.Future[str]]:
    """The first line of the standard input, when it comes. Stops when the input closes, as it does when the
    process that started this one is gone."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    number = sys.stdin.fileno()
    said = bytearray()

    def readable() -> None:
        chunk = os.read(number, 4096)
        said.extend(chunk)
        if b"\n" in said and not line.done():
            line.set_result(said.partition(b"\n")[0].decode())
        if not chunk:
            loop.remove_reader(number)
            stop.set()

    loop.add_reader(number, readable)
    try:
        yield line
    finally:
        loop.remove_reader(number)
        line.cancel()


async def run_worker(parts: Parts, stop: asyncio.Event) -> None:
    """Take syncs off the queue until `stop`, then hand over what is left within 15 s."""
    # Pages are prepared and written in threads; one record is not to wait for all of their turns.
    sys.setswitchinterval(SWITCH_SECONDS)
    async with present(parts.database, parts.owner, Roles("worker"), parts.clock, parts.ground.vault):
        log.info("worker.ready", owner=parts.owner)
        deps = parts.deps(stop.is_set)
        slices = parts.settings.slices
        await Worker(deps, parts.redis, parts.clock, registrar=parts.registrar, slices=slices).run(stop)
    log.info("worker.stopped")


async def run_scheduler(parts: Parts, stop: asyncio.Event) -> None:
    """Open what falls due and publish what happened, until `stop`."""
    roles = Roles("scheduler", "relay")
    async with present(parts.database, parts.owner, roles, parts.clock, parts.ground.vault):
        await schedule_and_relay(parts, roles, stop, stop)


async def schedule_and_relay(parts: Parts, roles: Roles, stop: asyncio.Event, last: asyncio.Event) -> None:
    """The ticks and webhooks until `stop`, the relay until `last`, to tell of what ended in between.

    One that fails by a defect is begun again, and the others do not notice.
    """
    scheduler = Scheduler(parts.database, parts.ground.tables, parts.queue, _kept(parts.settings))
    ears = Ears(parts.redis, RUNG, TOLD)

    async def relay() -> None:
        await Relay(parts.database, parts.redis, parts.owner, ears).run(last)

    async def sending() -> None:
        await _sender(parts, ears).run(stop)

    async def triggers() -> None:
        await Triggers(parts.database, parts.ground.tables, parts.redis, parts.queue, parts.owner).run(stop)

    hearing = asyncio.create_task(ears.listen())
    kept = [
        asyncio.create_task(keep(roles, "relay", relay, last)),
        asyncio.create_task(keep(roles, "webhooks out", sending, stop)),
        asyncio.create_task(keep(roles, "triggers", triggers, stop)),
    ]
    scheduler.start()
    log.info("scheduler.ready")
    try:
        await stop.wait()
        scheduler.stop()
        await asyncio.gather(*kept)
    finally:
        for task in (*kept, hearing):
            task.cancel()
    log.info("scheduler.stopped")


def _kept(settings: Settings) -> Kept:
    tombstones = settings.keep_tombstones
    return Kept(
        events=timedelta(days=settings.keep_events),
        syncs=timedelta(days=settings.keep_syncs),
        deliveries=timedelta(days=settings.keep_deliveries),
        audit=timedelta(days=settings.keep_audit),
        debug_log=timedelta(days=settings.keep_debug_log),
        quarantine=timedelta(days=settings.keep_quarantine),
        tombstones=timedelta(days=tombstones) if tombstones is not None else None,
    )


def _sender(parts: Parts, ears: Ears) -> Sender:
    courier = Courier(parts.remotes.poster(parts.clock), parts.ground.vault, parts.clock)
    # Only spreads what is sent again; nothing secret depends on it.
    return Sender(parts.database, courier, Random(), parts.owner, ears)  # noqa: S311
