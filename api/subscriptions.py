"""Subscriptions: who is told of which events by webhooks. A secret is printed once, when it is made."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.sql import ColumnElement

from api.etags import Versioned
from api.paging import ById, Page, after_id, cut
from api.routing import Call, Route
from api.shapes import Flag, Id, Nothing, Part
from api.subscribed import (
    MadeSubscription,
    NewSubscription,
    Rotation,
    SubscriptionAnswer,
    SubscriptionChange,
    answer,
)
from api.subscribing import discard, edit, make, renew, seen, version
from store import subscriptions
from store.outgoing import subscriptions as table


class Subscriptions(msgspec.Struct, frozen=True):
    """Some subscriptions, ascending by id."""

    subscriptions: Sequence[SubscriptionAnswer]
    next: str | None


class SubscriptionQuery(Page, frozen=True, kw_only=True):
    """Which subscriptions; `q` is a part of the name."""

    q: Part | None = None
    project_id: Id | None = None
    enabled: Flag | None = None


async def create(call: Call[NewSubscription, Nothing]) -> MadeSubscription:
    """Tell somebody of events from now on. The secret that signs is in this answer and nowhere else."""
    return await make(call.context, call.body)


async def change(call: Call[SubscriptionChange, Nothing]) -> Versioned:
    """Change a subscription, switch it off, or on again."""
    found = await edit(call.context, call.id("subscription"), call.body, call.precondition)
    return Versioned(answer(found), version(found))


async def rotate(call: Call[Rotation, Nothing]) -> MadeSubscription:
    """Make a new secret, which is in this answer and nowhere else. For 24 hours the old one signs, too."""
    return await renew(call.context, call.id("subscription"), call.body.secret)


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Tell nobody any more. What was sent is forgotten with it."""
    await discard(call.context, call.id("subscription"), call.precondition)


async def listed(call: Call[Nothing, SubscriptionQuery]) -> Subscriptions:
    """Subscriptions, ascending by id."""
    query, c = call.query, table.c
    filters: list[ColumnElement[bool]] = [*call.caller.limits(c.project_id)]
    if query.q is not None:
        filters.append(c.name.icontains(query.q, autoescape=True))
    if query.project_id is not None:
        filters.append(c.project_id == query.project_id)
    if query.enabled is not None:
        filters.append(c.enabled.is_(query.enabled == "true"))
    async with call.context.database.read() as connection:
        after = after_id(call.request, query) or 0
        found = await subscriptions.listed(connection, after, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Subscriptions([answer(one, call.caller) for one in page.items], page.next)


async def get(call: Call[Nothing, Nothing]) -> Versioned:
    """A subscription, and how it gets on."""
    async with call.context.database.read() as connection:
        found = await seen(call.context, connection, call.id("subscription"))
    return Versioned(answer(found, call.caller), version(found))


_PATH = "/v1/subscriptions"
EXAMPLE = {
    "name": "Failures to the chat",
    "url": "https://hooks.example.com/tidegate",
    "types": ["status", "connection_status"],
    "states": ["partial", "failed"],
    "healths": ["failed"],
}

ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path=_PATH,
        summary="Subscribe an address to events",
        permission="write",
        by_project=True,
        handler=create,
        body=NewSubscription,
        query=Nothing,
        answer=MadeSubscription,
        status=201,
        idempotent=True,
        made=_PATH,
        example=EXAMPLE,
    ),
    Route(
        method="GET",
        path=_PATH,
        summary="List subscriptions",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=SubscriptionQuery,
        answer=Subscriptions,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        summary="Get a subscription",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=SubscriptionAnswer,
        tagged=True,
    ),
    Route(
        method="PATCH",
        path=f"{_PATH}/{{id}}",
        summary="Change a subscription, or switch it off or on",
        permission="write",
        by_project=True,
        handler=change,
        body=SubscriptionChange,
        query=Nothing,
        answer=SubscriptionAnswer,
        tagged=True,
        example={"states": ["failed"], "enabled": True},
    ),
    Route(
        method="DELETE",
        path=f"{_PATH}/{{id}}",
        summary="Remove a subscription",
        permission="write",
        by_project=True,
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
        tagged=True,
    ),
    Route(
        method="POST",
        path=f"{_PATH}/{{id}}/rotate",
        summary="Make a new secret for a subscription",
        permission="write",
        by_project=True,
        handler=rotate,
        body=Rotation,
        query=Nothing,
        answer=MadeSubscription,
        example={},
    ),
)
