"""The webhook of a connection: how the remote is set up, and whether it calls."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from api import edits, webhooks
from api.ui.connection import found, head
from api.ui.front import Route, Visit, go
from api.wanted import Wanted
from api.webhooks import WebhookAnswer
from config.secret import MASK
from store import outbox


async def show(visit: Visit) -> web.Response:
    """The address, the steps, and when it was last called."""
    return await _shown(visit, await webhooks.look(visit.context, visit.call(None, None).id("connection")))


async def _shown(visit: Visit, webhook: WebhookAnswer) -> web.Response:
    async with visit.context.database.read() as connection:
        position = await outbox.last_position(connection)
        values = await head(connection, await found(visit, connection))
    return visit.page("webhook.html", **values, webhook=webhook, position=position)


async def register(visit: Visit) -> web.Response:
    """Have the remote call from now on; what stands in the way is shown."""
    return await _shown(visit, await webhooks.set_up(visit.context, visit.call(None, None).id("connection")))


async def unregister(visit: Visit) -> web.Response:
    return await _done(visit, lambda one: webhooks.take_down(visit.context, one))


async def move(visit: Visit) -> web.Response:
    """A new address; the old one is not found from now on."""
    return await _done(visit, lambda one: webhooks.move(visit.context, one))


async def secret(visit: Visit) -> web.Response:
    """Give the connection a webhook secret, another one, or none."""
    form = await visit.request.post()
    given = str(form.get("secret", "")).strip()

    def same(stored: Wanted) -> Wanted:
        return stored

    async def keep(connection_id: int) -> object:
        return await edits.edit(visit.context, connection_id, same, given or None)

    if given == MASK:
        return go(visit, f"connections/{visit.request.match_info['id']}/webhook")
    return await _done(visit, keep)


async def _done(visit: Visit, act: Callable[[int], Awaitable[object]]) -> web.Response:
    connection_id = visit.call(None, None).id("connection")
    await act(connection_id)
    return go(visit, f"connections/{connection_id}/webhook")


def _route(method: str, path: str, view: Callable[[Visit], Awaitable[web.Response]]) -> Route:
    whole = "/connections/{id}/webhook" + path
    return Route(method=method, path=whole, view=view, permission="write", by_project=True)


ROUTES = (
    _route("GET", "", show),
    _route("POST", "/register", register),
    _route("POST", "/unregister", unregister),
    _route("POST", "/move", move),
    _route("POST", "/secret", secret),
)
