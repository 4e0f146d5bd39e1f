"""Subscriptions: who is told of what happens, what was sent to them, and sending it again."""

from typing import Any

from aiohttp import web

from api import sendings
from api import subscriptions as api_subscriptions
from api.problems import FieldError, ProblemError
from api.routing import converted
from api.sendings import DeliveryQuery
from api.shapes import Nothing
from api.subscribed import MadeSubscription, NewSubscription, SubscriptionChange
from api.subscribed import answer as shown
from api.subscribing import discard, edit, make, renew, seen
from api.subscriptions import SubscriptionQuery
from api.ui import form
from api.ui.form import Filled
from api.ui.front import Route, Visit, go
from store import projects
from store.schema import projects as project_table

#: What people choose from: events by type, and which of them.
TOLD = {
    "everything": ("Everything", {}),
    "health": ("When the health of a connection changes", {"types": ["connection_status"]}),
    "trouble": (
        "When a connection fails, or is well again",
        {"types": ["connection_status"], "healths": ["failed", "partial", "stale", "healthy"]},
    ),
    "syncs": (
        "When a sync ends",
        {"types": ["status"], "states": ["succeeded", "partial", "failed", "cancelled"]},
    ),
}


async def all_of_them(visit: Visit) -> web.Response:
    return await _list(visit)


async def create(visit: Visit) -> web.Response:
    """Make one. Its secret is on the page that answers, and never again."""
    given = await form.filled(visit.request)
    body: dict[str, Any] = {"name": given.get("name").strip(), "url": given.get("url").strip()}
    body |= TOLD.get(given.get("told"), TOLD["everything"])[1]
    if given.get("project"):
        body["project_id"] = given.get("project")
    try:
        made = await make(visit.context, converted(body, NewSubscription))
    except ProblemError as e:
        errors = form.wrong(e) or [FieldError("url", e.detail)]
        return await _list(visit, given=given, errors=errors, status=e.status)
    return await _list(visit, made=made)


async def one(visit: Visit) -> web.Response:
    """How it stands, and what was sent to it."""
    return await _one(visit)


async def test(visit: Visit) -> web.Response:
    """Send an event now; a part of the page for scripts."""
    tried = await sendings.attempt(visit.context, visit.call(None, None).id("subscription"))
    return visit.page("sent.html", tried=tried) if visit.scripted else await _one(visit, tried=tried)


async def again(visit: Visit) -> web.Response:
    """Send an event once more."""
    tried = await sendings.redeliver(visit.call(Nothing(), Nothing()))
    return visit.page("sent.html", tried=tried) if visit.scripted else await _one(visit, tried=tried)


async def switch(visit: Visit) -> web.Response:
    """On, where it goes on where it stopped; or off."""
    on = (await form.filled(visit.request)).get("enabled") == "yes"
    subscription_id = visit.call(None, None).id("subscription")
    await edit(visit.context, subscription_id, SubscriptionChange(enabled=on))
    return go(visit, f"settings/subscriptions/{subscription_id}")


async def rotate(visit: Visit) -> web.Response:
    """Another secret; the old one signs for a while, too."""
    made = await renew(visit.context, visit.call(None, None).id("subscription"), None)
    return await _one(visit, made=made)


async def remove(visit: Visit) -> web.Response:
    await discard(visit.context, visit.call(None, None).id("subscription"))
    return go(visit, "settings/subscriptions")


async def _list(
    visit: Visit,
    given: Filled | None = None,
    made: MadeSubscription | None = None,
    errors: Any = (),
    status: int = 200,
) -> web.Response:
    listed = await api_subscriptions.listed(visit.call(Nothing(), SubscriptionQuery(limit=1000)))
    async with visit.context.database.read() as connection:
        known = await projects.listed(connection, 0, 1000, *visit.caller.limits(project_table.c.id))
    return visit.page(
        "subscriptions.html", status=status, here="Subscriptions", subscriptions=listed.subscriptions,
        projects=known, whole=visit.caller.projects is None, told=TOLD, made=made, errors=errors,
        given=(given or Filled({})).shown,
    )  # fmt: skip


async def _one(visit: Visit, tried: Any = None, made: MadeSubscription | None = None) -> web.Response:
    call = visit.call(Nothing(), Nothing())
    async with visit.context.database.read() as connection:
        stored = await seen(visit.context, connection, call.id("subscription"))
    state = visit.request.query.get("state", "")
    chosen = state if state in ("pending", "delivered", "failed", "skipped") else None
    cursor = visit.request.query.get("cursor") or None
    asked = {"limit": "50", "cursor": cursor, "state": chosen}
    query = converted({name: value for name, value in asked.items() if value}, DeliveryQuery)
    deliveries = await sendings.listed(visit.call(Nothing(), query))
    return visit.page(
        "subscription.html", here="Subscriptions", subscription=shown(stored, visit.caller),
        deliveries=deliveries, state=chosen or "", tried=tried, made=made, cursor=cursor,
    )  # fmt: skip


def _route(method: str, path: str, view: Any, permission: Any = "write") -> Route:
    whole = f"/settings/subscriptions{path}"
    return Route(method=method, path=whole, view=view, permission=permission, by_project=True)


ROUTES = (
    _route("GET", "", all_of_them, "read"),
    _route("POST", "", create),
    _route("GET", "/{id}", one, "read"),
    _route("POST", "/{id}/test", test),
    _route("POST", "/{id}/switch", switch),
    _route("POST", "/{id}/rotate", rotate),
    _route("POST", "/{id}/remove", remove),
    _route("POST", "/{id}/deliveries/{delivery_id}", again),
)
