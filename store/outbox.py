"""What happened, written in the transaction that made it happen; and what of it is still to be told."""

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import msgspec
from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.database import now
from store.schema import connections, duties, outbox

Happened = msgspec.Struct
RELAY = "relay"
WEBHOOKS = "webhooks"
#: What one process at a time does.
DUTIES = (RELAY, WEBHOOKS)


class Event(msgspec.Struct, frozen=True):
    """One thing that happened, to a connection or to a subscription; the id of the other is 0.

    `sequence` has no gaps for what it happened to, `position` none over all.
    """

    uid: str
    type: str
    connection_id: int
    subscription_id: int
    sequence: int
    at: datetime
    data: msgspec.Raw
    position: int | None = None

    @property
    def source(self) -> str:
        """What it happened to, as a path."""
        if self.subscription_id:
            return f"/subscriptions/{self.subscription_id}"
        return f"/connections/{self.connection_id}"


async def append(
    connection: AsyncConnection, connection_id: int, at: datetime, happened: Sequence[tuple[str, Happened]]
) -> None:
    """Write (type, data) pairs in their order. Takes the connection's row lock for the numbers."""
    if not happened:
        return
    made = (
        update(connections)
        .where(connections.c.id == connection_id)
        .values(event_sequence=connections.c.event_sequence + len(happened))
        .returning(connections.c.event_sequence)
    )
    last = (await connection.execute(made)).scalar_one()
    first = last - len(happened) + 1
    rows = [_row(first + i, at, kind, data, connection_id) for i, (kind, data) in enumerate(happened)]
    await connection.execute(outbox.insert(), rows)


async def append_of_subscription(
    connection: AsyncConnection, subscription_id: int, sequence: int, at: datetime, kind: str, data: Happened
) -> None:
    """Write what happened to a subscription, under a number that its locked row gave."""
    await connection.execute(outbox.insert(), [_row(sequence, at, kind, data, 0, subscription_id)])


def _row(
    sequence: int, at: datetime, kind: str, data: Happened, connection_id: int, subscription_id: int = 0
) -> dict[str, object]:
    return {
        "connection_id": connection_id,
        "subscription_id": subscription_id,
        "sequence": sequence,
        "uid": str(uuid4()),
        "type": kind,
        "at": at,
        "data": msgspec.json.encode(data).decode(),
    }


async def take_duty(connection: AsyncConnection, name: str, owner: str, seconds: float) -> int | None:
    """Take or keep a duty for `seconds`. The fence of this holding, or None while another holds it."""
    c = duties.c
    kept = (
        update(duties)
        .where(c.name == name, c.owner == owner, c.lease_until > now())
        .values(lease_until=now(seconds))
        .returning(c.fence)
    )
    fence = (await connection.execute(kept)).scalar()
    if fence is not None:
        return int(fence)
    taken = (
        update(duties)
        .where(c.name == name, (c.lease_until.is_(None)) | (c.lease_until < now()))
        .values(owner=owner, lease_until=now(seconds), fence=c.fence + 1)
        .returning(c.fence)
    )
    fence = (await connection.execute(taken)).scalar()
    return None if fence is None else int(fence)


async def holds_duty(connection: AsyncConnection, name: str, fence: int) -> bool:
    """Whether this holding of a duty is the present one, until the end of the transaction."""
    c = duties.c
    held = select(c.name).where(c.name == name, c.fence == fence, c.lease_until > now())
    return (await connection.execute(held.with_for_update(read=True))).first() is not None


async def drop_duty(connection: AsyncConnection, name: str, owner: str) -> None:
    """Let another take over at once."""
    await connection.execute(
        update(duties)
        .where(duties.c.name == name, duties.c.owner == owner)
        .values(owner=None, lease_until=None)
    )


async def give_positions(connection: AsyncConnection, fence: int, limit: int = 500) -> int:
    """Number the oldest events that have no position, densely. How many; 0 too if the fence is old."""
    c = duties.c
    held = select(c.counter).where(c.name == RELAY, c.fence == fence, c.lease_until > now()).with_for_update()
    counter = (await connection.execute(held)).scalar()
    if counter is None:
        return 0
    unsent = select(outbox.c.id).where(outbox.c.position.is_(None)).order_by(outbox.c.id).limit(limit)
    ids = (await connection.execute(unsent)).scalars().all()
    if ids:
        numbered = (
            update(outbox).where(outbox.c.id == bindparam("event")).values(position=bindparam("number"))
        )
        numbers = [{"event": event_id, "number": counter + i} for i, event_id in enumerate(ids, start=1)]
        await connection.execute(numbered, numbers)
        await connection.execute(update(duties).where(c.name == RELAY).values(counter=counter + len(ids)))
    return len(ids)


async def has_unsent(connection: AsyncConnection) -> bool:
    """Whether an event has no position yet."""
    return bool((await connection.execute(select(exists().where(outbox.c.position.is_(None))))).scalar())


async def oldest_unsent(connection: AsyncConnection) -> datetime | None:
    """When the oldest event happened that has no position yet."""
    unsent = select(outbox.c.at).where(outbox.c.position.is_(None)).order_by(outbox.c.id).limit(1)
    return (await connection.execute(unsent)).scalar()


async def after(
    connection: AsyncConnection,
    position: int,
    limit: int = 500,
    connection_id: int | None = None,
    filters: Sequence[ColumnElement[bool]] = (),
) -> list[Event]:
    """Events with a higher position, in order."""
    query = (
        select(outbox).where(outbox.c.position > position, *filters).order_by(outbox.c.position).limit(limit)
    )
    if connection_id is not None:
        query = query.where(outbox.c.connection_id == connection_id)
    return [_event(row._mapping) for row in await connection.execute(query)]


async def at_position(connection: AsyncConnection, position: int) -> Event | None:
    """The event of this position, or None if it is no longer kept."""
    query = select(outbox).where(outbox.c.position == position)
    row = (await connection.execute(query)).first()
    return None if row is None else _event(row._mapping)


async def last_position(connection: AsyncConnection) -> int:
    """The newest position given, 0 if none was."""
    found = await connection.execute(select(duties.c.counter).where(duties.c.name == RELAY))
    return int(found.scalar() or 0)


async def skip_to(connection: AsyncConnection, position: int) -> None:
    """Let the next position be higher than this."""
    c = duties.c
    await connection.execute(
        update(duties).where(c.name == RELAY, c.counter < position).values(counter=position)
    )


async def position_before(connection: AsyncConnection, since: datetime) -> int:
    """The position after which what happened since a time lies, but for what happened at the same moment.

    Found by one look, however much happened since.
    """
    c = outbox.c
    query = select(c.position).where(c.at >= since, c.position.is_not(None)).order_by(c.at).limit(1)
    first = (await connection.execute(query)).scalar()
    return int(first) - 1 if first is not None else await last_position(connection)


async def forget(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete published events older than `before`, some at once. How many."""
    c = outbox.c
    old = select(c.id).where(c.at < before, c.position.is_not(None)).order_by(c.at).limit(limit)
    return (await connection.execute(outbox.delete().where(c.id.in_(old)))).rowcount


def _event(row: RowMapping) -> Event:
    values = dict(row)
    values["data"] = msgspec.Raw(values["data"].encode())
    return Event(**{name: values[name] for name in Event.__struct_fields__})
