"""The application: its routes, its limits, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from api.context import Bell, Context
from api.docs import DESCRIPTION, Description
from api.keys import keep_noting, note_uses
from api.patience import Heard, patient
from api.problems import as_problems
from api.routes import ROUTES
from api.routing import CONTEXT, add_routes
from api.ui.routes import add_page

__all__ = ["HEARD", "Bell", "Context", "make_app"]

LARGEST_BODY = 1024 * 1024
#: For whoever runs the server: on which lines a request was heard.
HEARD = web.AppKey[Heard]("heard")


def make_app(context: Context) -> web.Application:
    """The API over a context. On shutdown it sets `context.stopping`, so that streams end."""
    heard: Heard = set()
    app = web.Application(middlewares=[patient(heard), as_problems], client_max_size=LARGEST_BODY)
    app[HEARD] = heard
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
