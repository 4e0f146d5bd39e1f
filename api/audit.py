"""The audit log: who changed what, and when."""

from collections.abc import Sequence
from typing import Any

import msgspec

from api.paging import ById, Page, after_id, cut
from api.routing import Call, Route
from api.shapes import Id, Nothing, Word, moment
from store import audit
from store.audit import Action, Entry
from store.schema import audit as table


class EntryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `actor` is the name of an API key, whose id is `key_id`; `admin key`; or `command line`.

    `name` is what the subject was called then. `fields` are the names of what changed, without values.
    """

    id: int
    at: str | None
    actor: str
    key_id: int | None
    action: str
    subject: str
    subject_id: int | None
    name: str | None
    fields: Sequence[str]


class Audit(msgspec.Struct, frozen=True):
    """Some changes, newest first."""

    audit: Sequence[EntryAnswer]
    next: str | None


class AuditQuery(Page, frozen=True, kw_only=True):
    """Which changes."""

    actor: Word | None = None
    action: Action | None = None
    subject: Word | None = None
    subject_id: Id | None = None


async def listed(call: Call[Nothing, AuditQuery]) -> Audit:
    """Changes of the last 400 days."""
    query = call.query
    filters = [
        table.c[name] == value
        for name in ("actor", "action", "subject", "subject_id")
        if (value := getattr(query, name)) is not None
    ]
    async with call.context.database.read() as connection:
        before = after_id(call.request, query)
        found = await audit.listed(connection, before, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Audit([answer(one) for one in page.items], page.next)


def answer(entry: Entry) -> EntryAnswer:
    """An entry as administrators see it."""
    values = {name: getattr(entry, name) for name in Entry.__struct_fields__ if name != "at"}
    return EntryAnswer(**values, at=moment(entry.at))


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/v1/audit",
        summary="List who changed what",
        permission="admin",
        handler=listed,
        body=Nothing,
        query=AuditQuery,
        answer=Audit,
    ),
)
