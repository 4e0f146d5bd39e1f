"""Webhooks that are kept up at remotes: renewed, made anew, moved, removed; what is in the way is noted."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from adapters.base import AuthFailed, Forbidden, Unavailable
from scheduler.upkeep import webhooks_due
from store import webhooks
from store.connections import Connection
from store.database import Database, clock
from store.health import Problem
from store.schema import connections as table
from store.webhooks import Webhook
from tests.engine import set_connection
from tests.house import House, open_house
from tests.ringing_shelf import Librarian, ringing
from worker.registrar import Registrar

pytestmark = pytest.mark.sqlite_does

URL = "https://tidegate.example"


class Keeper:
    """A registrar with one connection, registered at the librarian's."""

    def __init__(self, house: House, librarian: Librarian, found: Connection) -> None:
        self.house = house
        self.librarian = librarian
        self.id = found.id
        self.registrar = Registrar(house.database, house.deps.remotes, house.vault, URL)

    async def settle(self) -> Webhook | None:
        return await self.registrar.settle(self.id)

    async def webhook(self) -> Webhook:
        async with self.house.database.read() as connection:
            found = await webhooks.of(connection, self.id)
        assert found is not None
        return found

    async def set(self, **values: object) -> None:
        await set_connection(self.house, self.id, **values)

    async def change(self, **values: Any) -> None:
        async with self.house.database.write() as connection:
            assert await webhooks.hurry(connection, self.id, await self.time(), **values)

    async def time(self) -> datetime:
        return await self.house.database.time()

    async def left(self) -> object:
        """What is written of it; None if nothing is."""
        async with self.house.database.read() as connection:
            return (await connection.execute(select(table.c.webhook).where(table.c.id == self.id))).scalar()


@pytest.fixture
async def keeper(database: Database) -> AsyncIterator[Keeper]:
    librarian = Librarian()
    async with open_house(database, {"ringing": ringing(librarian)}) as house:
        found = await house.connection("ringing", "shelf.example/3")
        made = Keeper(house, librarian, found)
        await made.registrar.register(found.id)
        yield made


def days(count: float) -> timedelta:
    return timedelta(days=count)


async def test_one_that_ends_in_less_than_ten_days_is_renewed(keeper: Keeper) -> None:
    soon = await keeper.time() + days(9)
    await keeper.change(expires_at=soon)
    keeper.librarian.expires_at = soon + days(21)
    await keeper.settle()
    assert keeper.librarian.asked == ["register", "renew"]
    assert (await keeper.webhook()).expires_at == keeper.librarian.expires_at


async def test_one_with_more_time_left_costs_no_request(keeper: Keeper) -> None:
    await keeper.change(expires_at=await keeper.time() + days(11))
    await keeper.settle()
    assert keeper.librarian.asked == ["register"]


async def test_one_that_fell_silent_is_asked_for_however_long_it_lasts(keeper: Keeper) -> None:
    await keeper.change(expires_at=await keeper.time() + days(29))
    await keeper.set(webhook_missed_at=await keeper.time())
    keeper.librarian.webhooks.clear()
    await keeper.settle()
    assert keeper.librarian.asked == ["register", "renew", "register"]


async def test_one_that_was_lost_is_made_anew(keeper: Keeper) -> None:
    keeper.librarian.webhooks.clear()
    after = await keeper.settle()
    assert after is not None
    assert list(keeper.librarian.webhooks) == [after.id]
    assert after.problem is None


async def test_it_is_looked_at_once_a_day(keeper: Keeper) -> None:
    assert await webhooks_due(keeper.house.database) == []
    await keeper.change()
    assert await webhooks_due(keeper.house.database) == [keeper.id]
    assert await webhooks_due(keeper.house.database) == []  # given out
    await keeper.settle()
    left = (await keeper.webhook()).look_at - await keeper.time()
    assert days(0.99) < left <= days(1)


async def test_one_that_was_given_out_and_not_seen_after_is_given_out_again(keeper: Keeper) -> None:
    await keeper.change()
    await webhooks_due(keeper.house.database)
    assert (await keeper.webhook()).look_at - await keeper.time() <= timedelta(hours=1)


