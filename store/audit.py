"""The audit log: who changed what, and when. It names what changed, and never holds a value or a secret."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from store.database import now
from store.schema import audit

Action = Literal[
    "create",
    "update",
    "delete",
    "revoke",
    "sync",
    "cancel",
    "test",
    "register",
    "unregister",
    "rotate",
    "redeliver",
]

KEPT = timedelta(days=400)


class Actor(msgspec.Struct, frozen=True):
    """Who did it: the name of an API key with its id, `admin key`, or `command line`."""

    name: str
    key_id: int | None = None


class Entry(msgspec.Struct, frozen=True):
    """One line of the log. `name` is that of the subject then; `fields` are the names of what changed."""

    id: int
    at: datetime
    actor: str
    key_id: int | None
    action: str
    subject: str
    subject_id: int | None
    name: str | None
    fields: Sequence[str]


async def write(
    connection: AsyncConnection,
    actor: Actor,
    action: Action,
    subject: str,
    subject_id: int | None,
    *,
    name: str | None = None,
    fields: Iterable[str] = (),
) -> None:
    """Note a change, in the transaction that makes it. `fields` are names of fields, never values."""
    detail: Mapping[str, object] = {"key_id": actor.key_id, "name": name, "fields": sorted(set(fields))}
    values = {
        "actor": actor.name,
        "action": action,
        "subject": subject,
        "subject_id": subject_id,
        "detail": detail,
    }
    await connection.execute(insert(audit).values(at=now(), **values))


async def listed(
    connection: AsyncConnection, before: int | None, limit: int, *filters: ColumnElement[bool]
) -> Sequence[Entry]:
    """Entries with a lower id than `before`, newest first."""
    query = select(audit).where(*filters).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [_from_row(row) for row in (await connection.execute(query)).mappings()]


async def forget(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete entries that are older than a time, some at once. How many."""
    old = select(audit.c.id).where(audit.c.at < before).order_by(audit.c.at).limit(limit)
    return (await connection.execute(audit.delete().where(audit.c.id.in_(old)))).rowcount


def changed(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    """The names of the fields in which two structs of one type differ."""
    names = before.__struct_fields__
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _from_row(row: RowMapping) -> Entry:
    names = ("id", "at", "actor", "action", "subject", "subject_id")
    detail = row["detail"]
    values = {name: row[name] for name in names}
    return Entry(**values, key_id=detail["key_id"], name=detail["name"], fields=detail["fields"])
