"""What one sync has to read, partition by partition, and how far each connection's partitions are."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from sqlalchemy import Executable, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Partition
from store.health import Problem, problem
from store.schema import cursors, sync_parts, syncs
from store.syncs import Sync

#: The feed name of the part that looks again at unfinished records; its partition is the stream.
LOOK_AGAIN = "look again"
#: The feed name of the part that reads named keys; its partition is the stream too.
NAMED = "named"
#: The feed name of the parts of a census: the partition is `stream/partition`.
CENSUS = "census"
#: The feed name of the part that asks for what a census left in doubt; its partition is the stream.
CONFIRM = "confirm"
BY_KEY = (LOOK_AGAIN, NAMED, CONFIRM)
#: What is no feed of the adapter, and so has no cursor that outlives the sync.
INNER = (*BY_KEY, CENSUS)


class Part(msgspec.Struct, frozen=True):
    """A partition within one sync. `ended`: the remote said that nothing follows."""

    feed: str
    partition: str
    mark: str
    turns: int
    cursor: str | None
    done: bool
    ended: bool
    error: Problem | None
    expected: dict[str, int] | None
    stored: dict[str, int]


class Planned(msgspec.Struct, frozen=True):
    """A partition that a sync is to read; or, with an error, could not be planned."""

    feed: str
    partition: Partition
    error: Problem | None = None


async def plan(connection: AsyncConnection, sync: Sync, planned: Sequence[Planned], behind: int = 0) -> None:
    """Write down what the sync is to read. An incremental one goes on from the stored cursors.

    What is planned later comes `behind` so many others.
    """
    known = await _cursors(connection, sync.connection_id) if sync.scope == "incremental" else {}
    rows: list[dict[str, object]] = [
        {
            "sync_id": sync.id,
            "feed": part.feed,
            "partition": part.partition.name,
            "mark": part.partition.mark,
            "position": position,
            "cursor": known.get((part.feed, part.partition.name)),
            "done": part.error is not None,
            "error": part.error,
            "stored": {},
        }
        for position, part in enumerate(planned, behind)
    ]
    if rows:
        await connection.execute(insert(sync_parts), rows)
    await connection.execute(update(syncs).where(syncs.c.id == sync.id).values(planned=True))


async def listed(connection: AsyncConnection, sync_id: int) -> list[Part]:
    """All parts of a sync, those with the fewest turns first."""
    query = (
        select(sync_parts)
        .where(sync_parts.c.sync_id == sync_id)
        .order_by(sync_parts.c.turns, sync_parts.c.position)
    )
    return [
        Part(
            **{
                **{name: row[name] for name in Part.__struct_fields__},
                "error": problem(row["error"]),
            }
        )
        for row in (await connection.execute(query)).mappings()
    ]


_ADVANCE = (
    update(sync_parts)
    .where(
        sync_parts.c.sync_id == bindparam("sync"),
        sync_parts.c.feed == bindparam("the_feed"),
        sync_parts.c.partition == bindparam("the_part"),
    )
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("cursor", "ended", "done", "turns", "expected", "stored")
        }
    )
)


async def advance(connection: AsyncConnection, sync_id: int, part: Part) -> None:
    """Write where a part stands after a page."""
    names = ("cursor", "ended", "done", "turns", "expected", "stored")
    news = {f"new_{name}": getattr(part, name) for name in names}
    where = {"sync": sync_id, "the_feed": part.feed, "the_part": part.partition}
    await connection.execute(_ADVANCE, {**where, **news})


async def save(connection: AsyncConnection, sync_id: int, touched: Sequence[Part]) -> None:
    """Write how parts stand that moved without a page: done, failed, or put back."""
    c = sync_parts.c
    made = (
        update(sync_parts)
        .where(c.sync_id == sync_id, c.feed == bindparam("the_feed"), c.partition == bindparam("the_part"))
        .values(
            done=bindparam("is_done"),
            ended=bindparam("has_ended"),
            error=bindparam("its_error"),
            turns=bindparam("its_turns"),
        )
    )
    latest = {(part.feed, part.partition): part for part in touched}
    rows = [
        {
            "the_feed": part.feed,
            "the_part": part.partition,
            "is_done": part.done,
            "has_ended": part.ended,
            "its_error": part.error,
            "its_turns": part.turns,
        }
        for part in latest.values()
    ]
    if rows:
        await connection.execute(made, rows)


async def keep_cursor(
    connection: AsyncConnection, connection_id: int, part: Part, cursor: str | None, at: datetime
) -> None:
    """Remember how far a partition of the connection has been read; its error is over."""
    await _keep(connection, connection_id, part, {"cursor": cursor, "error": None, "updated_at": at})


async def keep_errors(connection: AsyncConnection, sync: Sync, at: datetime) -> None:
    """Remember what went wrong in which partition; earlier errors are over, and cursors stay."""
    c = cursors.c
    over = update(cursors).where(c.connection_id == sync.connection_id, c.error.is_not(None))
    await connection.execute(over.values(error=None))
    for part in await listed(connection, sync.id):
        if part.error is not None and part.feed not in INNER:
            await _keep(connection, sync.connection_id, part, {"error": part.error, "updated_at": at})


async def keep_all_cursors(connection: AsyncConnection, sync: Sync, at: datetime) -> None:
    """Take over the progress that a full sync kept for itself, now that it has ended."""
    for part in await listed(connection, sync.id):
        if part.done and part.error is None and part.cursor is not None and part.feed not in INNER:
            await keep_cursor(connection, sync.connection_id, part, part.cursor, at)


async def _keep(
    connection: AsyncConnection, connection_id: int, part: Part, values: Mapping[str, object]
) -> None:
    where = {"connection_id": connection_id, "feed": part.feed, "partition": part.partition}
    made = _upsert(connection.dialect.name, tuple(values))
    await connection.execute(made, {**where, **values})


@lru_cache
def _upsert(dialect: str, names: tuple[str, ...]) -> Executable:
    """Made once for each set of columns: this runs with every page."""
    insert_into = sqlite_insert if dialect == "sqlite" else postgresql_insert
    where = ("connection_id", "feed", "partition")
    made = insert_into(cursors).values({name: bindparam(name) for name in (*where, *names)})
    keep = {name: made.excluded[name] for name in names}
    return made.on_conflict_do_update(index_elements=where, set_=keep)


async def _cursors(connection: AsyncConnection, connection_id: int) -> dict[tuple[str, str], str | None]:
    c = cursors.c
    query = select(c.feed, c.partition, c.cursor).where(c.connection_id == connection_id)
    return {(feed, part): cursor for feed, part, cursor in await connection.execute(query)}
