"""Webhooks out: in order, signed, at least once; and what becomes of endpoints that are down, slow or gone."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import pytest
from aiohttp import web
from msgspec.structs import replace
from sqlalchemy import update

from adapters.outgoing import LIMITS
from events.schedule import DELAYS
from events.turn import REFUSED_MOST, WINDOW
from store import subscriptions
from store.database import now
from store.outbox import WEBHOOKS
from store.schema import duties
from tests.engine import connect
from tests.house import House
from tests.servers import NOON
from tests.subscribers import Got, Office, Receiver, forever, open_office, receiving

SIX_HOURS = timedelta(hours=6)


@pytest.fixture
async def office(engine: House) -> AsyncIterator[Office]:
    async with open_office(engine, limits=replace(LIMITS, total=0.3, read=0.3)) as made:
        yield made


@pytest.fixture
async def receiver(office: Office) -> AsyncIterator[Receiver]:
    async with receiving(office.hands.now) as made:
        yield made


async def team(office: Office, **values: object) -> int:
    """A connection to which things happen; what happened before anyone subscribed is published."""
    made = await connect(office.house, **values)
    await office.publish()
    return made.id


def gaps(receiver: Receiver) -> list[float]:
    return [(after - before).total_seconds() for before, after in pairwise(receiver.times)]


def within_a_fifth(waited: list[float], wanted: tuple[float, ...]) -> bool:
    pairs = zip(waited, wanted, strict=True)
    return all(0.8 * plan - 0.01 <= gap <= 1.2 * plan + 0.01 for gap, plan in pairs)


async def test_events_arrive_in_their_order_as_they_are_on_the_stream(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url + "?token=1")
    await office.happen(one, 5)
    await office.pass_time(seconds=1)
    assert receiver.numbers == [1, 2, 3, 4, 5]
    first = receiver.got[0]
    assert first.path == "/hook?token=1"
    assert first.headers["content-type"] == "application/cloudevents+json"
    assert first.event["id"] == first.uid
    assert first.event["type"] == "io.tidegate.status"
    assert first.event["source"] == f"/connections/{one}"
    assert [one.state for one in await office.sendings(hook)] == ["delivered"] * 5


async def test_only_what_happens_after_subscribing_is_sent(office: Office, receiver: Receiver) -> None:
    one = await team(office)
    await office.happen(one, 3)
    await office.subscribe(receiver.url)
    await office.happen(one)
    await office.pass_time(seconds=1)
    assert receiver.numbers == [4]


async def test_the_schedule_of_an_endpoint_that_stays_down_and_then_it_is_switched_off_with_an_event(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url, name="dead")
    async with receiving(office.hands.now) as another:
        watching = await office.subscribe(another.url, types=["subscription_status"])
        receiver.answer(500)
        await office.happen(one, 2)
        await office.pass_time(days=5)
        assert set(receiver.numbers) == {1}
        assert within_a_fifth(gaps(receiver), DELAYS)
        found = await office.get(hook)
        assert not found.enabled
        assert found.disabled_reason is not None
        assert found.disabled_reason.kind == "exhausted"
        assert "answered 500" in found.disabled_reason.message
        await office.publish()
        await office.pass_time(seconds=1)
        [told] = another.got
    assert told.event["type"] == "io.tidegate.subscription_status"
    assert told.event["source"] == f"/subscriptions/{hook}"
    assert told.event["sequence"] == 1
    assert told.event["data"]["enabled"] is False
    assert told.event["data"]["reason"]["kind"] == "exhausted"
    assert (await office.get(watching)).enabled


@pytest.mark.parametrize("trouble", ["500", "302", "429", "silence", "refused connection"])
async def test_six_hours_of_trouble_and_the_backlog_drains_in_order(
    office: Office, receiver: Receiver, trouble: str
) -> None:
    one = await team(office)
    gone = socket.create_server(("127.0.0.1", 0))
    closed = f"http://127.0.0.1:{gone.getsockname()[1]}/hook"
    gone.close()
    hook = await office.subscribe(closed if trouble == "refused connection" else receiver.url)
    if trouble == "silence":
        receiver.answers = forever
    elif trouble.isdigit():
        receiver.answer(int(trouble), Location=receiver.url + "/elsewhere")
    for _ in range(6):
        await office.happen(one, 20)
        await office.pass_time(hours=1)
        # Nothing is kept of what waits but the one event that is tried.
        assert (await office.rows())[0] == 1
    [head] = await office.sendings(hook)
    tried = [attempt.at for attempt in await office.attempts(head.id)]
    waited = [(after - before).total_seconds() for before, after in pairwise(tried)]
    assert within_a_fifth(waited, DELAYS[: len(waited)])
    assert 4 <= len(tried) <= 6
    assert all(one.path == "/hook" for one in receiver.got)
    receiver.got.clear()
    receiver.answer(200)
    if trouble == "refused connection":
        async with office.house.database.write() as connection:
            await subscriptions.change(connection, hook, {"url": receiver.url})
    await office.pass_time(hours=6)
    assert receiver.numbers == list(range(1, 121))
    assert (await office.get(hook)).failing_since is None


async def test_gone_switches_off_at_once_and_nothing_more_is_sent(office: Office, receiver: Receiver) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answer(410)
    await office.happen(one, 3)
    await office.pass_time(days=1)
    found = await office.get(hook)
    assert receiver.numbers == [1]
    assert found.disabled_reason is not None
    assert (found.enabled, found.disabled_reason.kind) == (False, "gone")


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
async def test_retry_after_is_obeyed(office: Office, receiver: Receiver, as_date: bool) -> None:
    one = await team(office)
    await office.subscribe(receiver.url)
    when = "Sun, 22 Nov 2026 12:02:00 GMT"
    receiver.answer(429, Retry_After=when if as_date else "120", Date="Sun, 22 Nov 2026 12:00:00 GMT")
    await office.happen(one)
    await office.pass_time(seconds=300)
    assert gaps(receiver) == [120.0, 120.0]


async def test_an_endpoint_that_asks_to_be_asked_soon_is_not_given_up_sooner(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answer(503, Retry_After="3600")
    await office.happen(one)
    await office.pass_time(hours=60)
    assert (await office.get(hook)).enabled
    receiver.answer(200)
    await office.pass_time(hours=1.1)
    assert [one.state for one in await office.sendings(hook)] == ["delivered"]
    assert len(receiver.got) > len(DELAYS)


async def test_an_event_that_is_refused_holds_up_no_other_and_is_sent_again(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)

    def answers(got: Got) -> web.Response:
        return web.Response(status=422 if got.number == 2 else 200)

    receiver.answers = answers
    await office.happen(one, 4)
    await office.pass_time(hours=4)
    assert receiver.numbers[:4] == [1, 2, 3, 4]
    assert set(receiver.numbers[4:]) == {2}
    mine = [got.at for got in receiver.got if got.number == 2]
    waited = [(after - before).total_seconds() for before, after in pairwise(mine)]
    assert within_a_fifth(waited, DELAYS[:4])
    await office.happen(one)
    await office.pass_time(days=5)
    assert [one.state for one in await office.sendings(hook)] == [
        *("delivered", "failed", "delivered", "delivered", "delivered")
    ]
    assert (await office.get(hook)).enabled


async def test_an_endpoint_that_refuses_everything_is_switched_off_and_keeps_no_more_than_a_window(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answer(403)
    await office.happen(one, 300)
    await office.pass_time(hours=1)
    assert (await office.rows())[0] == REFUSED_MOST
    await office.pass_time(days=5)
    found = await office.get(hook)
    assert found.disabled_reason is not None
    assert found.disabled_reason.kind == "rejected"
    assert (await office.rows())[0] == REFUSED_MOST


async def test_a_slow_subscriber_slows_no_other(engine: House) -> None:
    async with open_office(engine) as office, receiving(office.hands.now) as receiver:
        await _one_is_slow(office, receiver)


async def _one_is_slow(office: Office, receiver: Receiver) -> None:
    one = await team(office)
    let_go = asyncio.Event()

    async def slow(_: Got) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    async with receiving(office.hands.now) as quick:
        await office.subscribe(receiver.url)
        await office.subscribe(quick.url)
        receiver.answers = slow
        await office.happen(one, 30)
        sending = asyncio.create_task(office.sender.once())
        async with asyncio.timeout(20):
            while len(quick.got) < 30:  # noqa: ASYNC110 - a server tells no event
                await asyncio.sleep(0.01)
        assert len(receiver.got) <= 1
        let_go.set()
        await sending
    assert receiver.numbers == quick.numbers == list(range(1, 31))
