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
from sqlalchemy.exc import SQLAlchemyError

from events.attempt import Courier
from events.relay import Relay
from events.webhooks import Sender
from scheduler.scheduler import Scheduler
from scheduler.triggers import Triggers
from tidegate.compose import Parts
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
    async with present(parts.database, parts.owner, ["worker"], parts.clock, parts.ground.vault):
        log.info("worker.ready", owner=parts.owner)
        deps = parts.deps(stop.is_set)
        slices = parts.settings.slices
        await Worker(deps, parts.redis, parts.clock, registrar=parts.registrar, slices=slices).run(stop)
    log.info("worker.stopped")


async def run_scheduler(parts: Parts, stop: asyncio.Event) -> None:
    """Open what falls due and publish what happened, until `stop`."""
    async with present(parts.database, parts.owner, ["scheduler", "relay"], parts.clock, parts.ground.vault):
        await schedule_and_relay(parts, stop, stop)


async def schedule_and_relay(parts: Parts, stop: asyncio.Event, last: asyncio.Event) -> None:
    """The ticks and webhooks until `stop`, the relay until `last`, to tell of what ended in between."""
    days = parts.settings.keep_tombstones
    tombstones = timedelta(days=days) if days is not None else None
    scheduler = Scheduler(parts.database, parts.ground.tables, parts.queue, tombstones)
    ears = Ears(parts.redis, RUNG, TOLD)
    hearing = asyncio.create_task(ears.listen())
    relay = asyncio.create_task(Relay(parts.database, parts.redis, parts.owner, ears).run(last))
    sending = asyncio.create_task(_sender(parts, ears).run(stop))
    taking = Triggers(parts.database, parts.ground.tables, parts.redis, parts.queue, parts.owner)
    triggers = asyncio.create_task(taking.run(stop))
    scheduler.start()
    log.info("scheduler.ready")
    try:
        stopped = asyncio.create_task(stop.wait())
        # These end before their time only by a defect, which must not go unnoticed.
        await asyncio.wait([stopped, relay, sending, triggers], return_when=asyncio.FIRST_COMPLETED)
        scheduler.stop()
        stopped.cancel()
        await asyncio.gather(relay, sending, triggers)
    except SQLAlchemyError as e:
        # Its lease could not be given back and runs out by itself.
        log.warning("relay.not_ended", error=str(e))
    finally:
        relay.cancel()
        sending.cancel()
        triggers.cancel()
        hearing.cancel()
    log.info("scheduler.stopped")


def _sender(parts: Parts, ears: Ears) -> Sender:
    courier = Courier(parts.remotes.poster(parts.clock), parts.ground.vault, parts.clock)
    # Only spreads what is sent again; nothing secret depends on it.
    return Sender(parts.database, courier, Random(), parts.owner, ears)  # noqa: S311
