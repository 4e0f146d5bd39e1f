"""Projects: what connections are grouped under."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.schema import projects


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


async def rename(connection: AsyncConnection, project_id: int, name: str, now: datetime) -> None:
    await connection.execute(
        update(projects).where(projects.c.id == project_id).values(name=name, updated_at=now)
    )


async def get(connection: AsyncConnection, project_id: int) -> Project | None:
    query = select(projects).where(projects.c.id == project_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Project(**row)


async def by_key(connection: AsyncConnection, key: str) -> Project | None:
    row = (await connection.execute(select(projects).where(projects.c.key == key))).mappings().first()
    return None if row is None else Project(**row)


async def listed(
    connection: AsyncConnection, after: int, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Project]:
    """Projects with a higher id than `after`, ascending."""
    query = select(projects).where(projects.c.id > after, *filters).order_by(projects.c.id).limit(limit)
    return [Project(**row) for row in (await connection.execute(query)).mappings()]
