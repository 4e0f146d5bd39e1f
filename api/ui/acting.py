"""What can be done to a connection: test it, sync it, pause it, remove it. All of it as the API does."""

from typing import Any

from aiohttp import web
from msgspec.structs import replace as with_values

from api import checks, edits, syncs
from api.problems import ProblemError
from api.routing import converted
from api.shapes import Nothing
from api.syncs import NewSync
from api.ui.connection import found, head
from api.ui.front import Route, Visit, go
from api.wanted import Wanted


async def test(visit: Visit) -> web.Response:
    """What the remote answers now; a part of the page for scripts, else a page of its own."""
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
        values = await head(connection, one)
    tried = await checks.try_saved(visit.context, one)
    return visit.page("tried.html" if visit.scripted else "tested.html", **values, tried=tried)


async def sync(visit: Visit) -> web.Response:
    """Open a sync of a scope."""
    form = await visit.request.post()
    given: dict[str, Any] = {"scope": str(form.get("scope", "incremental"))}
    await syncs.start(visit.call(converted(given, NewSync), Nothing()))
    return go(visit, f"connections/{visit.request.match_info['id']}")


async def cancel(visit: Visit) -> web.Response:
    """Cancel a sync. One that has ended meanwhile is no error to whoever wanted its end."""
    try:
        stopped = await syncs.stop(visit.context, visit.call(None, None).id("sync"))
        connection_id = stopped.connection_id
    except ProblemError as e:
        if e.status != 409:
            raise
        connection_id = (await syncs.get(visit.call(Nothing(), Nothing()))).connection_id
    return go(visit, f"connections/{connection_id}")


async def pause(visit: Visit) -> web.Response:
    """Let nothing be synced until it is enabled again."""
    return await _enabled(visit, on=False)


async def enable(visit: Visit) -> web.Response:
    return await _enabled(visit, on=True)


async def _enabled(visit: Visit, *, on: bool) -> web.Response:
    def change(stored: Wanted) -> Wanted:
        return with_values(stored, enabled=on)

    connection_id = visit.call(None, None).id("connection")
    await edits.edit(visit.context, connection_id, change)
    return go(visit, f"connections/{connection_id}")


async def ask_removal(visit: Visit) -> web.Response:
    """Nothing is removed by one click."""
    async with visit.context.database.read() as connection:
        values = await head(connection, await found(visit, connection))
    return visit.page("removal.html", **values)


async def remove(visit: Visit) -> web.Response:
    form = await visit.request.post()
    connection_id = visit.call(None, None).id("connection")
    await edits.remove(visit.context, connection_id, purge=form.get("records") == "delete")
    return go(visit, "")


def _act(path: str, view: Any, method: str = "POST") -> Route:
    return Route(method=method, path=path, view=view, permission="write", by_project=True)


ROUTES = (
    _act("/connections/{id}/test", test),
    _act("/connections/{id}/sync", sync),
    _act("/connections/{id}/pause", pause),
    _act("/connections/{id}/enable", enable),
    _act("/connections/{id}/remove", ask_removal, "GET"),
    _act("/connections/{id}/remove", remove),
    _act("/syncs/{id}/cancel", cancel),
)