async def test_a_refusal_is_noted_and_asked_for_again_tomorrow(keeper: Keeper) -> None:
    keeper.librarian.error = Forbidden("No administrator any more.", "Become one.")
    await keeper.settle()
    found = await keeper.webhook()
    assert found.problem == Problem("forbidden", "No administrator any more.", "Become one.")
    assert found.id is not None
    assert found.look_at - await keeper.time() > days(0.99)


async def test_what_was_refused_is_forgotten_once_it_works(keeper: Keeper) -> None:
    keeper.librarian.error = Forbidden("Not today.")
    await keeper.settle()
    keeper.librarian.error = None
    await keeper.settle()
    assert (await keeper.webhook()).problem is None


async def test_a_remote_that_is_away_is_asked_again_soon(keeper: Keeper) -> None:
    keeper.librarian.error = Unavailable("Closed.")
    await keeper.settle()
    left = (await keeper.webhook()).look_at - await keeper.time()
    assert timedelta(minutes=9) < left < timedelta(minutes=11)


async def test_no_sooner_than_the_remote_says(keeper: Keeper) -> None:
    until = await keeper.time() + timedelta(hours=3)
    keeper.librarian.error = Unavailable("Closed.", until)
    await keeper.settle()
    assert (await keeper.webhook()).look_at == until


async def test_a_disabled_connection_is_called_no_more_and_is_again_when_enabled(keeper: Keeper) -> None:
    await keeper.set(enabled=False)
    await keeper.settle()
    assert keeper.librarian.webhooks == {}
    await keeper.set(enabled=True)
    await keeper.settle()
    assert len(keeper.librarian.webhooks) == 1


async def test_a_deleted_connection_leaves_nothing_at_the_remote(keeper: Keeper) -> None:
    await keeper.set(deleted_at=await keeper.time())
    await keeper.settle()
    assert keeper.librarian.webhooks == {}
    assert await keeper.left() is None


async def test_what_a_deleted_connection_left_is_given_up_after_two_days(keeper: Keeper) -> None:
    keeper.librarian.error = AuthFailed("Who are you?")
    await keeper.set(deleted_at=await keeper.time() - days(1))
    await keeper.settle()
    assert await keeper.left() is not None
    await keeper.set(deleted_at=await keeper.time() - days(3))
    await keeper.settle()
    assert await keeper.left() is None


async def test_a_paused_connection_is_left_in_peace(keeper: Keeper) -> None:
    await keeper.set(failure=Problem("auth", "Who are you?"))
    await keeper.settle()
    assert keeper.librarian.asked == ["register"]
    assert (await keeper.webhook()).wanted


async def test_another_public_address_moves_it(keeper: Keeper) -> None:
    elsewhere = Registrar(
        keeper.house.database, keeper.house.deps.remotes, keeper.house.vault, "https://new.example"
    )
    await elsewhere.settle(keeper.id)
    [url] = keeper.librarian.webhooks.values()
    assert url.startswith("https://new.example/webhooks/")


async def test_what_cannot_be_removed_from_the_old_place_does_not_keep_the_new_from_being_made(
    keeper: Keeper,
) -> None:
    await keeper.change(url="not a shelf")
    await keeper.settle()
    after = await keeper.webhook()
    assert (after.url, after.problem) == ("shelf.example/3", None)


async def test_an_address_that_became_unreachable_is_noted(keeper: Keeper) -> None:
    here = Registrar(
        keeper.house.database, keeper.house.deps.remotes, keeper.house.vault, "http://127.0.0.1:8420"
    )
    await here.settle(keeper.id)
    problem = (await keeper.webhook()).problem
    assert problem is not None
    assert "TIDEGATE_PUBLIC_URL" in problem.message


async def test_what_somebody_decides_while_the_remote_is_asked_holds(keeper: Keeper) -> None:
    before = await keeper.webhook()
    await keeper.change(wanted=False)
    await keeper.registrar._write(keeper.id, before, before)
    after = await keeper.webhook()
    assert not after.wanted
    assert await webhooks_due(keeper.house.database) == [keeper.id]


async def test_a_connection_without_registration_is_not_looked_at(keeper: Keeper) -> None:
    async with keeper.house.database.write() as connection:
        await connection.execute(update(table).values(webhook=None))
        assert not await webhooks.hurry(connection, keeper.id, await clock(connection))
    assert await keeper.settle() is None
    assert keeper.librarian.asked == ["register"]
