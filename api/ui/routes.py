"""Everything that the page answers. None of it is in the description of the API."""

from aiohttp import web

from api.ui import (
    acting,
    activity,
    adding,
    connection,
    editing,
    files,
    hooks,
    overview,
    projects,
    records,
    settings,
    signing,
    subscriptions,
)
from api.ui.counts import Counts
from api.ui.front import add_views

ROUTES = (
    *signing.ROUTES,
    *files.ROUTES,
    *overview.ROUTES,
    # Before a connection: `new` is no id.
    *adding.ROUTES,
    *connection.ROUTES,
    *acting.ROUTES,
    *editing.ROUTES,
    *records.ROUTES,
    *hooks.ROUTES,
    *activity.ROUTES,
    *settings.ROUTES,
    *subscriptions.ROUTES,
    *projects.ROUTES,
)


def add_page(app: web.Application) -> None:
    """Serve the page beside the API."""
    app[overview.COUNTS] = Counts()
    add_views(app, ROUTES)
