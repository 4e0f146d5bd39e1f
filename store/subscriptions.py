"""Subscriptions: who is to be told of which events, at which address, and how that gets on."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import and_, delete, exists, func, insert, or_, select, true, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store import counts, outbox
from store.database import to_text
from store.health import CONNECTION_STATUS, Problem, problem
from store.outbox import RELAY, Event
from store.outgoing import sendings, subscriptions
from store.schema import connections, duties
from store.schema import outbox as outbox_table
from store.sendings import PENDING
from store.syncs import STATUS

SUBSCRIPTION_STATUS = "subscription_status"
#: The types of events, as their names end.
TYPES = (STATUS, CONNECTION_STATUS, SUBSCRIPTION_STATUS)
#: For so long the secret before the present one signs, too.
OVERLAP = timedelta(hours=24)


class Subscription(msgspec.Struct, frozen=True):
    """A subscription without its secrets. Of `types` to `healths` None is all."""

    id: int
    name: str
    project_id: int | None
    url: str
    types: list[str] | None
    systems: list[str] | None
    connection_ids: list[int] | None
    states: list[str] | None
    healths: list[str] | None
    old_until: datetime | None
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: Problem | None
    position: int
    failing_since: datetime | None
    failing_step: int
    paused_until: datetime | None
    last_error: Problem | None
    last_error_at: datetime | None
    last_success_at: datetime | None
    delivered: int
    refused: int
    created_at: datetime
    updated_at: datetime


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """The data of a `subscription_status` event: it was switched on, or off and why."""

    id: int
    name: str
    project_id: int | None
    enabled: bool
    since: str
    reason: Problem | None
    last_success_at: str | None


class Sealed(msgspec.Struct, frozen=True):
    """The secrets of a subscription, as the vault sealed them."""

    secret: str
    old_secret: str | None
    old_until: datetime | None


class Due(msgspec.Struct, frozen=True):
    """A subscription that may have something to send: events up to `newest`, or sendings to be repeated."""

    id: int
    newest: int
    repeats: bool


def place(subscription_id: int) -> str:
    """Where the secret lives; the vault binds the sealed text to it."""
    return f"subscriptions/{subscription_id}/secret"


def old_place(subscription_id: int) -> str:
    """The same for the secret before it."""
    return f"subscriptions/{subscription_id}/old_secret"


def from_row(row: RowMapping) -> Subscription:
    values = {name: row[name] for name in Subscription.__struct_fields__}
    for name in ("disabled_reason", "last_error"):
        values[name] = problem(row[name])
    return Subscription(**values)


async def add(connection: AsyncConnection, values: Mapping[str, object], now: datetime) -> int:
    """Insert a subscription to what happens from now on, still without its secret. Its id."""
    position = await outbox.last_position(connection)
    defaults = {"enabled": True, "position": position, "created_at": now, "updated_at": now}
    made = insert(subscriptions).values({**defaults, **values}).returning(subscriptions.c.id)
    return int((await connection.execute(made)).scalar_one())


async def change(connection: AsyncConnection, subscription_id: int, values: Mapping[str, object]) -> None:
    made = update(subscriptions).where(subscriptions.c.id == subscription_id)
    await connection.execute(made.values(dict(values)))


async def get(connection: AsyncConnection, subscription_id: int) -> Subscription | None:
    query = select(subscriptions).where(subscriptions.c.id == subscription_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(row)


async def locked(connection: AsyncConnection, subscription_id: int) -> Subscription | None:
    """One subscription, locked until the end of the transaction."""
    query = select(subscriptions).where(subscriptions.c.id == subscription_id).with_for_update()
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(row)


async def listed(
    connection: AsyncConnection, after: int, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Subscription]:
    """Subscriptions with a higher id than `after`, ascending."""
    c = subscriptions.c
    query = select(subscriptions).where(c.id > after, *filters).order_by(c.id).limit(limit)
    return [from_row(row) for row in (await connection.execute(query)).mappings()]


async def advance(connection: AsyncConnection, subscription_id: int, position: int) -> None:
    """Nothing up to this position is left for it."""
    c = subscriptions.c
    made = update(subscriptions).where(c.id == subscription_id, c.position < position)
    await connection.execute(made.values(position=position))


async def remove(connection: AsyncConnection, subscription_id: int) -> None:
    """Remove a subscription with all that was sent to it. How often that was stays counted."""
    c = subscriptions.c
    query = delete(subscriptions).where(c.id == subscription_id).returning(c.delivered, c.refused)
    row = (await connection.execute(query)).first()
    if row is not None:
        attempts = {"delivered": row.delivered, "refused": row.refused}
        await counts.add(connection, {f"{counts.REMOVED_ATTEMPTS} {word}": n for word, n in attempts.items()})


async def sealed(connection: AsyncConnection, subscription_id: int) -> Sealed | None:
    """The secrets, or None where there is no such subscription."""
    c = subscriptions.c
    query = select(c.secret, c.old_secret, c.old_until).where(c.id == subscription_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Sealed(**row)


async def switch(
    connection: AsyncConnection,
    subscription_id: int,
    at: datetime,
    *,
    on: bool,
    reason: Problem | None = None,
) -> None:
    """Switch on or off, and tell of it. The row is locked by the caller."""
    c = subscriptions.c
    values: dict[str, object] = {
        "enabled": on,
        "disabled_at": None if on else at,
        "disabled_reason": reason,
        "failing_since": None,
        "failing_step": 0,
        "paused_until": None,
        "event_sequence": c.event_sequence + 1,
    }
    made = update(subscriptions).where(c.id == subscription_id).values(values)
    row = (await connection.execute(made.returning(subscriptions))).mappings().one()
    found = from_row(row)
    last = to_text(found.last_success_at) if found.last_success_at else None
    told = SubscriptionStatus(found.id, found.name, found.project_id, on, to_text(at), reason, last)
    sequence = row["event_sequence"]
    await outbox.append_of_subscription(connection, subscription_id, sequence, at, SUBSCRIPTION_STATUS, told)


async def due(connection: AsyncConnection, at: datetime) -> Sequence[Due]:
    """Subscriptions that are on, do not wait, and are behind the newest event or have to repeat one."""
    c, s = subscriptions.c, sendings.c
    newest = func.coalesce(select(duties.c.counter).where(duties.c.name == RELAY).scalar_subquery(), 0)
    repeats = exists().where(s.subscription_id == c.id, s.state == PENDING, s.next_at <= at)
    query = (
        select(c.id, newest.label("newest"), repeats.label("repeats"))
        .where(c.enabled, or_(c.paused_until.is_(None), c.paused_until <= at))
        .where(or_(c.position < newest, repeats))
        .order_by(c.id)
    )
    return [Due(one.id, int(one.newest), bool(one.repeats)) for one in await connection.execute(query)]


async def totals(connection: AsyncConnection) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """How many subscriptions there are by status, and how many attempts by what came of them: also those of
    subscriptions that were removed.
    """
    c = subscriptions.c
    found = {"active": 0, "failing": 0, "disabled": 0}
    removed = await counts.counted(connection, counts.REMOVED_ATTEMPTS)
    outcomes = {word: removed.get((word,), 0) for word in ("delivered", "refused")}
    waits = c.paused_until.is_not(None)
    query = select(c.enabled, waits, func.count(), func.sum(c.delivered), func.sum(c.refused)).group_by(
        c.enabled, waits
    )
    for enabled, failing, count, delivered, refused in await connection.execute(query):
        found["disabled" if not enabled else "failing" if failing else "active"] += count
        outcomes["delivered"] += int(delivered)
        outcomes["refused"] += int(refused)
    return found, outcomes


def wanted(one: Subscription) -> Sequence[ColumnElement[bool]]:
    """Which rows of the outbox a subscription may want; `matches` says of each whether it does."""
    o, c = outbox_table.c, connections.c
    filters: list[ColumnElement[bool]] = []
    if one.types is not None:
        filters.append(o.type.in_(one.types))
    of_connections: list[ColumnElement[bool]] = []
    if one.connection_ids is not None:
        of_connections.append(o.connection_id.in_(one.connection_ids))
    if one.project_id is not None or one.systems is not None:
        mine = select(c.id)
        if one.project_id is not None:
            mine = mine.where(c.project_id == one.project_id)
        if one.systems is not None:
            mine = mine.where(c.system.in_(one.systems))
        of_connections.append(o.connection_id.in_(mine))
    scopes = [and_(true(), o.connection_id != 0, *of_connections)]
    if one.connection_ids is None and one.systems is None:
        scopes.append(and_(o.subscription_id.not_in((0, one.id)), *_of_project(one.project_id)))
    return [*filters, or_(*scopes)]


def _of_project(project_id: int | None) -> Sequence[ColumnElement[bool]]:
    if project_id is None:
        return ()
    c = subscriptions.c
    return (outbox_table.c.subscription_id.in_(select(c.id).where(c.project_id == project_id)),)


class _Data(msgspec.Struct):
    """The members of any event that are filtered by."""

    state: str = ""
    health: str = ""


def matches(one: Subscription, event: Event) -> bool:
    """Whether an event that passed `wanted` is for the subscription by its data, too."""
    if event.type == STATUS and one.states is not None:
        return msgspec.json.decode(event.data, type=_Data).state in one.states
    if event.type == CONNECTION_STATUS and one.healths is not None:
        return msgspec.json.decode(event.data, type=_Data).health in one.healths
    return True
