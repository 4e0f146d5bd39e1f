"""Projects: what connections are grouped under."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.outgoing import subscriptions
from store.schema import connections, keys, projects


class Project(msgspec.Struct, frozen=True):
    id: int
    key: str
    name: str
    created_at: datetime
    updated_at: datetime


async def add(connection: AsyncConnection, key: str, name: str, now: datetime) -> int:
    made = (
        insert(projects).values(key=key, name=name, created_at=now, updated_at=now).returning(projects.c.id)
    )
    return int((await connection.execute(made)).scalar_one())


async def change(
    connection: AsyncConnection, project_id: int, values: Mapping[str, object], now: datetime
) -> None:
    made = update(projects).where(projects.c.id == project_id)
    await connection.execute(made.values({**values, "updated_at": now}))


async def locked(connection: AsyncConnection, project_id: int) -> Project | None:
    """One project, locked until the end of the transaction: no connection can be put into it meanwhile."""
    query = select(projects).where(projects.c.id == project_id).with_for_update()
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Project(**row)


async def users(connection: AsyncConnection, project_id: int) -> Mapping[str, Sequence[int]]:
    """The ids of what uses it, by kind and ascending: living connections in it, keys in use that are limited
    to it, subscriptions to it.
    """
    c, k = connections.c, keys.c
    inside = select(c.id).where(c.project_id == project_id, c.deleted_at.is_(None)).order_by(c.id)
    limited = select(k.id, k.projects).where(k.projects.is_not(None), k.revoked_at.is_(None)).order_by(k.id)
    found = (await connection.execute(limited)).all()
    told = select(subscriptions.c.id).where(subscriptions.c.project_id == project_id)
    return {
        "connection": (await connection.execute(inside)).scalars().all(),
        "API key": [key_id for key_id, of in found if project_id in (of or ())],
        "subscription": (await connection.execute(told.order_by(subscriptions.c.id))).scalars().all(),
    }


async def delete(connection: AsyncConnection, project_id: int) -> None:
    """Remove a project that nothing living is in; deleted connections forget it."""
    c = connections.c
    await connection.execute(update(connections).where(c.project_id == project_id).values(project_id=None))
    await connection.execute(projects.delete().where(projects.c.id == project_id))


async def get(connection: AsyncConnection, project_id: int) -> Project | None:
    query = select(projects).where(projects.c.id == project_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Project(**row)


async def by_key(connection: AsyncConnection, key: str) -> Project | None:
    row = (await connection.execute(select(projects).where(projects.c.key == key))).mappings().first()
    return None if row is None else Project(**row)


async def referred(connection: AsyncConnection, text: str) -> Project | None:
    """The project of an id in digits, or else of a key."""
    digits = text.isascii() and text.isdigit() and len(text) < 19
    found = await get(connection, int(text)) if digits else None
    if found is None and "\0" not in text:
        found = await by_key(connection, text)
    return found


async def listed(
    connection: AsyncConnection, after: int, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Project]:
    """Projects with a higher id than `after`, ascending."""
    query = select(projects).where(projects.c.id > after, *filters).order_by(projects.c.id).limit(limit)
    return [Project(**row) for row in (await connection.execute(query)).mappings()]
