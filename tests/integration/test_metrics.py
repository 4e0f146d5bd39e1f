"""Numbers for Prometheus: right over restarts and retention, and no names for strangers."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from api.metrics import WORST
from api.scrapes import Scrapes
from scheduler.scheduler import Scheduler
from scheduler.upkeep import forget
from store import outbox, tally
from store.database import Database, now
from store.outbox import RELAY
from store.schema import connections, syncs
from store.schema import outbox as outbox_table
from tests.api_server import ADMIN_KEY, Api, Rope, serving_api
from tests.house import House
from tidegate.demo.remotes.jira import JiraCloud

ENDED = "tidegate_syncs_ended_total"
READ = "tidegate_records_read_total"
Numbers = Mapping[tuple[str, tuple[str, ...]], float]


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, scrapes=Scrapes(kept_seconds=0)) as served:
        yield served


async def numbers(api: Api, key: str | None = None) -> Numbers:
    """Each sample by its name and the values of its labels, in the order of the labels' names."""
    headers = {"X-API-Key": key} if key else {}
    async with api.http.get(f"{api.url}/metrics", headers=headers) as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def stranger(api: Api) -> str:
    """What is told without a key."""
    headers = {"X-API-Key": ""}
    async with api.http.get(f"{api.url}/metrics", headers=headers) as answer:
        return await answer.text()


async def publish(database: Database) -> None:
    async with database.write() as connection:
        fence = await outbox.take_duty(connection, RELAY, "me", 60)
        assert fence is not None
        while await outbox.give_positions(connection, fence):
            pass


async def overdue(api: Api, connection_id: int, **values: object) -> None:
    async with api.context.database.write() as connection:
        c = connections.c
        await connection.execute(update(connections).where(c.id == connection_id).values(values))


async def test_what_syncs_came_to_is_counted_once_whatever_becomes_of_them(api: Api) -> None:
    """At work, ended, published, counted, forgotten: from no step to the next does a number go down."""
    made = await api.shelf("shelf.example/6")
    database, seen = api.context.database, []
    opened = await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    seen.append(await numbers(api))
    await api.house.work(opened["id"])
    seen.append(await numbers(api))
    await publish(database)
    seen.append(await numbers(api))
    assert await tally.advance(database)
    assert not await tally.advance(database)
    seen.append(await numbers(api))
    again = await api.synced(made["id"])
    old = {"finished_at": now(-100 * 86400), "started_at": now(-100 * 86400 - 1)}
    async with database.write() as connection:
        await connection.execute(update(syncs).where(syncs.c.id == opened["id"]).values(old))
        await connection.execute(update(outbox_table).values(at=now(-8 * 86400)))
    await forget(database)
    assert (await api.ask("GET", f"/v1/syncs/{opened['id']}"))[0] == 404
    seen.append(await numbers(api))
    ended = (ENDED, ("bulk", "succeeded", "shelf"))
    assert [one[ended] for one in seen] == [0, 1, 1, 1, 2]
    # Six books and three loans, and again.
    assert [one[READ, ("shelf",)] for one in seen] == [0, 9, 9, 9, 18]
    assert seen[-1]["tidegate_records_written_total", ("shelf",)] == 9
    assert seen[-1]["tidegate_sync_duration_seconds_count", ("bulk", "shelf")] == 2
    assert seen[-1]["tidegate_sync_duration_seconds_bucket", ("bulk", "+Inf", "shelf")] == 2
    assert again["state"] == "succeeded"


async def test_each_event_is_counted_once_by_however_many_schedulers(api: Api) -> None:
    made = await api.shelf("shelf.example/2")
    for _ in range(3):
        await api.synced(made["id"])
    database = api.context.database
    await publish(database)
    rope = Rope()
    schedulers = [Scheduler(database, api.context.tables, rope) for _ in range(4)]
    await asyncio.gather(*(one.tally() for one in schedulers))
    assert (await numbers(api))[ENDED, ("bulk", "succeeded", "shelf")] == 3


