"""Records of a connection that was deleted with them go in the background; all others stay."""

from collections.abc import AsyncIterator

import pytest

from scheduler.scheduler import Scheduler
from store import connections
from store.database import clock
from tests.house import House
from tidegate.demo.remotes.jira import JiraCloud


class NoBell:
    async def ring(self, rings: object) -> None:
        """Nobody is to be woken here."""

    async def ring_webhook(self, connection_id: int) -> None:
        return None

    async def ring_check(self, connection_id: int) -> None:
        """Nobody is to be woken here."""


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", "token-1")
        remote.seed(30)
        yield remote


async def delete(house: House, connection_id: int, *, purge: bool) -> None:
    async with house.database.write() as connection:
        await connections.locked(connection, connection_id)
        now = await clock(connection)
        values = {"deleted_at": now, "enabled": False, "purge": purge}
        await connections.change(connection, connection_id, now, values)


async def test_records_go_with_their_connection_only_where_that_was_asked(
    house: House, site: JiraCloud
) -> None:
    credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    made = [await house.connection("jira", url, credential, callback_token=str(n)) for n in range(3)]
    for connection in made:
        await house.sync(connection.id)
    await delete(house, made[0].id, purge=False)
    await delete(house, made[1].id, purge=True)
    await Scheduler(house.database, house.deps.tables, NoBell()).purge()
    counts = [len(await house.rows("jira", "issues", connection.id)) for connection in made]
    assert counts == [30, 0, 30]
