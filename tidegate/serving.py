"""The API over HTTP: bound first, so that a port that is taken is told at once; closed in order."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from api.app import HEARD, make_app
from api.context import Context
from api.metrics import own_numbers
from api.patience import hang_up_on_the_silent
from config.secret import Secret
from config.settings import ANY_ADDRESS, Settings, admin_key
from tidegate.compose import Parts
from tidegate.keeping import Roles
from tidegate.presence import present, readiness
from tidegate.room import Room, listen

log = structlog.get_logger()

#: How long a request that is being answered may take to end.
CLOSE_SECONDS = 5.0


def known_admin_key(settings: Settings) -> Secret:
    """The administrator's key. One that was made just now is shown, this once."""
    key, made = admin_key(settings)
    if made:
        path = settings.data_dir / "admin.key"
        sys.stderr.write(
            f"\nThe administrator's API key, shown this once and kept in {path}:\n\n    {key.reveal()}\n\n"
        )
        sys.stderr.flush()
    return key


@asynccontextmanager
async def serving(
    parts: Parts, needed: Sequence[str], here: Roles, stop: asyncio.Event, room: Room | None = None
) -> AsyncIterator[str]:
    """Serve the API meanwhile, until `stop`; its URL. `needed` are the roles that `/readyz` speaks of, and
    `here` those of this process.

    `room` answered on the port until now.
    """
    settings = parts.settings
    key = known_admin_key(settings)
    parts.ground.redactor.register(key.reveal())
    context = Context(
        database=parts.database,
        tables=parts.ground.tables,
        remotes=parts.remotes,
        vault=parts.ground.vault,
        bell=parts.queue,
        admin_key=key,
        ready=readiness(parts.database, needed, here),
        public_url=settings.reached_at,
        metrics=own_numbers(),
        redis_answers=parts.queue.answers,
    )
    app = make_app(context)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    assert runner.server is not None
    waiting = asyncio.create_task(hang_up_on_the_silent(runner.server, app[HEARD]))
    try:
        if room is not None:
            await room.close()
        await listen(runner, settings)
        url = _url(settings.host, runner.addresses[0][1])
        log.info("api.ready", url=url)
        closing = asyncio.create_task(_close_on(stop, context, runner))
        yield url
        stop.set()
        await closing
    finally:
        waiting.cancel()
        await runner.cleanup()


async def _close_on(stop: asyncio.Event, context: Context, runner: web.AppRunner) -> None:
    """Close at once when it is time, while the other roles end in their own way."""
    await stop.wait()
    context.stopping.set()
    await runner.cleanup()
    log.info("api.stopped")


def _url(host: str, port: int) -> str:
    """Where the API can be reached from this machine."""
    shown = ANY_ADDRESS.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


async def run_api(parts: Parts, stop: asyncio.Event, room: Room | None = None) -> None:
    """Serve the API alone until `stop`."""
    roles = Roles("api")
    async with (
        present(parts.database, parts.owner, roles, parts.clock, parts.ground.vault),
        serving(parts, ["api"], roles, stop, room),
    ):
        await stop.wait()
