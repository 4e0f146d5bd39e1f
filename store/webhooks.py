"""Webhooks that Tidegate set up at remotes: what is wanted, what is there, and what stands in the way."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store.connections import locked
from store.health import Problem
from store.schema import connections

_PAGE = 1000


class Webhook(msgspec.Struct, frozen=True):
    """What is known of a connection's registration. `id` is the remote's; None: nothing is there.

    `url` and `credential_id` say where and as whom it was registered, for the connection may be another by
    now; so may its `address`, which the remote calls. `look_at` is when it is to be seen after.
    """

    wanted: bool
    look_at: datetime
    id: str | None = None
    address: str | None = None
    url: str | None = None
    credential_id: int | None = None
    registered_at: datetime | None = None
    expires_at: datetime | None = None
    problem: Problem | None = None


def place_of_secret(connection_id: int) -> str:
    """Where the webhook secret lives; the vault binds the sealed text to it."""
    return f"connections/{connection_id}/webhook_secret"


async def of(connection: AsyncConnection, connection_id: int) -> Webhook | None:
    """The registration of a connection; None where nobody ever asked for one, or nothing is left of it."""
    query = select(connections.c.webhook).where(connections.c.id == connection_id)
    return _read((await connection.execute(query)).scalar())


async def keep(connection: AsyncConnection, connection_id: int, webhook: Webhook | None) -> None:
    """Write it. The connection's row is locked by the caller."""
    made = update(connections).where(connections.c.id == connection_id)
    await connection.execute(made.values(webhook=webhook))


async def sealed_secret(connection: AsyncConnection, connection_id: int) -> str | None:
    query = select(connections.c.webhook_secret).where(connections.c.id == connection_id)
    found = (await connection.execute(query)).scalar()
    return None if found is None else str(found)


async def due(connection: AsyncConnection, now: datetime) -> Sequence[int]:
    """The connections whose registration is to be seen after, those of deleted ones among them.

    Reads the few that have one, page by page: there is no index, and once in a while is often enough.
    """
    c = connections.c
    found: list[int] = []
    last = 0
    while True:
        query = select(c.id, c.webhook).where(c.id > last, c.webhook.is_not(None)).order_by(c.id)
        rows = (await connection.execute(query.limit(_PAGE))).all()
        known = [(row.id, _read(row.webhook)) for row in rows]
        found += [number for number, webhook in known if webhook is not None and webhook.look_at <= now]
        if len(rows) < _PAGE:
            return found
        last = rows[-1].id


async def hurry(connection: AsyncConnection, connection_id: int, now: datetime, **values: object) -> bool:
    """Have a registration seen after now, with these values of it. Whether there is one.

    Without an `address` what is at the remote is removed, and what is wanted made anew. The connection's
    row is locked by the caller.
    """
    webhook = await of(connection, connection_id)
    if webhook is None:
        return False
    changed = msgspec.structs.replace(webhook, look_at=now, **values)
    await keep(connection, connection_id, changed)
    return True


async def give_out(connection: AsyncConnection, connection_id: int, now: datetime, until: datetime) -> bool:
    """Take one that is due, so that nobody else does before `until`. Whether it still was."""
    if await locked(connection, connection_id) is None:
        return False
    webhook = await of(connection, connection_id)
    if webhook is None or webhook.look_at > now:
        return False
    await keep(connection, connection_id, msgspec.structs.replace(webhook, look_at=until))
    return True


def _read(value: object) -> Webhook | None:
    return None if value is None else msgspec.convert(value, Webhook)
