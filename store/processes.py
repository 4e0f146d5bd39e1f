"""Who is running: every process says so every few seconds, once per role."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import clock, now
from store.schema import processes

BEAT_SECONDS = 5.0
#: One that was not seen for so long is not running.
GONE_SECONDS = 15.0


class Process(msgspec.Struct, frozen=True):
    """A process in one of its roles: `api`, `scheduler`, `relay` or `worker`.

    `keys` are the ids of its secret keys, the one it seals with first; None in versions that did not tell.
    """

    id: str
    role: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    keys: str | None = None

    def has_key(self, key_id: str) -> bool:
        return key_id in (self.keys or "").split(",")

    def seals_with(self, key_id: str) -> bool:
        return (self.keys or "").split(",")[0] == key_id


async def beat(
    connection: AsyncConnection,
    process_id: str,
    roles: Iterable[str],
    host: str,
    pid: int,
    keys: str | None = None,
) -> None:
    """Say that a process is there in these roles, and in no others."""
    roles = list(roles)
    at = await clock(connection)
    given_up = delete(processes).where(processes.c.id == process_id, processes.c.role.not_in(roles))
    await connection.execute(given_up)
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    for role in roles:
        made = upsert(processes).values(
            id=process_id, role=role, host=host, pid=pid, started_at=at, seen_at=at, keys=keys
        )
        news = {"seen_at": made.excluded.seen_at, "keys": made.excluded["keys"]}
        await connection.execute(made.on_conflict_do_update(index_elements=["id", "role"], set_=news))


async def leave(connection: AsyncConnection, process_id: str) -> None:
    """Say that a process has ended."""
    await connection.execute(delete(processes).where(processes.c.id == process_id))


async def seen(connection: AsyncConnection) -> Sequence[Process]:
    """The processes that are running, by role and age."""
    c = processes.c
    query = select(processes).where(c.seen_at > now(-GONE_SECONDS)).order_by(c.role, c.started_at, c.id)
    rows = (await connection.execute(query)).mappings()
    return [Process(**{name: row[name] for name in Process.__struct_fields__}) for row in rows]


async def missing(connection: AsyncConnection, roles: Iterable[str]) -> list[str]:
    """Those of `roles` in which nobody is running."""
    there = {process.role for process in await seen(connection)}
    return [role for role in roles if role not in there]
