"""What is forgotten in time, and what never is."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select, update

from scheduler.upkeep import Kept, forget
from store import outbox
from store.database import clock
from store.outbox import RELAY
from store.outgoing import attempts, sendings, subscriptions
from store.schema import (
    audit,
    connections,
    debug_log,
    deliveries,
    idempotency,
    processes,
    quarantine,
    syncs,
)
from store.schema import outbox as outbox_table
from tests.house import House
from tidegate.demo.remotes.jira import JiraCloud


async def connect(house: House, site: JiraCloud) -> int:
    credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
    number = site.add_filter("project = TG")
    made = await house.connection(
        "jira", f"{site.url}/issues/?filter={number}", credential, callback_token=f"t{number}"
    )
    return made.id


async def ago(house: House, **span: float) -> datetime:
    async with house.database.read() as connection:
        return await clock(connection) - timedelta(**span)


async def put(house: House, table: Table, *rows: dict[str, Any]) -> None:
    async with house.database.write() as connection:
        for row in rows:
            await connection.execute(insert(table).values(row))


async def count(house: House, table: Table) -> int:
    async with house.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_syncs_are_forgotten_but_the_last_of_each_connection(house: House, site: JiraCloud) -> None:
    ids = [await connect(house, site) for _ in range(2)]
    made = [(await house.sync(one)).id for one in ids for _ in range(3)]
    async with house.database.write() as connection:
        at = await clock(connection) - timedelta(days=91)
        await connection.execute(update(syncs).where(syncs.c.id != made[1]).values(finished_at=at))
    await forget(house.database)
    async with house.database.read() as connection:
        kept = (await connection.execute(select(syncs.c.id).order_by(syncs.c.id))).scalars().all()
    assert kept == [made[1], made[2], made[5]]


async def test_all_that_is_past_keeping_is_forgotten_however_much_it_is(
    house: House, site: JiraCloud
) -> None:
    """What is made in an hour, of very many connections, must be gone within an hour, too."""
    old = await ago(house, days=100)
    of = {"connection_id": await connect(house, site)}
    over: dict[str, Any] = {
        "lane": "bulk",
        "trigger": "schedule",
        "scope": "incremental",
        "state": "succeeded",
        "counters": {},
    }
    over |= {"queued_at": old, "run_at": old, "finished_at": old}
    told = {"type": "status", "at": old, "data": "{}"}
    async with house.database.write() as connection:
        await connection.execute(insert(syncs), [{**of, **over} for _ in range(1_200)])
        events = [{**of, **told, "sequence": n, "uid": str(n), "position": n} for n in range(1, 1_201)]
        await connection.execute(insert(outbox_table), events)
    await forget(house.database)
    assert (await count(house, syncs), await count(house, outbox_table)) == (1, 0)


async def test_events_are_forgotten_after_a_week_once_they_are_published(
    house: House, site: JiraCloud
) -> None:
    await house.sync(await connect(house, site))
    async with house.database.write() as connection:
        at = await clock(connection)
        await connection.execute(update(outbox_table).values(at=at - timedelta(days=8)))
    before = await count(house, outbox_table)
    await forget(house.database)
    assert await count(house, outbox_table) == before > 1
    async with house.database.write() as connection:
        fence = await outbox.take_duty(connection, RELAY, "me", 60)
        assert fence is not None
        await outbox.give_positions(connection, fence)
        await connection.execute(update(outbox_table).where(outbox_table.c.sequence == 1).values(at=at))
    await forget(house.database)
    assert await count(house, outbox_table) == 1


async def test_deliveries_answers_entries_and_processes_are_forgotten_in_their_time(
    house: House, site: JiraCloud
) -> None:
    number = await connect(house, site)
    for days, uid in ((8, "old"), (6, "new")):
        at = await ago(house, days=days)
        await put(house, deliveries, {"connection_id": number, "uid": uid, "at": at})
    for hours, key in ((25, "old"), (23, "new")):
        at = await ago(house, hours=hours)
        await put(house, idempotency, {"caller": "me", "key": key, "request": "", "at": at})
    for days in (401, 399):
        at = await ago(house, days=days)
        row = {"at": at, "actor": "me", "action": "create", "subject": "connection", "detail": {}}
        await put(house, audit, row)
    for minutes, name in ((61, "old"), (1, "new")):
        at = await ago(house, minutes=minutes)
        row = {"id": name, "role": "api", "host": "h", "pid": 1, "started_at": at, "seen_at": at}
        await put(house, processes, row)
    await forget(house.database)
    assert [await count(house, table) for table in (deliveries, idempotency, audit, processes)] == [1] * 4


async def test_the_log_of_webhooks_out_is_forgotten_but_not_what_is_still_to_be_sent(house: House) -> None:
    at = await ago(house, days=9)
    times = {"created_at": at, "updated_at": at}
    hook = {"id": 1, "name": "s", "url": "https://hooks.example", "enabled": True, "position": 0}
    await put(house, subscriptions, {**hook, **times})
    for number, state in enumerate(("delivered", "pending"), start=1):
        sending = {"id": number, "subscription_id": 1, "position": number, "uid": "u", "type": "t"}
        sending |= {"source": "s", "state": state, "first_at": at, "last_at": at}
        await put(house, sendings, sending)
        await put(house, attempts, {"sending_id": number, "at": at, "by_hand": False, "milliseconds": 1})
    await forget(house.database)
    assert (await count(house, sendings), await count(house, attempts)) == (1, 1)


async def test_what_is_in_quarantine_stays_unless_it_will_never_be_read(
    house: House, site: JiraCloud
) -> None:
    here, removed = [await connect(house, site) for _ in range(2)]
    issue = site.seed(1)[0]
    await house.sync(here)
    old, young = await ago(house, days=31), await ago(house, days=29)
    held = [(here, str(issue.id), old), (here, "missing", old), (removed, "1", old), (removed, "2", young)]
    for connection_id, key, at in held:
        row = {"connection_id": connection_id, "stream": "issues", "key": key, "reason": "r", "body": "b"}
        await put(house, quarantine, {**row, "sync_id": 1, "at": at})
    table = house.deps.tables.get("jira", "issues").table
    async with house.database.write() as connection:
        await connection.execute(update(table).values(gone_at=old, gone_reason="deleted"))
        gone = update(connections).where(connections.c.id == removed).values(deleted_at=old)
        await connection.execute(gone)
    await forget(house.database, house.deps.tables)
    assert {(row["connection_id"], row["key"]) for row in await house.quarantined()} == {
        (here, "missing"),
        (removed, "2"),
    }


@pytest.mark.parametrize(("days", "left"), [(None, 4), (30, 3)])
async def test_tombstones_stay_for_ever_or_as_long_as_is_set(
    house: House, site: JiraCloud, days: int | None, left: int
) -> None:
    issues = site.seed(4)
    await house.sync(await connect(house, site))
    table = house.deps.tables.get("jira", "issues").table
    marks = [("deleted", 31), ("rotated", 31), ("left", 29)]
    for issue, (reason, since) in zip(issues, marks, strict=False):
        at = await ago(house, days=since)
        async with house.database.write() as connection:
            gone = update(table).where(table.c.key == str(issue.id))
            await connection.execute(gone.values(gone_at=at, gone_reason=reason))
    await forget(house.database, house.deps.tables, Kept(tombstones=timedelta(days=days) if days else None))
    assert await count(house, table) == left
    async with house.database.read() as connection:
        keys = {*(await connection.execute(select(table.c.key))).scalars()}
    assert (str(issues[0].id) in keys) == (days is None)


async def test_each_kind_is_kept_for_as_long_as_is_set(house: House, site: JiraCloud) -> None:
    """What is two days old goes where a day is set, and stays where it is not."""
    number = await connect(house, site)
    await house.sync(number)
    await house.sync(number)
    at = await ago(house, days=2)
    row = {"at": at, "actor": "me", "action": "create", "subject": "connection", "detail": {}}
    await put(house, audit, row)
    await put(house, deliveries, {"connection_id": number, "uid": "u", "at": at})
    line = {"connection_id": number, "sync_id": 1, "at": at, "event": "page", "detail": {}}
    await put(house, debug_log, line)
    held = {"connection_id": number, "stream": "issues", "key": "1", "reason": "r", "body": "b"}
    await put(house, quarantine, {**held, "sync_id": 1, "at": at})
    async with house.database.write() as connection:
        fence = await outbox.take_duty(connection, RELAY, "me", 60)
        assert fence is not None
        await outbox.give_positions(connection, fence)
        await connection.execute(update(outbox_table).values(at=at))
        await connection.execute(update(syncs).values(finished_at=at))
        await connection.execute(update(connections).values(deleted_at=at))
    tables = (outbox_table, syncs, audit, deliveries, debug_log, quarantine)
    before = [await count(house, table) for table in tables]
    await forget(house.database, house.deps.tables)
    assert [await count(house, table) for table in tables] == before
    day = timedelta(days=1)
    short = Kept(events=day, syncs=day, deliveries=day, audit=day, debug_log=day, quarantine=day)
    await forget(house.database, house.deps.tables, short)
    assert [await count(house, table) for table in tables] == [0, 1, 0, 0, 0, 0]
