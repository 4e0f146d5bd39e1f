"""What was sent to a subscription: the log of a week, sending again by hand, and trying the address."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

import msgspec
from msgspec import Meta

from adapters.http import utc_now
from api.context import Context
from api.paging import ById, Page, after_id, cut
from api.problems import ProblemError, not_found
from api.routing import Call, Route
from api.shapes import Id, Moment, Nothing, Word, moment
from api.subscribing import hasten, seen
from api.syncs import time_in
from events.attempt import Courier, Outcome
from events.envelope import dressed, ping
from store import audit, outbox, sendings, subscriptions
from store.health import Problem
from store.outgoing import sendings as table
from store.sendings import Attempt, Sending, State
from store.subscriptions import Subscription

DeliveryId = Annotated[Id, Meta(examples=[1])]
Kind = Literal["status", "connection_status", "subscription_status"]


class DeliveryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one subscription. `event_id` is the event's `id`, which is the header `webhook-id`, too.

    `pending` is tried again by itself at `next_attempt_at`; `failed` and `skipped` only by hand. `response`
    and `error` are of the last attempt.
    """

    id: int
    event_id: str
    position: int
    type: str
    source: str
    state: State
    attempts: int
    first_attempt_at: str | None
    last_attempt_at: str | None
    next_attempt_at: str | None
    response: int | None
    error: str | None


class AttemptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Without a `response` no answer came. Keys without `write` see no `excerpt` of it."""

    at: str | None
    by_hand: bool
    response: int | None
    milliseconds: int
    error: str | None
    excerpt: str | None


class DeliveryDetail(DeliveryAnswer, frozen=True, kw_only=True):
    """A delivery with its newest attempts, the last one last, and the event; null once that is not kept."""

    log: Sequence[AttemptAnswer]
    event: Any


class Deliveries(msgspec.Struct, frozen=True):
    """Some deliveries, newest first."""

    deliveries: Sequence[DeliveryAnswer]
    next: str | None


class DeliveryQuery(Page, frozen=True, kw_only=True):
    """Which deliveries: of a state, of a type, by when they were last tried, or of one event."""

    state: State | None = None
    type: Kind | None = None
    since: Moment | None = None
    until: Moment | None = None
    event_id: Word | None = None


class TriedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an event that was sent just now. Without a `response` no answer came."""

    ok: bool
    response: int | None
    milliseconds: int
    error: Problem | None
    excerpt: str | None


class Redelivered(TriedSubscription, frozen=True, kw_only=True):
    """The same, and the delivery as it is by now."""

    delivery: DeliveryAnswer


async def test(call: Call[Nothing, Nothing]) -> TriedSubscription:
    """Send an event of type `io.tidegate.ping` now. 200 even when it does not arrive."""
    return await attempt(call.context, call.id("subscription"))


async def attempt(context: Context, subscription_id: int) -> TriedSubscription:
    """Try the address of a subscription. If it works, what waits for it is sent at once. Raises 404, 429."""
    async with context.database.write() as connection:
        found = await seen(context, connection, subscription_id)
        actor = context.caller.actor
        await audit.write(connection, actor, "test", "subscription", subscription_id, name=found.name)
    uid = str(uuid4())
    outcome = await _delivered(context, found, uid, ping(uid, subscription_id, found.name, utc_now()))
    if outcome.verdict == "delivered" and found.enabled:
        async with context.database.write() as connection:
            if await subscriptions.locked(connection, subscription_id) is not None:
                await hasten(connection, subscription_id)
    return TriedSubscription(**_tried(outcome))


async def redeliver(call: Call[Nothing, Nothing]) -> Redelivered:
    """Send an event once more, now, whatever became of it. 200 even when it does not arrive."""
    return await again(call.context, call.id("subscription"), _delivery_id(call))


async def again(context: Context, subscription_id: int, delivery_id: int) -> Redelivered:
    """Send an event once more. Raises 404, 409 where it is no longer kept, 429."""
    async with context.database.write() as connection:
        one = await seen(context, connection, subscription_id)
        before = await sendings.get(connection, subscription_id, delivery_id)
        if before is None:
            raise not_found("delivery", delivery_id)
        event = await outbox.at_position(connection, before.position)
        if event is None:
            raise ProblemError(
                409, "This event is no longer kept: TIDEGATE_KEEP_EVENTS says for how long it is."
            )
        actor = context.caller.actor
        await audit.write(connection, actor, "redeliver", "subscription", subscription_id, name=one.name)
    outcome = await _delivered(context, one, event.uid, dressed(event))
    async with context.database.write() as connection:
        if await subscriptions.locked(connection, subscription_id) is None:
            raise not_found("subscription", subscription_id)
        arrived = {"state": "delivered", "next_at": None} if outcome.verdict == "delivered" else {}
        values = {**arrived, "status": outcome.status, "error": outcome.row["error"]}
        made = await sendings.note(
            connection, subscription_id, event, outcome.at, {"state": before.state, **values}
        )
        await sendings.log(connection, made, {**outcome.row, "by_hand": True})
        if arrived:
            delivered = {"last_success_at": outcome.ended_at}
            await subscriptions.change(connection, subscription_id, delivered)
        after = await sendings.get(connection, subscription_id, made)
        assert after is not None
    return Redelivered(**_tried(outcome), delivery=answer(one, after))


