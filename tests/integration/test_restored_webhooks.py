"""Webhooks after a restore: what the subscribers know already comes under the ids that they know."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.http import utc_now
from config.logs import Redactor
from config.settings import Settings
from store.database import Database
from tests.house import House, open_house
from tests.integration.test_backup import ground, target
from tests.subscribers import Receiver, open_office, receiving
from tidegate import backup

pytestmark = pytest.mark.sqlite_does


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(utc_now) as made:
        yield made


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], ids=["to_sqlite", "to_postgres"]
)
async def other(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Settings, Database]]:
    async with target(request.param, tmp_path) as made:
        yield made


async def test_what_is_sent_again_after_a_restore_has_the_ids_of_before(
    house: House, receiver: Receiver, other: tuple[Settings, Database], tmp_path: Path
) -> None:
    connection_id = (await house.connection("jira", "https://jira.example.com/issues/?filter=1")).id
    async with open_office(house) as office:
        await office.subscribe(receiver.url)
        await office.happen(connection_id, 3)
        await office.sender.once()
        receiver.answer(500)
        await office.happen(connection_id, 3)
        await office.sender.once()
        await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
        # What was backed up goes on for a while, and its subscribers learn of everything.
        receiver.answer(204)
        await office.pass_time(hours=1)
    known = {got.number: (got.uid, got.body) for got in receiver.got}
    assert sorted(known) == [1, 2, 3, 4, 5, 6]
    receiver.got.clear()
    settings, restored = other
    await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    async with open_house(restored) as again, open_office(again) as office:
        await office.pass_time(hours=1)
        assert list(dict.fromkeys(receiver.numbers)) == [4, 5, 6]
        assert {got.number: (got.uid, got.body) for got in receiver.got} == {n: known[n] for n in (4, 5, 6)}
        await office.happen(connection_id)
        await office.pass_time(hours=1)
    assert len(receiver.numbers) == 4
    assert receiver.got[-1].uid not in {uid for uid, _ in known.values()}
