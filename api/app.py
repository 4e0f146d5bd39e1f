"""The application: its routes, its limits, and how it ends."""

from aiohttp import web

from api.context import Bell, Context
from api.problems import as_problems
from api.routes import ROUTES
from api.routing import CONTEXT, add_routes

__all__ = ["Bell", "Context", "make_app"]

LARGEST_BODY = 1024 * 1024


def make_app(context: Context) -> web.Application:
    """The API over a context. On shutdown it sets `context.stopping`, so that streams end."""
    app = web.Application(middlewares=[as_problems], client_max_size=LARGEST_BODY)
    app[CONTEXT] = context
    add_routes(app, ROUTES)

    async def stop(_: web.Application) -> None:
        context.stopping.set()

    app.on_shutdown.append(stop)
    return app
