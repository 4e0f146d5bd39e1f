"""API keys: made, listed, revoked. The text of a key is printed once, when it is made."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import PERMISSIONS, Permission
from api.context import Context
from api.paging import ById, Page, after_id, cut
from api.problems import FieldError, invalid, not_found
from api.routing import Call, Route
from api.shapes import Discreet, Id, Name, Nothing, moment
from store import audit, keys, projects
from store.database import clock
from store.keys import Key
from store.schema import keys as table

log = structlog.get_logger()


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key to be made. `admin` implies `write`, and that `read`.

    With `projects` it sees and changes only what belongs to these; null is everything.
    """

    name: Name
    permissions: Annotated[list[Permission], Meta(min_length=1, max_length=3)]
    projects: Annotated[list[Id], Meta(min_length=1, max_length=1000)] | None = None


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its text. `last_used_at` is exact to a minute."""

    id: int
    name: str
    permissions: list[str]
    projects: list[int] | None
    created_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class MadeKey(Discreet, frozen=True, kw_only=True):
    """A key that was made just now. `key` is its text, which is shown this once."""

    id: int
    name: str
    permissions: list[str]
    projects: list[int] | None
    created_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    key: str


class Keys(msgspec.Struct, frozen=True):
    """Some keys, ascending by id; revoked ones too."""

    keys: Sequence[KeyAnswer]
    next: str | None


class KeyQuery(Page, frozen=True, kw_only=True):
    """Which keys: by default revoked ones too."""

    revoked: bool | None = None


async def create(call: Call[NewKey, Nothing]) -> MadeKey:
    """Make a key. Its text is in this answer and nowhere else."""
    return await make(call.context, call.body)


async def make(context: Context, body: NewKey) -> MadeKey:
    """Make a key. Raises 422 for a project that is not there."""
    text = keys.new_text()
    permissions = [one for one in PERMISSIONS if one in body.permissions]
    wanted = None if body.projects is None else sorted(set(body.projects))
    async with context.database.write() as connection:
        for project_id in wanted or ():
            if await projects.get(connection, project_id) is None:
                raise invalid(FieldError("projects", f"There is no project {project_id}."))
        now = await clock(connection)
        made = await keys.add(connection, text, body.name, permissions, wanted, now)
        await audit.write(connection, context.caller.actor, "create", "key", made, name=body.name)
        told = answer(await _found(connection, made))
    return MadeKey(**msgspec.structs.asdict(told), key=text)


async def listed(call: Call[Nothing, KeyQuery]) -> Keys:
    query, revoked_at = call.query, table.c.revoked_at
    filters = []
    if query.revoked is not None:
        filters.append(revoked_at.is_not(None) if query.revoked else revoked_at.is_(None))
    async with call.context.database.read() as connection:
        after = after_id(call.request, query) or 0
        found = await keys.listed(connection, after, query.limit + 1, *filters)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Keys([answer(one) for one in page.items], page.next)


async def get(call: Call[Nothing, Nothing]) -> KeyAnswer:
    async with call.context.database.read() as connection:
        return answer(await _found(connection, call.id("key")))


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Revoke a key: within two seconds it opens nothing in any process. It stays in the list."""
    await revoke(call.context, call.id("key"))


async def revoke(context: Context, key_id: int) -> Key:
    """Revoke a key; one that was revoked before stays so. Raises 404."""
    async with context.database.write() as connection:
        found = await _found(connection, key_id)
        if await keys.revoke(connection, key_id, await clock(connection)):
            await audit.write(connection, context.caller.actor, "revoke", "key", key_id, name=found.name)
    context.keyring.forget()
    return found


async def keep_noting(context: Context) -> None:
    """Write again and again when keys were last used."""
    while True:
        await asyncio.sleep(context.note_seconds)
        await note_uses(context)


async def note_uses(context: Context) -> None:
    """Write when keys were last used. A database that is away is told of it the next time."""
    try:
        await context.keyring.note_uses(context.database)
    except (SQLAlchemyError, OSError) as e:
        log.warning("keys.uses_not_noted", error=str(e))


async def _found(connection: AsyncConnection, key_id: int) -> Key:
    found = await keys.get(connection, key_id)
    if found is None:
        raise not_found("key", key_id)
    return found


def answer(key: Key) -> KeyAnswer:
    """A key as administrators see it."""
    return KeyAnswer(
        id=key.id,
        name=key.name,
        permissions=key.permissions,
        projects=key.projects,
        created_at=moment(key.created_at),
        last_used_at=moment(key.last_used_at),
        revoked_at=moment(key.revoked_at),
    )


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/v1/keys",
        summary="Make an API key",
        permission="admin",
        handler=create,
        body=NewKey,
        query=Nothing,
        answer=MadeKey,
        status=201,
        idempotent=True,
        made="/v1/keys",
        example={"name": "dashboard", "permissions": ["read"]},
    ),
    Route(
        method="GET",
        path="/v1/keys",
        summary="List API keys",
        permission="admin",
        handler=listed,
        body=Nothing,
        query=KeyQuery,
        answer=Keys,
    ),
    Route(
        method="GET",
        path="/v1/keys/{id}",
        summary="Get an API key",
        permission="admin",
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=KeyAnswer,
    ),
    Route(
        method="DELETE",
        path="/v1/keys/{id}",
        summary="Revoke an API key",
        permission="admin",
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
    ),
)
