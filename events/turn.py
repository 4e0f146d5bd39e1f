"""One turn of a subscription: what is due is sent in order, and what came of it is written each time."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from config.failpoints import Step, passed
from events import schedule
from events.attempt import Courier, Outcome
from events.envelope import dressed
from store import outbox, sendings, subscriptions
from store.database import Database
from store.health import Problem
from store.outbox import WEBHOOKS, Event
from store.outgoing import subscriptions as table
from store.sendings import Sending, Waiting
from store.subscriptions import Subscription

log = structlog.get_logger()

#: After so long others are given their turn.
TURN_SECONDS = 5.0
#: Events that are held at once; and so many may wait to be repeated before no further ones are sent.
WINDOW = 50
#: Of what is not for a subscription so many windows are looked through in one transaction.
WINDOWS = 20
REFUSED_MOST = 100
#: What is not for a subscription is written down only now and then: how far it was looked at.
UNWRITTEN = 1000

_EXHAUSTED = "Nothing arrived for more than 3 days: {error}"
_REFUSED = "An event was refused {count} times, and nothing else arrived meanwhile: {error}"
_FORGOTTEN = "The event is no longer kept: TIDEGATE_KEEP_EVENTS says for how long it is."
_TOO_MANY = "Given up early: too many events are refused at once."
_SWITCH_ON = "See to the endpoint, then switch the subscription on again: it goes on where it stopped."


class Item(msgspec.Struct, frozen=True):
    """An event to be sent, and the sending of it that there is already."""

    event: Event
    before: Sending | None


class Turn:
    """`looked`: up to there nothing is left to be sent for the first time. `next_at`: when to go on."""

    def __init__(
        self,
        database: Database,
        courier: Courier,
        random: Random,
        fence: int,
        subscription_id: int,
        stopping: Callable[[], bool],
        refused_most: int = REFUSED_MOST,
    ) -> None:
        self._database = database
        self._courier = courier
        self._random = random
        self._fence = fence
        self._id = subscription_id
        self._stopping = stopping
        self._refused_most = refused_most
        self.looked = 0
        self.next_at: datetime | None = None
        #: Whether the sending is no longer ours, so that an outcome was not written.
        self.lost = False

    async def take(self, looked: int) -> None:
        """Send until nothing is due, the endpoint is down, or the time of the turn is over."""
        self.looked = looked
        until = time.monotonic() + TURN_SECONDS
        while time.monotonic() < until and not self._stopping():
            items = await self._next()
            if not items:
                return
            for item in items:
                if not await self._send(item) or time.monotonic() >= until or self._stopping():
                    return

    async def _next(self) -> Sequence[Item]:
        """The next events, those first that are to be repeated; none while nothing is to be done."""
        at = self._courier.clock()
        async with self._database.read() as connection:
            one = await subscriptions.get(connection, self._id)
            if one is None or not one.enabled or (one.paused_until is not None and one.paused_until > at):
                return ()
            repeats = await sendings.due(connection, self._id, at, WINDOW)
            items = [await self._again(connection, sending) for sending in repeats]
            waiting = await sendings.waiting(connection, self._id)
            new = [] if items else await self._new(connection, one)
        self.next_at = waiting.next_at
        await self._write_looked(one)
        lost = [sending for sending, item in zip(repeats, items, strict=True) if item is None]
        if lost:
            await self._give_up([sending.id for sending in lost], _FORGOTTEN)
            return await self._next()
        room = self._refused_most - waiting.count
        if new and room <= 0:
            room = await self._make_room(one, waiting)
        return [*(item for item in items if item is not None), *new[:room]]

    async def _make_room(self, one: Subscription, waiting: Waiting) -> int:
        """Too many events are refused. An endpoint that takes others gets the next one, and the oldest of
        those is given up; one that takes nothing gets no more before it takes these. How many it gets.
        """
        assert waiting.oldest is not None
        if one.last_success_at is not None and one.last_success_at >= waiting.oldest.first_at:
            await self._give_up([waiting.oldest.id], _TOO_MANY)
            return 1
        async with self._database.write() as connection:
            if await outbox.holds_duty(connection, WEBHOOKS, self._fence):
                await subscriptions.change(connection, self._id, {"paused_until": waiting.next_at})
        return 0

    async def _again(self, connection: AsyncConnection, sending: Sending) -> Item | None:
        event = await outbox.at_position(connection, sending.position)
        return None if event is None else Item(event, sending)

    async def _new(self, connection: AsyncConnection, one: Subscription) -> list[Item]:
        """Events of which no attempt was made, as many as are held at once."""
        filters = subscriptions.wanted(one)
        newest = await outbox.last_position(connection)
        at = max(one.position, self.looked)
        for _ in range(WINDOWS):
            events = await outbox.after(connection, at, WINDOW, filters=filters)
            found = [Item(event, None) for event in events if subscriptions.matches(one, event)]
            if found:
                return found
            at = max(at, *(event.position or 0 for event in events)) if events else at
            if len(events) < WINDOW:
                self.looked = max(newest, at)
                return []
            self.looked = at
        return []

    async def _send(self, item: Item) -> bool:
        """Send one event and write what came of it. Whether the next may follow."""
        event = item.event
        # Read each time: a new secret, and a new address, hold from the next event on.
        async with self._database.read() as connection:
            one = await subscriptions.get(connection, self._id)
            sealed = await subscriptions.sealed(connection, self._id)
        if one is None or sealed is None or not one.enabled:
            return False
        outcome = await self._courier.deliver(one.id, one.url, sealed, event.uid, dressed(event))
        passed(Step.DELIVERY_SENT)
        async with self._database.write() as connection:
            if not await outbox.holds_duty(connection, WEBHOOKS, self._fence):
                self.lost = True
                return False
            now = await subscriptions.locked(connection, self._id)
            if now is None:
                return False
            goes_on = await self._settle(connection, now, item, outcome)
            passed(Step.DELIVERY_WRITTEN)
        passed(Step.DELIVERY_COMMITTED)
        return goes_on

    async def _settle(
        self, connection: AsyncConnection, now: Subscription, item: Item, outcome: Outcome
    ) -> bool:
        """Write an outcome, and what follows from it for the subscription as it is by now."""
        position = max(now.position, item.event.position or 0)
        match outcome.verdict:
            case "delivered":
                values = self._delivered(outcome)
                sending: dict[str, object] = {"state": "delivered", "next_at": None}
                reason = None
            case "refused":
                values, sending, reason = self._refused(now, item, outcome)
            case _:
                values, sending, reason = self._away(now, outcome)
        sent = {**sending, "status": outcome.status, "error": outcome.row["error"]}
        made = await sendings.note(connection, self._id, item.event, outcome.at, sent)
        await sendings.log(connection, made, {**outcome.row, "by_hand": False})
        await subscriptions.change(connection, self._id, {**values, "position": position})
        if reason is not None:
            self.next_at = None
        if reason is not None and now.enabled:
            await subscriptions.switch(connection, self._id, outcome.at, on=False, reason=reason)
            log.warning("webhooks.switched_off", subscription_id=self._id, reason=reason.message)
        return now.enabled and reason is None and outcome.verdict in ("delivered", "refused")

    def _delivered(self, outcome: Outcome) -> dict[str, object]:
        return {**_UP, "last_success_at": outcome.ended_at, "delivered": table.c.delivered + 1}

    def _refused(
        self, now: Subscription, item: Item, outcome: Outcome
    ) -> tuple[dict[str, object], dict[str, object], Problem | None]:
        """The endpoint works and does not take this event: it is repeated by itself, beside the others."""
        step = item.before.step if item.before else 0
        first_at = item.before.first_at if item.before else outcome.at
        again = schedule.again(step, outcome.at, outcome.ended_at, outcome.asked, self._random)
        values = {**_UP, **_failed(outcome)}
        if again is not None:
            return values, {"state": "pending", "step": step + 1, "next_at": again.at}, None
        reason = None
        if now.last_success_at is None or now.last_success_at < first_at:
            count = item.before.attempts + 1 if item.before else 1
            reason = _reason("rejected", _REFUSED, outcome, count)
        return values, {"state": "failed", "next_at": None}, reason

    def _away(
        self, now: Subscription, outcome: Outcome
    ) -> tuple[dict[str, object], dict[str, object], Problem | None]:
        """The endpoint is down, or gone: everything waits, and this event is the first to be sent again."""
        since = now.failing_since or outcome.at
        values = {**_failed(outcome), "failing_since": since}
        # Due as soon as the endpoint is asked again at all, so that nothing newer is sent before it.
        sending: dict[str, object] = {"state": "pending", "next_at": outcome.at}
        if outcome.verdict == "gone":
            error = outcome.error
            assert error is not None
            return values, sending, Problem("gone", error.message, _SWITCH_ON)
        again = schedule.again(now.failing_step, since, outcome.ended_at, outcome.asked, self._random)
        if again is None:
            return values, sending, _reason("exhausted", _EXHAUSTED, outcome)
        self.next_at = again.at
        values |= {"failing_step": again.step, "paused_until": again.at}
        return values, sending, None

    async def _give_up(self, lost: Sequence[int], error: str) -> None:
        """Sendings that are not tried again by themselves."""
        async with self._database.write() as connection:
            for sending_id in lost:
                gone = {"state": "failed", "next_at": None, "error": error}
                await sendings.change(connection, sending_id, gone)

    async def _write_looked(self, one: Subscription) -> None:
        if self.looked - one.position < UNWRITTEN:
            return
        async with self._database.write() as connection:
            if await outbox.holds_duty(connection, WEBHOOKS, self._fence):
                await subscriptions.advance(connection, self._id, self.looked)


_UP: dict[str, object] = {"failing_since": None, "failing_step": 0, "paused_until": None}


def _failed(outcome: Outcome) -> dict[str, object]:
    return {"last_error": outcome.error, "last_error_at": outcome.at, "refused": table.c.refused + 1}


def _reason(kind: str, text: str, outcome: Outcome, count: int = 0) -> Problem:
    error = outcome.error
    return Problem(kind, text.format(count=count, error=error.message if error else ""), _SWITCH_ON)