async def listed(call: Call[Nothing, DeliveryQuery]) -> Deliveries:
    """What was sent within the last 7 days, and what is to be sent again; newest first."""
    query, c = call.query, table.c
    filters = [
        column == value
        for column, value in ((c.state, query.state), (c.type, query.type), (c.uid, query.event_id))
        if value is not None
    ]
    if (since := time_in("since", query.since)) is not None:
        filters.append(c.last_at >= since)
    if (until := time_in("until", query.until)) is not None:
        filters.append(c.last_at < until)
    async with call.context.database.read() as connection:
        one = await seen(call.context, connection, call.id("subscription"))
        before = after_id(call.request, query)
        found = await sendings.listed(connection, one.id, before, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda sending: ById(sending.id))
    return Deliveries([answer(one, sending) for sending in page.items], page.next)


async def get(call: Call[Nothing, Nothing]) -> DeliveryDetail:
    """A delivery with its attempts and its event."""
    async with call.context.database.read() as connection:
        one = await seen(call.context, connection, call.id("subscription"))
        found = await sendings.get(connection, one.id, _delivery_id(call))
        if found is None:
            raise not_found("delivery", call.request.match_info["delivery_id"])
        event = await outbox.at_position(connection, found.position)
        log = await sendings.attempts_of(connection, found.id)
    writes = call.caller.may("write")
    return DeliveryDetail(
        **msgspec.structs.asdict(answer(one, found)),
        log=[_attempt(entry, writes=writes) for entry in log],
        event=msgspec.Raw(dressed(event)) if event is not None else None,
    )


@asynccontextmanager
async def _limited(context: Context) -> AsyncIterator[None]:
    """A request to somebody, and a limited number of them at once. Raises 429."""
    context.pace.take(context.caller.actor)
    if context.checks.locked():
        detail = "Too many requests to others are running; try again."
        raise ProblemError(429, detail, headers={"Retry-After": "1"})
    async with context.checks:
        yield


async def _delivered(context: Context, one: Subscription, uid: str, body: bytes) -> Outcome:
    async with context.database.read() as connection:
        sealed = await subscriptions.sealed(connection, one.id)
    if sealed is None:
        raise not_found("subscription", one.id)
    courier = Courier(context.remotes.poster(utc_now), context.vault, utc_now)
    async with _limited(context):
        return await courier.deliver(one.id, one.url, sealed, uid, body)


def _delivery_id(call: Call[Nothing, Nothing]) -> int:
    text = call.request.match_info["delivery_id"]
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) < 2**63):
        raise not_found("delivery", text)
    return int(text)


def _tried(outcome: Outcome) -> Mapping[str, Any]:
    return {
        "ok": outcome.verdict == "delivered",
        "response": outcome.status,
        "milliseconds": outcome.milliseconds,
        "error": outcome.error,
        "excerpt": outcome.excerpt,
    }


def answer(one: Subscription, sending: Sending) -> DeliveryAnswer:
    """A delivery as it is shown. While the subscription is off nothing of it is tried again."""
    return DeliveryAnswer(
        id=sending.id,
        event_id=sending.uid,
        position=sending.position,
        type=sending.type,
        source=sending.source,
        state=sending.state,
        attempts=sending.attempts,
        first_attempt_at=moment(sending.first_at),
        last_attempt_at=moment(sending.last_at),
        next_attempt_at=moment(_next(one, sending)),
        response=sending.status,
        error=sending.error,
    )


def _next(one: Subscription, sending: Sending) -> datetime | None:
    if not one.enabled or sending.next_at is None:
        return None
    return max(sending.next_at, one.paused_until or sending.next_at)


def _attempt(entry: Attempt, *, writes: bool) -> AttemptAnswer:
    return AttemptAnswer(
        at=moment(entry.at),
        by_hand=entry.by_hand,
        response=entry.status,
        milliseconds=entry.milliseconds,
        error=entry.error,
        excerpt=entry.excerpt if writes else None,
    )


_PATH = "/v1/subscriptions/{id}"
_BUSY = {429: "Too many requests to others are running: try again."}
_NAMES = {"delivery_id": DeliveryId}

ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path=f"{_PATH}/test",
        summary="Send an event to a subscription to see whether it arrives",
        permission="write",
        by_project=True,
        handler=test,
        body=Nothing,
        query=Nothing,
        answer=TriedSubscription,
        problems=_BUSY,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/deliveries",
        summary="List what was sent to a subscription",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=DeliveryQuery,
        answer=Deliveries,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/deliveries/{{delivery_id}}",
        summary="Get what was sent, with every attempt",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=DeliveryDetail,
        names=_NAMES,
    ),
    Route(
        method="POST",
        path=f"{_PATH}/deliveries/{{delivery_id}}/redeliver",
        summary="Send an event to a subscription once more",
        permission="write",
        by_project=True,
        handler=redeliver,
        body=Nothing,
        query=Nothing,
        answer=Redelivered,
        names=_NAMES,
        problems={**_BUSY, 409: "The event is no longer kept."},
    ),
)
