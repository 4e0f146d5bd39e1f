"""What must be true after any accident, however it went."""

from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import Text, cast, func, select

from events.envelope import STREAM
from store.database import now
from store.schema import ENDED, connections, cursors, outbox, syncs
from tests.chaos.gate import TOKEN
from tests.chaos.town import ADMIN_KEY, SECRET_KEY, Town

SETTLE_SECONDS = 15.0
#: Longer than any test takes, shorter ago than anything was seeded.
YOUNG = timedelta(hours=1)


async def holds(town: Town, *, settled: bool = True) -> None:
    """All syncs have ended, and: nothing lost, nothing doubled, everything told once and in order. `settled`:
    what was seeded was read once, so that it is not read again.
    """
    town.nobody_died()
    await nothing_is_left_held(town)
    await the_file_is_sound(town)
    for connection_id in town.projects:
        await the_copy_is_right(town, connection_id)
    await no_secret_is_told(town)
    await each_sync_ended_once(town)
    await sequences_have_no_gap(town)
    await the_stream_is_complete(town)
    await the_cursor_is_right(town, settled=settled)


async def the_copy_is_right(town: Town, connection_id: int) -> None:
    """The records are the remote's, byte for byte, each of them once."""
    jira, project = town.jira, town.projects[connection_id]
    there = sorted((str(i.id), jira.body(i).decode()) for i in jira.issues.values() if i.project == project)
    table = town.tables.get("jira", "issues").table
    query = select(table.c.key, cast(table.c.body, Text).label("body")).where(
        table.c.connection_id == connection_id
    )
    async with town.database.read() as connection:
        rows = await connection.execute(query)
    here = sorted((row.key, _alone(row.body)) for row in rows)
    assert [key for key, _ in here] == [key for key, _ in there]
    assert here == there


def _alone(body: str) -> str:
    """An issue without its history, which is asked for beside it and stands at its end."""
    issue, history, _ = body.partition(',"changelog":')
    return issue + "}" if history else body


async def the_file_is_sound(town: Town) -> None:
    """What SQLite itself says of its file."""
    if town.database.is_sqlite:
        async with town.database.read() as connection:
            found = await connection.exec_driver_sql("PRAGMA quick_check")
            assert found.scalar_one() == "ok"


async def no_secret_is_told(town: Town) -> None:
    """The password of the remote and the keys of this installation are in no log, no event, nor in Redis."""
    secrets = [TOKEN, SECRET_KEY, ADMIN_KEY]
    logs = "".join(role.text() for role in town.roles)
    events = "".join(str(data) for _, _, data in await told(town))
    assert [secret for secret in secrets if secret in logs or secret in events] == []
    async with town.redis() as redis:
        async for key in redis.scan_iter(count=1000):
            assert not [secret for secret in secrets if secret.encode() in (await redis.dump(key) or b"")]


async def nothing_is_left_held(town: Town) -> None:
    """No sync is open, and no lease is older than 15 s (it is 10 s ahead when it is renewed)."""
    c = syncs.c
    async with town.database.read() as connection:
        open_ = await connection.execute(select(c.id, c.state).where(c.state.not_in(ENDED)))
        assert open_.all() == []
        held = select(c.id, c.lease_owner).where(c.lease_owner.is_not(None), c.lease_until < now(-5))
        assert (await connection.execute(held)).all() == []


async def each_sync_ended_once(town: Town) -> None:
    """As many events of an end as syncs that ended: one for each."""
    ends: dict[int, list[str]] = {}
    for _, _, data in await told(town):
        if data.get("state") in ENDED:
            ends.setdefault(int(str(data["id"])), []).append(str(data["state"]))
    async with town.database.read() as connection:
        rows = (await connection.execute(select(syncs.c.id, syncs.c.state))).all()
    assert ends == {row.id: [row.state] for row in rows}


async def sequences_have_no_gap(town: Town) -> None:
    async with town.database.read() as connection:
        counted = await connection.execute(select(connections.c.id, connections.c.event_sequence))
        last = {row.id: row.event_sequence for row in counted}
    seen: dict[int, list[int]] = {connection_id: [] for connection_id in last}
    for of, number, _ in await told(town):
        seen[of].append(number)
    assert seen == {of: list(range(1, sequence + 1)) for of, sequence in last.items()}


async def told(town: Town) -> list[tuple[int, int, dict[str, object]]]:
    """All events of the outbox: connection, sequence, data."""
    query = select(outbox).order_by(outbox.c.connection_id, outbox.c.sequence)
    async with town.database.read() as connection:
        rows = (await connection.execute(query)).mappings().all()
    return [(row["connection_id"], row["sequence"], msgspec.json.decode(row["data"])) for row in rows]


async def the_stream_is_complete(town: Town) -> None:
    """Every event is on the Redis stream, at its position, and positions have no gap."""

    async def complete() -> bool:
        query = select(outbox.c.position, outbox.c.uid).order_by(outbox.c.position)
        async with town.database.read() as connection:
            rows = [(row.position, row.uid) for row in await connection.execute(query)]
        async with town.redis() as redis:
            entries = await redis.xrange(STREAM)
        sent = [(int(at.split(b"-")[0]), msgspec.json.decode(f[b"event"])["id"]) for at, f in entries]
        return [position for position, _ in rows] == list(range(1, len(rows) + 1)) and sent == rows

    await town.until(complete, SETTLE_SECONDS, "the stream has all events in their order", every=0.3)


async def the_cursor_is_right(town: Town, *, settled: bool) -> None:
    """The next sync finds what changed, and only that."""
    connection_id, project = next(iter(town.projects.items()))
    async with town.database.read() as connection:
        kept = select(func.count()).where(
            cursors.c.connection_id == connection_id, cursors.c.cursor.is_not(None)
        )
        assert (await connection.execute(kept)).scalar_one() == 1
    issue = next(issue for issue in town.jira.issues.values() if issue.project == project)
    town.jira.update_issue(issue.id, summary="The tide came in")
    town.jira.create_issue(project, "A new gauge")
    sync_id = await town.sync(connection_id)
    await town.ends(sync_id)
    counts = (await town.one(sync_id))["counters"]["issues"]
    assert (counts["new"], counts["changed"]) == (1, 1)
    await the_copy_is_right(town, connection_id)
    if not settled:
        return
    # What was seeded is older than any overlap: it is not read again.
    young = datetime.now(UTC) - YOUNG
    mine = [issue for issue in town.jira.issues.values() if issue.project == project]
    assert counts["read"] == sum(issue.updated > young for issue in mine)
