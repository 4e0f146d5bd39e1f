"""The styles and scripts of the page, and the events that it lives by."""

from pathlib import PurePath

from aiohttp import web

from api.access import Caller
from api.live import EventQuery, stream
from api.problems import ProblemError, not_found
from api.routing import converted
from api.ui import session as sessions
from api.ui.front import LOOKS, Route, Visit
from api.ui.looks import TYPES


async def file(request: web.Request) -> web.Response:
    """A file of the page. Its address holds a version, so it never changes."""
    looks, name = request.app[LOOKS], request.match_info["name"]
    body = looks.files.get(name)
    if body is None:
        raise not_found("file", name)
    current = request.match_info["version"] == looks.version
    return web.Response(
        body=body,
        headers={
            "Content-Type": f"{TYPES[PurePath(name).suffix]}; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable" if current else "no-cache",
        },
    )


async def events(visit: Visit) -> web.StreamResponse:
    """The events that the session may see, as the API sends them."""
    context, session = visit.context, visit.session

    async def who() -> Caller:
        caller = await sessions.caller_of(context, session)
        if caller is None or sessions.session_of(context, visit.request) is None:
            raise ProblemError(401, "You are not signed in any more.")
        return caller

    query = converted(dict(visit.request.query), EventQuery)
    return await stream(context, visit.request, query, who)


ROUTES = (
    Route(method="GET", path="/ui/static/{version}/{name}", open=file),
    Route(method="GET", path="/ui/events", view=events, by_project=True),
)
