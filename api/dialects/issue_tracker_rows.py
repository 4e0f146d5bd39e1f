"""Issue tracker connections as they are read: each with what it refers to, in the same few statements."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import func, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from api.dialects.issue_tracker_words import NAME
from store import syncs
from store.database import to_text
from store.schema import ENDED, LIVE, audit, connections, credentials, projects
from store.schema import syncs as sync_table
from store.syncs import Sync, Trigger, among

Filters = Sequence[ColumnElement[bool]]

#: The number of a trigger, and whether it comes by itself.
_TRIGGERS: Mapping[Trigger, tuple[int, bool]] = {
    "api": (1, False),
    "schedule": (2, True),
    "webhook": (3, True),
    "queue": (4, False),
    "cli": (5, False),
    "catch_up": (6, True),
}
#: With these a connection cannot be reached, or not as whom it is set up.
UNREACHED = ("auth", "forbidden", "not_found", "unreachable", "tls", "blocked")


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept with a connection for clients of this product.

    `params` are those that Tidegate has no use for; `secrets` the names under which one was given.
    `connector` is the credential that a client named, and `own` the one made for this connection alone.
    """

    params: dict[str, Any] = {}
    secrets: list[str] = []
    connector: int | None = None
    own: int | None = None


class KeptServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept with a credential: the server that it is for."""

    server: str = ""
    method: str = "https"
    params: dict[str, Any] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A sync. `user` is the id of the API key that asked for it, 0 for none.

    `triggered_by`: 1 the API, 2 the schedule, 3 a webhook, 4 the queue, 5 the command line, 6 a recovery.
    """

    succeeded: bool
    last_run: str
    result_message: str
    user: int
    triggered_by: int
    ready: bool
    automatic: bool
    id: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A connection with its project's name and its credential. `connector` is the one that is shown."""

    id: int
    name: str
    system: str
    url: str | None
    params: dict[str, Any]
    frequency: str
    debug: bool
    attributes: dict[str, Any]
    health: str
    cause: str | None
    last_success_at: datetime | None
    project_id: int | None
    credential_id: int | None
    project: str | None
    kind: str | None
    username: str | None
    has_secret: bool
    server: KeptServer
    kept: Kept
    connector: int | None
    in_progress: bool = False
    last_job: Job | None = None

    @property
    def has_own(self) -> bool:
        """Whether its credential was made for it alone, and is still in use."""
        return self.kept.own is not None and self.kept.own == self.credential_id

    @property
    def inaccessible(self) -> bool:
        """Whether the remote cannot be reached, or not as whom this is set up."""
        return self.health == "failed" and self.cause in UNREACHED


_OF_CONNECTION = [
    connections.c[name] for name in Row.__struct_fields__ if name in connections.c and name != "project"
]
_SELECT = (
    select(
        *_OF_CONNECTION,
        projects.c.name.label("project"),
        credentials.c.kind,
        credentials.c.username,
        credentials.c.secret.is_not(None).label("has_secret"),
        credentials.c.attributes.label("of_credential"),
    )
    .outerjoin(projects, projects.c.id == connections.c.project_id)
    .outerjoin(credentials, credentials.c.id == connections.c.credential_id)
    .where(connections.c.deleted_at.is_(None))
    .order_by(connections.c.id)
)

_AS_SELECTED = [column.name for column in _OF_CONNECTION] + ["project", "kind", "username"]


def kept_of(attributes: Mapping[str, Any]) -> Kept:
    return msgspec.convert(attributes.get(NAME, {}), Kept)


def server_of(attributes: Mapping[str, Any] | None) -> KeptServer:
    return msgspec.convert((attributes or {}).get(NAME, {}), KeptServer)


def with_kept(attributes: Mapping[str, Any], kept: Kept | KeptServer) -> dict[str, Any]:
    """The attributes with ours; those of other products' clients stay."""
    return {**attributes, NAME: msgspec.to_builtins(kept)}


async def count(connection: AsyncConnection, filters: Filters) -> int:
    query = select(func.count()).select_from(connections).where(connections.c.deleted_at.is_(None), *filters)
    return int((await connection.execute(query)).scalar_one())