async def test_what_failed_and_what_was_rejected_is_told_apart(api: Api) -> None:
    torn = await api.shelf("shelf.example/3?state=torn")
    await api.synced(torn["id"])
    cancelled = await api.post(f"/v1/connections/{torn['id']}/sync", {}, 202)
    await api.post(f"/v1/syncs/{cancelled['id']}/cancel", {}, 200)
    told = await numbers(api)
    assert told[ENDED, ("bulk", "partial", "shelf")] == 1
    assert told[ENDED, ("bulk", "cancelled", "shelf")] == 1
    assert told["tidegate_records_rejected_total", ("shelf",)] == 2
    assert told["tidegate_quarantined_records", ("shelf",)] == 2
    # One that never began took no time.
    assert told["tidegate_sync_duration_seconds_count", ("bulk", "shelf")] == 1


async def test_a_sync_at_work_is_counted_as_far_as_it_is(api: Api) -> None:
    made = await api.shelf()
    opened = await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    counters = {"books": {"read": 700, "new": 600, "rejected": 1}}
    at_work = {"state": "running", "counters": counters, "requests": 7, "waited": 1500}
    async with api.context.database.write() as connection:
        await connection.execute(update(syncs).where(syncs.c.id == opened["id"]).values(at_work))
    told = await numbers(api)
    assert told[READ, ("shelf",)] == 700
    assert told["tidegate_remote_requests_total", ("shelf",)] == 7
    assert told["tidegate_remote_wait_seconds_total", ("budget", "shelf")] == 1.5
    await api.post(f"/v1/syncs/{opened['id']}/cancel", {}, 200)
    assert (await numbers(api))[READ, ("shelf",)] == 700


async def test_staleness_is_the_time_since_the_last_success_in_intervals(api: Api) -> None:
    values = [("hourly", 90), ("hourly", 150), ("daily", 5 * 24 * 60), ("manually", 10**6)]
    made = [await api.shelf(name=f"{text} {minutes}", frequency=text) for text, minutes in values]
    for one, (_, minutes) in zip(made, values, strict=True):
        await overdue(api, one["id"], last_success_at=now(-60 * minutes))
    for name, change in (("off", {"enabled": False}), ("gone", {"deleted_at": now()})):
        one = await api.shelf(name=name, frequency="hourly")
        await overdue(api, one["id"], last_success_at=now(-(10**7)), **change)
    await api.shelf(url=None, name="a draft", frequency="hourly")
    told = await numbers(api)
    assert told["tidegate_staleness_ratio_max", ()] == pytest.approx(5, abs=0.01)
    assert told["tidegate_stale_connections", ("2",)] == 2
    assert told["tidegate_stale_connections", ("3",)] == 1
    per = {labels: n for (name, labels), n in told.items() if name == "tidegate_connection_staleness_ratio"}
    assert {labels[1]: round(n, 1) for labels, n in per.items()} == {
        "hourly 90": 1.5,
        "hourly 150": 2.5,
        "daily 7200": 5.0,
    }


async def test_a_connection_that_never_succeeded_is_measured_from_its_making(api: Api) -> None:
    made = await api.shelf(frequency="hourly")
    await overdue(api, made["id"], created_at=now(-4 * 3600))
    assert (await numbers(api))["tidegate_staleness_ratio_max", ()] == pytest.approx(4, abs=0.01)


async def test_only_the_worst_have_a_series_of_their_own(api: Api) -> None:
    for n in range(WORST + 3):
        made = await api.shelf(name=f"s{n}", frequency="hourly")
        await overdue(api, made["id"], last_success_at=now(-3600 * n))
    told = await numbers(api)
    names = {labels[1] for name, labels in told if name == "tidegate_connection_staleness_ratio"}
    assert names == {f"s{n}" for n in range(3, WORST + 3)}


async def test_a_stranger_learns_no_name(api: Api) -> None:
    project = await api.post("/v1/projects", {"name": "P", "key": "p"})
    await api.shelf(name="the secret takeover", frequency="hourly", project_id=project["id"])
    assert "the secret takeover" not in await stranger(api)
    assert "takeover" in str(await numbers(api, ADMIN_KEY))
    body = {"name": "k", "permissions": ["read"]}
    narrow = await api.post("/v1/keys", {**body, "projects": [project["id"]]})
    wide = await api.post("/v1/keys", body)
    assert "takeover" not in str(await numbers(api, narrow["key"]))
    assert "takeover" in str(await numbers(api, wide["key"]))
    async with api.http.get(f"{api.url}/metrics", headers={"X-API-Key": "wrong"}) as answer:
        assert answer.status == 401


