"""Webhooks out: in order and at least once, also where an endpoint is down, slow, picky or gone."""

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
from store import sendings, subscriptions
from store.database import now
from store.outbox import WEBHOOKS
from store.schema import duties
from store.schema import outbox as outbox_table
from tests.engine import connect
from tests.house import House
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


async def team(office: Office, number: int = 0) -> int:
    """A connection to which things happen; what happened before anyone subscribed is published."""
    made = await connect(office.house, number)
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
    office.sender = office.another("sender 1", refused_most=4)
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answer(403)
    await office.happen(one, 30)
    await office.pass_time(hours=1)
    assert (await office.rows())[0] == 4
    assert (await office.get(hook)).paused_until is not None
    await office.pass_time(days=5)
    found = await office.get(hook)
    assert found.disabled_reason is not None
    assert found.disabled_reason.kind == "rejected"
    assert (await office.rows())[0] == 4


async def test_refused_events_hold_up_no_others_however_many_they_are(
    office: Office, receiver: Receiver
) -> None:
    office.sender = office.another("sender 1", refused_most=4)
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answers = lambda got: web.Response(status=400 if got.number % 2 else 200)
    await office.happen(one, 30)
    await office.pass_time(seconds=1)
    assert receiver.numbers == list(range(1, 31))
    states = [one.state for one in await office.sendings(hook)]
    # The last one that was sent took the place of a refused one, and was not refused itself.
    assert (states.count("delivered"), states.count("pending"), states.count("failed")) == (15, 3, 12)


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


async def test_a_kill_between_commit_and_delivery_loses_nothing(office: Office, receiver: Receiver) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    arrived = asyncio.Event()

    async def hang(got: Got) -> web.StreamResponse:
        if got.number == 3:
            arrived.set()
            return await forever(got)
        return web.Response()

    receiver.answers = hang
    await office.happen(one, 5)
    stop = asyncio.Event()
    first = asyncio.create_task(office.another("sender 1").run(stop))
    await asyncio.wait_for(arrived.wait(), 20)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    receiver.answer(200)
    second = office.another("sender 2")
    assert not await second.keep()
    await lease_ends(office)
    await second.once()
    assert receiver.numbers == [1, 2, 3, 3, 4, 5]
    uids = [got.uid for got in receiver.got]
    assert uids[2] == uids[3]
    assert len(set(uids)) == 5
    assert [one.state for one in await office.sendings(hook)] == ["delivered"] * 5


async def lease_ends(office: Office) -> None:
    """As if its holder had not been heard of for longer than a lease."""
    async with office.house.database.write() as connection:
        ended = update(duties).where(duties.c.name == WEBHOOKS)
        await connection.execute(ended.values(lease_until=now(-1)))


async def test_a_sender_that_lost_its_lease_writes_nothing_and_sends_no_more(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    second = office.another("sender 2")

    async def take_over(_: Got) -> web.StreamResponse:
        if len(receiver.got) == 1:
            await lease_ends(office)
            assert await second.keep()
        return web.Response()

    receiver.answers = take_over
    await office.happen(one, 2)
    await office.sender.once()
    assert receiver.numbers == [1]
    assert await office.sendings(hook) == []
    await second.once()
    assert receiver.numbers == [1, 1, 2]


async def test_a_sender_that_is_stopped_lets_another_go_on_at_once(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    await office.subscribe(receiver.url)
    stop = asyncio.Event()
    running = asyncio.create_task(office.another("sender 1").run(stop))
    await office.happen(one)
    async with asyncio.timeout(20):
        while not receiver.got:  # noqa: ASYNC110 - a server tells no event
            await asyncio.sleep(0.01)
    stop.set()
    await running
    assert await office.another("sender 2").keep()


async def test_a_redirect_is_not_followed(office: Office, receiver: Receiver) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    async with receiving(office.hands.now) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            receiver.answer(status, Location=elsewhere.url)
            await office.happen(one)
            await office.pass_time(hours=12)
        assert elsewhere.got == []
    found = await office.get(hook)
    assert found.last_error is not None
    assert found.last_error.kind == "redirected"


@pytest.mark.parametrize(
    ("allow", "host", "kind"),
    [
        ((), "127.0.0.1", "blocked"),
        ((), "localhost", "blocked"),
        (("0.0.0.0/0", "::/0"), "169.254.169.254", "blocked"),
        (("127.0.0.1/32",), "127.0.0.1", None),
    ],
)
async def test_private_addresses_are_dialled_only_if_they_are_allowed_and_metadata_never(
    engine: House, allow: tuple[str, ...], host: str, kind: str | None
) -> None:
    async with open_office(engine, allow) as office, receiving(office.hands.now) as receiver:
        one = await team(office)
        hook = await office.subscribe(receiver.url.replace("127.0.0.1", host))
        await office.happen(one)
        await office.pass_time(seconds=1)
        found = await office.get(hook)
        assert (found.last_error.kind if found.last_error else None) == kind
        assert len(receiver.got) == (1 if kind is None else 0)


async def test_of_a_long_answer_only_the_beginning_is_read_and_it_counts(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answers = lambda _: web.Response(body=b"x" * 5_000_000)
    await office.happen(one)
    await office.pass_time(seconds=1)
    [sending] = await office.sendings(hook)
    [attempt] = await office.attempts(sending.id)
    assert (sending.state, attempt.excerpt) == ("delivered", "x" * 1024)


async def test_what_is_said_back_of_a_secret_is_not_kept(office: Office, receiver: Receiver) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    one = await team(office)
    hook = await office.subscribe(receiver.url, secret)
    receiver.answers = lambda _: web.Response(text=f"wrong secret {secret}, {secret[6:]}")
    await office.happen(one)
    await office.pass_time(seconds=1)
    [sending] = await office.sendings(hook)
    [attempt] = await office.attempts(sending.id)
    assert attempt.excerpt == "wrong secret ********, ********"


async def test_an_event_that_is_no_longer_kept_is_given_up_and_the_next_is_sent(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    receiver.answer(500)
    await office.happen(one)
    await office.pass_time(seconds=1)
    async with office.house.database.write() as connection:
        await connection.execute(outbox_table.delete())
    receiver.answer(200)
    await office.happen(one)
    await office.pass_time(seconds=10)
    assert [one.state for one in await office.sendings(hook)] == ["failed", "delivered"]
    assert receiver.numbers == [1, 2]


async def test_what_is_not_for_a_subscription_leaves_no_rows_and_is_passed(
    office: Office, receiver: Receiver
) -> None:
    one, other = await team(office), await team(office, 1)
    hook = await office.subscribe(receiver.url, connection_ids=[other], states=["failed"])
    await office.happen(one, 150)
    await office.happen(other, 120)
    await office.pass_time(seconds=1)
    assert await office.rows() == (0, 0)
    await office.happen(other, state="failed")
    await office.pass_time(seconds=1)
    assert receiver.numbers == [271]
    assert len(await office.sendings(hook)) == 1


async def test_the_log_is_kept_for_a_week_and_what_waits_for_longer(
    office: Office, receiver: Receiver
) -> None:
    one = await team(office)
    hook = await office.subscribe(receiver.url)
    await office.happen(one)
    await office.pass_time(seconds=1)
    receiver.answer(410)
    await office.happen(one)
    await office.pass_time(seconds=1)
    for days, left in ((6, (2, 2)), (8, (1, 1))):
        async with office.house.database.write() as connection:
            await sendings.forget(connection, office.hands.time + timedelta(days=days - 7))
        assert await office.rows() == left
    assert [one.state for one in await office.sendings(hook)] == ["pending"]
