"""Everything that the page answers. None of it is in the description of the API."""

from aiohttp import web

from api.ui import files, overview, signing
from api.ui.counts import Counts
from api.ui.front import add_views

ROUTES = (
    *signing.ROUTES,
    *files.ROUTES,
    *overview.ROUTES,
)


def add_page(app: web.Application) -> None:
    """Serve the page beside the API."""
    app[overview.COUNTS] = Counts()
    add_views(app, ROUTES)