async def test_queue_and_leases_are_as_old_as_they_are(api: Api) -> None:
    made = await api.shelf()
    opened = await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    mine = update(syncs).where(syncs.c.id == opened["id"])
    async with api.context.database.write() as connection:
        await connection.execute(mine.values(run_at=now(-40)))
    told = await numbers(api)
    assert 40 <= told["tidegate_queue_age_seconds", ("bulk",)] < 70
    assert told["tidegate_queue_age_seconds", ("records",)] == 0
    assert told["tidegate_lease_age_seconds", ()] == 0
    async with api.context.database.write() as connection:
        held = {"state": "running", "lease_owner": "somebody", "lease_until": now(3)}
        await connection.execute(mine.values(held))
    told = await numbers(api)
    assert told["tidegate_queue_age_seconds", ("bulk",)] == 0
    assert 7 <= told["tidegate_lease_age_seconds", ()] < 37


async def test_webhooks_that_came_in_are_counted_over_all_processes(api: Api) -> None:
    made = await api.shelf(webhook_secret="between us and the shelf")
    path = f"{api.url}/webhooks/{made['callback_token']}"
    good = {"X-Shelf-Secret": "between us and the shelf"}
    for body, headers in ((b'{"books":["b01"]}', good), (b"{}", good), (b"{}", {}), (b"no", good)):
        async with api.http.post(path, data=body, headers=headers):
            pass
    async with api.http.post(f"{api.url}/webhooks/nobody", data=b"{}"):
        pass
    async with serving_api(api.context.database, scrapes=Scrapes(kept_seconds=0)) as other:
        async with api.http.post(f"{other.url}/webhooks/{made['callback_token']}", data=b"{}", headers=good):
            pass
        await numbers(api)
        told = await numbers(other)
    name = "tidegate_webhooks_received_total"
    counted = {labels: count for (one, labels), count in told.items() if one == name}
    assert counted == {
        ("accepted", "shelf"): 1,
        ("ignored", "shelf"): 2,
        ("refused", "shelf"): 2,
        ("refused", "unknown"): 1,
    }


async def test_attempts_of_a_subscription_that_is_removed_stay_counted(api: Api) -> None:
    made = await api.post("/v1/subscriptions", {"name": "s", "url": "https://hooks.example/"})
    async with api.context.database.write() as connection:
        await connection.exec_driver_sql("UPDATE subscriptions SET delivered = 5, refused = 2")
    for _ in range(2):
        told = await numbers(api)
        assert told["tidegate_webhook_attempts_total", ("delivered",)] == 5
        assert told["tidegate_webhook_attempts_total", ("refused",)] == 2
        await api.ask("DELETE", f"/v1/subscriptions/{made['id']}")


async def test_without_a_database_it_says_so_and_what_it_knows(database: Database) -> None:
    async def redis_answers() -> bool:
        return False

    gone = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    async with serving_api(database, database=gone, redis_answers=redis_answers) as api:
        told = await numbers(api, ADMIN_KEY)
        assert told["tidegate_database_up", ()] == 0
        assert told["tidegate_redis_up", ()] == 0
        assert told["tidegate_build_info", ("0.1.0",)] == 1
        assert (ENDED, ("bulk", "succeeded", "shelf")) not in told


async def test_who_asks_again_within_a_second_costs_nothing(database: Database) -> None:
    async with serving_api(database, scrapes=Scrapes(kept_seconds=3600)) as api:
        first = await stranger(api)
        await api.shelf()
        assert await stranger(api) == first


async def test_answers_that_it_was_too_much_are_counted_and_what_they_made_wait(
    house: House, site: JiraCloud
) -> None:
    site.seed(3)
    number = site.add_filter("project = TG")
    credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
    made = await house.connection("jira", f"{site.url}/issues/?filter={number}", credential)
    site.limit(1, retry_after=20)
    await house.sync(made.id)
    await house.deps.remotes.counts.write(house.database)
    async with serving_api(house.database, house.deps.remotes.adapters, scrapes=Scrapes(0)) as api:
        told = await numbers(api)
    assert told["tidegate_remote_rate_limited_total", ("jira",)] == 1
    waited = told["tidegate_remote_wait_seconds_total", ("rate_limited", "jira")]
    assert 15 < waited < 25
    assert told["tidegate_remote_requests_total", ("jira",)] >= 1
