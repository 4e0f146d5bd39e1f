"""Subscribers of tests: receivers that are real servers, and the sender on a clock that is moved by hand."""

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import func, select

from adapters.guard import AddressGuard
from adapters.http import Limits, open_session
from adapters.outgoing import LIMITS, poster
from events.attempt import Courier
from events.signature import new_secret
from events.turn import REFUSED_MOST
from events.webhooks import Sender
from store import outbox, sendings, subscriptions
from store.outbox import RELAY
from store.outgoing import attempts
from store.outgoing import sendings as sendings_table
from store.outgoing import subscriptions as table
from store.sendings import Attempt, Sending
from store.subscriptions import Subscription
from tests.house import House
from tests.servers import Hands, serving
from tests.support import LOOPBACK

Answering = Callable[["Got"], Awaitable[web.StreamResponse] | web.StreamResponse]


class Got(msgspec.Struct, frozen=True):
    """A webhook as it came."""

    at: datetime
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def uid(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body, type=dict[str, Any])

    @property
    def number(self) -> int:
        """Which of the things that happened."""
        number: int = self.event["data"]["number"]
        return number

    def verified(self, secret: str) -> bool:
        """Whether one of the signatures is by this secret: written anew here, from the specification."""
        key = b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.uid}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{wanted}" in self.headers["webhook-signature"].split(" ")


class Receiver:
    """Somebody's endpoint. `answers` decides; what came is in `got`, in its order."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.url = ""
        self.got: list[Got] = []
        self.answers: Answering = lambda _: web.Response(status=204)

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in self.got]

    @property
    def times(self) -> list[datetime]:
        return [one.at for one in self.got]

    def answer(self, status: int, **headers: str) -> None:
        """The same answer to everything from now on."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers = lambda _: web.Response(status=status, headers=named, text=f"status {status}")

    async def take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        one = Got(self._clock(), request.raw_path, headers, await request.read())
        self.got.append(one)
        answer = self.answers(one)
        return answer if isinstance(answer, web.StreamResponse) else await answer


@asynccontextmanager
async def receiving(clock: Callable[[], datetime]) -> AsyncIterator[Receiver]:
    made = Receiver(clock)
    async with serving(made.take) as server:
        made.url = server.url + "/hook"
        yield made


class Happening(msgspec.Struct, frozen=True):
    """The data of an event of the tests."""

    number: int
    state: str = "succeeded"
    health: str = "healthy"


class Office:
    """Lets things happen, subscribes, and sends at a time that only passes when it is told to."""

    def __init__(self, house: House, hands: Hands, courier: Courier) -> None:
        self.house = house
        self.hands = hands
        self.courier = courier
        self.random = Random(7)
        self.sender = self.another("sender 1")
        self._number = 0

    def another(self, owner: str, refused_most: int = REFUSED_MOST) -> Sender:
        return Sender(self.house.database, self.courier, self.random, owner, refused_most=refused_most)

    async def happen(
        self, connection_id: int, count: int = 1, kind: str = "status", **values: str
    ) -> Sequence[int]:
        """So many things happen to a connection, and get their positions. Their numbers."""
        numbers = range(self._number + 1, self._number + count + 1)
        self._number += count
        async with self.house.database.write() as connection:
            told = [(kind, Happening(number, **values)) for number in numbers]
            await outbox.append(connection, connection_id, self.hands.now(), told)
        await self.publish()
        return numbers

    async def publish(self) -> None:
        """Give positions, as the relay does."""
        async with self.house.database.write() as connection:
            fence = await outbox.take_duty(connection, RELAY, "relay", 3600)
            assert fence is not None
            while await outbox.give_positions(connection, fence):
                pass

    async def subscribe(self, url: str, secret: str | None = None, **values: object) -> int:
        secret = secret or new_secret()
        async with self.house.database.write() as connection:
            told = {"name": "hook", "url": url, **values}
            made = await subscriptions.add(connection, told, self.hands.now())
            sealed = self.house.vault.seal(secret, subscriptions.place(made))
            await subscriptions.change(connection, made, {"secret": sealed})
        return made

    async def get(self, subscription_id: int) -> Subscription:
        async with self.house.database.read() as connection:
            found = await subscriptions.get(connection, subscription_id)
        assert found is not None
        return found

    async def sendings(self, subscription_id: int) -> list[Sending]:
        """Oldest first."""
        async with self.house.database.read() as connection:
            return list(reversed(await sendings.listed(connection, subscription_id, None, 10_000)))

    async def attempts(self, sending_id: int) -> Sequence[Attempt]:
        async with self.house.database.read() as connection:
            return await sendings.attempts_of(connection, sending_id)

    async def rows(self) -> tuple[int, int]:
        """How many sendings and attempts there are."""
        async with self.house.database.read() as connection:
            counts = [
                (await connection.execute(select(func.count()).select_from(one))).scalar_one()
                for one in (sendings_table, attempts)
            ]
        return counts[0], counts[1]

    async def pass_time(self, **span: float) -> None:
        """Let time pass, from one moment at which something is to be sent to the next."""
        end = self.hands.time + timedelta(**span)
        while True:
            await self.sender.once()
            at = await self._next_moment()
            if at is None or at > end:
                break
            self.hands.time = max(at, self.hands.time)
        self.hands.time = end
        await self.sender.once()

    async def _next_moment(self) -> datetime | None:
        c, s = table.c, sendings_table.c
        paused = select(func.min(c.paused_until)).where(c.enabled)
        repeats = (
            select(func.min(s.next_at))
            .join(table, c.id == s.subscription_id)
            .where(s.state == "pending", c.enabled, c.paused_until.is_(None))
        )
        async with self.house.database.read() as connection:
            found = [(await connection.execute(query)).scalar() for query in (paused, repeats)]
        return min((one for one in found if one is not None), default=None)


@asynccontextmanager
async def open_office(
    house: House, allow: Sequence[str] = LOOPBACK, limits: Limits = LIMITS
) -> AsyncIterator[Office]:
    hands = Hands()
    guard = AddressGuard(allow)
    async with open_session(guard) as session:
        courier = Courier(poster(session, guard, hands.now, limits=limits), house.vault, hands.now)
        office = Office(house, hands, courier)
        try:
            yield office
        finally:
            await office.sender._end(0.0)


async def forever(_: object) -> web.StreamResponse:
    """An answer that does not come."""
    await asyncio.Event().wait()
    raise AssertionError
