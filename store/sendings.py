"""What is sent to subscriptions: what waits to be repeated, and the log of a week."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.outbox import Event
from store.outgoing import attempts, sendings

#: `pending` is tried again by itself, `failed` and `skipped` only by hand.
State = Literal["pending", "delivered", "failed", "skipped"]
# Written out: a partial index serves only what a statement says.
PENDING = literal("pending", literal_execute=True)


class Sending(msgspec.Struct, frozen=True):
    """One event for one subscription. `status` and `error` are of the last attempt."""

    id: int
    subscription_id: int
    position: int
    uid: str
    type: str
    source: str
    state: State
    attempts: int
    step: int
    first_at: datetime
    last_at: datetime
    next_at: datetime | None
    status: int | None
    error: str | None


class Attempt(msgspec.Struct, frozen=True):
    """One request. Without a `status` no answer came, and `error` says why."""

    id: int
    sending_id: int
    at: datetime
    by_hand: bool
    status: int | None
    milliseconds: int
    error: str | None
    excerpt: str | None


class Waiting(msgspec.Struct, frozen=True):
    """How many are to be sent again some time, when the first of them is, and which was first tried."""

    count: int
    next_at: datetime | None
    oldest: Sending | None


async def get(connection: AsyncConnection, subscription_id: int, sending_id: int) -> Sending | None:
    c = sendings.c
    query = select(sendings).where(c.id == sending_id, c.subscription_id == subscription_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else _from_row(row)


async def listed(
    connection: AsyncConnection,
    subscription_id: int,
    before: int | None,
    limit: int,
    *filters: ColumnElement[bool],
) -> Sequence[Sending]:
    """Sendings with a lower id than `before`, newest first."""
    c = sendings.c
    query = select(sendings).where(c.subscription_id == subscription_id, *filters)
    if before is not None:
        query = query.where(c.id < before)
    rows = await connection.execute(query.order_by(c.id.desc()).limit(limit))
    return [_from_row(row) for row in rows.mappings()]


async def attempts_of(connection: AsyncConnection, sending_id: int, limit: int = 100) -> Sequence[Attempt]:
    """The newest attempts of a sending, the oldest of them first."""
    c = attempts.c
    query = select(attempts).where(c.sending_id == sending_id).order_by(c.id.desc()).limit(limit)
    rows = (await connection.execute(query)).mappings().all()
    return [Attempt(**row) for row in reversed(rows)]


async def due(
    connection: AsyncConnection, subscription_id: int, at: datetime, limit: int
) -> Sequence[Sending]:
    """What is to be sent again by now, in the order of the events."""
    c = sendings.c
    query = (
        select(sendings)
        .where(c.subscription_id == subscription_id, c.state == PENDING, c.next_at <= at)
        .order_by(c.position)
        .limit(limit)
    )
    return [_from_row(row) for row in (await connection.execute(query)).mappings()]


async def waiting(connection: AsyncConnection, subscription_id: int) -> Waiting:
    """What is to be sent again some time."""
    c = sendings.c
    mine = (c.subscription_id == subscription_id, c.state == PENDING)
    count, first = (await connection.execute(select(func.count(), func.min(c.next_at)).where(*mine))).one()
    if not count:
        return Waiting(0, None, None)
    oldest = select(sendings).where(*mine).order_by(c.first_at, c.id).limit(1)
    row = (await connection.execute(oldest)).mappings().one()
    return Waiting(int(count), first, _from_row(row))


async def note(
    connection: AsyncConnection,
    subscription_id: int,
    event: Event,
    at: datetime,
    values: Mapping[str, object],
) -> int:
    """Write what came of sending an event; its id. The subscription's row is locked by the caller."""
    c = sendings.c
    there = select(c.id).where(c.subscription_id == subscription_id, c.position == event.position)
    known = (await connection.execute(there)).scalar()
    if known is not None:
        counted = {"attempts": c.attempts + 1, "last_at": at, **values}
        await connection.execute(update(sendings).where(c.id == known).values(counted))
        return int(known)
    new: dict[str, object] = {
        "subscription_id": subscription_id,
        "position": event.position,
        "uid": event.uid,
        "type": event.type,
        "source": event.source,
        "attempts": 1,
        "first_at": at,
        "last_at": at,
        **values,
    }
    return int((await connection.execute(insert(sendings).values(new).returning(c.id))).scalar_one())


async def log(connection: AsyncConnection, sending_id: int, values: Mapping[str, object]) -> None:
    """Write an attempt."""
    await connection.execute(insert(attempts).values(sending_id=sending_id, **values))


async def change(connection: AsyncConnection, sending_id: int, values: Mapping[str, object]) -> None:
    await connection.execute(update(sendings).where(sendings.c.id == sending_id).values(dict(values)))


async def hasten(connection: AsyncConnection, subscription_id: int) -> None:
    """Have all that is to be sent again sent now, before anything newer, on a schedule that begins anew."""
    c = sendings.c
    pending = update(sendings).where(c.subscription_id == subscription_id, c.state == PENDING)
    await connection.execute(pending.values(next_at=c.last_at, step=0))


async def skip(connection: AsyncConnection, subscription_id: int) -> None:
    """Let all that is to be sent again be."""
    c = sendings.c
    pending = update(sendings).where(c.subscription_id == subscription_id, c.state == PENDING)
    await connection.execute(pending.values(state="skipped", next_at=None))


async def forget(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete the log of what was last tried before a time, some at once; what is to be sent again stays.
    How many.
    """
    c = sendings.c
    old = select(c.id).where(c.last_at < before, c.state != "pending").order_by(c.last_at).limit(limit)
    return (await connection.execute(delete(sendings).where(c.id.in_(old)))).rowcount


def _from_row(row: RowMapping) -> Sending:
    return Sending(**{name: row[name] for name in Sending.__struct_fields__})
