"""A connection that is refused pauses: no account gets locked by syncs that were queued before."""

from datetime import timedelta

from scheduler.dispatch import Request
from scheduler.due import open_looks
from store import claims, connections, syncs
from store.database import clock, now
from store.health import CONNECTION_STATUS
from tests.house import House
from tidegate.demo.remotes.jira import JiraCloud


async def refused(house: House, site: JiraCloud) -> int:
    """A connection with a wrong secret, not synced yet."""
    site.add_account("ana@example.com", "token-1")
    site.seed(3)
    credential = await house.credential("jira", "basic", "ana@example.com", "wrong")
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    return (await house.connection("jira", url, credential)).id


async def test_what_was_queued_before_is_withdrawn_and_remembered(house: House) -> None:
    async with JiraCloud() as site:
        connection_id = await refused(house, site)
        first = await house.open(connection_id, Request("schedule"))
        named = await house.open(connection_id, Request("webhook", "records", {"issues": ["1"]}))
        failed = await house.work(first.id)
        withdrawn = await house.status(named.id)
    assert failed.error is not None
    assert (failed.state, failed.error.kind) == ("failed", "auth")
    assert (withdrawn.state, withdrawn.error) == ("cancelled", failed.error)
    assert len(site.ledger) == 1


async def test_withdrawing_what_is_queued_is_no_change_of_health_of_its_own(house: House) -> None:
    async with JiraCloud() as site:
        connection_id = await refused(house, site)
        first = await house.open(connection_id, Request("schedule"))
        async with house.database.write() as connection:
            assert await claims.claim(connection, first.id, "somebody who was killed") is not None
            await syncs.set_values(connection, first.id, {"lease_until": now(-1), "claim_pages": 1})
        queued = await house.open(connection_id, Request("schedule"))
        await house.work(first.id)
    assert (await house.status(queued.id)).state == "cancelled"
    told = [
        data["health"] for _, kind, data in await house.events(connection_id) if kind == CONNECTION_STATUS
    ]
    assert told == ["processing", "failed"]


async def test_what_a_person_asked_for_still_goes_through(house: House) -> None:
    async with JiraCloud() as site:
        connection_id = await refused(house, site)
        first = await house.open(connection_id, Request("schedule"))
        named = await house.open(connection_id, Request("api", "records", {"issues": ["1"]}))
        await house.work(first.id)
    assert (await house.status(named.id)).state == "queued"


async def test_a_paused_connection_is_not_looked_at_again(house: House) -> None:
    async with JiraCloud() as site:
        connection_id = await refused(house, site)
        await house.sync(connection_id)
    async with house.database.write() as connection:
        at = await clock(connection)
        values = {"frequency": "hourly", "next_look_at": at - timedelta(minutes=1)}
        await connections.change(connection, connection_id, at, values)
    assert await open_looks(house.database) == []
    async with house.database.read() as connection:
        row = await connections.held(connection, connection_id)
    assert row is not None
    assert row["remembered"] == 0