async def listed(
    connection: AsyncConnection,
    filters: Filters,
    *,
    jobs: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[Row]:
    """Living connections, ascending, with `jobs` the last sync of each: in a few statements for them all."""
    query = _SELECT.where(*filters).limit(limit).offset(offset)
    if limit is not None:
        page = select(connections.c.id).where(connections.c.deleted_at.is_(None), *filters)
        page = page.order_by(connections.c.id).limit(limit).offset(offset)
        filters = [connections.c.id.in_(select(page.subquery().c.id))]
    rows = [_row(row) for row in (await connection.execute(query)).mappings()]
    ids = select(connections.c.id).where(*filters)
    working = await _working(connection, ids)
    last = await _last_jobs(connection, ids) if jobs else {}
    named: frozenset[int] = frozenset()
    if any(row.has_own for row in rows):
        named = frozenset((await connection.execute(select(credentials.c.id))).scalars())
    return [
        replace(
            row,
            connector=row.kept.connector if row.has_own and row.kept.connector in named else row.connector,
            in_progress=row.id in working,
            last_job=last.get(row.id),
        )
        for row in rows
    ]


async def one(connection: AsyncConnection, connection_id: int, *, jobs: bool = False) -> Row | None:
    """A living connection."""
    found = await listed(connection, [connections.c.id == connection_id], jobs=jobs)
    return found[0] if found else None


async def unreached(connection: AsyncConnection) -> frozenset[int]:
    """The credentials with which a connection cannot be reached."""
    c = connections.c
    failed = (c.deleted_at.is_(None), c.health == "failed", c.cause.in_(UNREACHED))
    query = select(c.credential_id).where(c.credential_id.is_not(None), *failed).distinct()
    return frozenset((await connection.execute(query)).scalars())


def _row(row: RowMapping) -> Row:
    return Row(
        **{name: row[name] for name in _AS_SELECTED},
        has_secret=bool(row["has_secret"]),
        server=server_of(row["of_credential"]),
        kept=kept_of(row["attributes"]),
        connector=row["credential_id"],
    )


async def _working(connection: AsyncConnection, ids: Any) -> frozenset[int]:
    """Those of which a sync is queued, running or waiting."""
    c = sync_table.c
    query = select(c.connection_id).where(among(c.state, LIVE), c.connection_id.in_(ids)).distinct()
    return frozenset((await connection.execute(query)).scalars())


async def _last_jobs(connection: AsyncConnection, ids: Any) -> Mapping[int, Job]:
    """The last sync of each that has ended; those of named records are no jobs."""
    c, s = connections.c, sync_table.alias("s")
    last = (
        select(s.c.id)
        .where(s.c.connection_id == c.id, s.c.lane == "bulk", s.c.state.in_(ENDED))
        .order_by(s.c.id.desc())
        .limit(1)
        .correlate(connections)
        .scalar_subquery()
    )
    asked = (
        select(audit.c.detail)
        .where(audit.c.at >= sync_table.c.queued_at, audit.c.subject == "connection")
        .where(audit.c.action == "sync", audit.c.subject_id == sync_table.c.connection_id)
        .where(sync_table.c.trigger == "api")
        .order_by(audit.c.at, audit.c.id)
        .limit(1)
        .correlate(sync_table)
        .scalar_subquery()
    )
    query = select(sync_table, asked.label("asked")).select_from(connections)
    query = query.join(sync_table, sync_table.c.id == last).where(c.id.in_(ids))
    rows = (await connection.execute(query)).mappings()
    return {row["connection_id"]: job(syncs.from_row(row), row["asked"]) for row in rows}


def job(sync: Sync, asked: Mapping[str, Any] | None = None) -> Job:
    """A sync as a job; `asked` is what the audit log says of who asked for it."""
    number, automatic = _TRIGGERS[sync.trigger]
    key_id = (asked or {}).get("key_id")
    return Job(
        succeeded=sync.state == "succeeded",
        last_run=to_text(sync.finished_at or sync.started_at or sync.queued_at),
        result_message=_message(sync),
        user=key_id if isinstance(key_id, int) else 0,
        triggered_by=number,
        ready=sync.finished_at is not None,
        automatic=automatic,
        id=sync.id,
    )


def _message(sync: Sync) -> str:
    if sync.error is not None:
        return f"{sync.error.message} {sync.error.hint}".strip()
    if sync.state != "succeeded":
        return f"The sync is {sync.state}." if sync.finished_at is None else "The sync was cancelled."
    read = [
        f"{stream}: {n.read} read, {n.new} new, {n.changed} changed, {n.deleted} deleted."
        for stream, n in sync.counters.items()
    ]
    return " ".join(read) or "There was nothing new to read."
