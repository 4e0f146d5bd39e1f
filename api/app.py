"""The application: its routes, its limits, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from api.context import Bell, Context
from api.docs import DESCRIPTION, Description
from api.keys import keep_noting, note_uses
from api.problems import as_problems
from api.routes import ROUTES
from api.routing import CONTEXT, add_routes
from api.ui.routes import add_page

__all__ = ["Bell", "Context", "make_app"]

LARGEST_BODY = 1024 * 1024


def make_app(context: Context) -> web.Application:
    """The API over a context. On shutdown it sets `context.stopping`, so that streams end."""
    app = web.Application(middlewares=[as_problems], client_max_size=LARGEST_BODY)
    app[CONTEXT] = context
    app[DESCRIPTION] = Description(ROUTES)
    add_routes(app, ROUTES)
    add_page(app)

    async def stop(_: web.Application) -> None:
        context.stopping.set()

    app.on_shutdown.append(stop)
    app.cleanup_ctx.append(_note_uses)
    return app


async def _note_uses(app: web.Application) -> AsyncIterator[None]:
    """Write in the background when keys were last used, so that no request waits for it."""
    noting = asyncio.create_task(keep_noting(app[CONTEXT]))
    yield
    noting.cancel()
    with suppress(asyncio.CancelledError):
        await noting
    await note_uses(app[CONTEXT])
