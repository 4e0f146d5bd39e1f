"""Who made and who last changed an integration, as people whom Flow would know."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import ADMIN, COMMAND_LINE
from store.audit import Entry
from store.audit import listed as entries
from store.connections import Connection
from store.schema import audit, keys

#: UTC to the microsecond, without saying so.
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}$",
        examples=["2024-03-20T22:09:54.828795"],
        description="UTC.",
    ),
]
#: Who has no API key of their own. Those of keys are ten times the key's, so that no two are the same.
_IDS = {ADMIN.name: 1, COMMAND_LINE.name: 2}
_METHODS = {ADMIN.name: "admin_key", COMMAND_LINE.name: "command_line"}
_UNKNOWN = 3


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, the administrator's key, or the command line, as a user.

    `name` is what it was called then. There are no pictures, no addresses and no passwords; `is_active` and
    `login_enabled` tell whether the key is still taken.
    """

    id: int
    audit_created_at: Time
    avatar_url: str = ""
    is_active: bool
    saml_integration: int | None = None
    login_email: str = ""
    login_enabled: bool
    signup_method: str
    needs_password_reset: bool = False
    password_change_allowed: bool = False
    user_id: int
    name: str
    email: str = ""
    apex_user_id: int


class Makers(msgspec.Struct, frozen=True):
    """Who made something, and who changed it last."""

    created_by: Person
    updated_by: Person


class _Key(msgspec.Struct, frozen=True):
    id: int
    created_at: datetime
    revoked_at: datetime | None


def time_text(moment: datetime) -> str:
    """`2024-03-20T22:09:54.828795`, in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


async def makers(connection: AsyncConnection, found: Sequence[Connection]) -> Mapping[int, Makers]:
    """Of each of these connections; two statements however many there are.

    What the audit log has forgotten, or never knew, is by someone unknown.
    """
    a = audit.c
    ids = [one.id for one in found]
    noted = (a.subject == "connection", a.subject_id.in_(ids))
    first = select(func.min(a.id)).where(*noted, a.action == "create").group_by(a.subject_id)
    last = select(func.max(a.id)).where(*noted, a.action.in_(("create", "update"))).group_by(a.subject_id)
    log = await entries(connection, None, 2 * len(ids), a.id.in_(union(first, last)))
    k = keys.c
    of_keys = {one.key_id for one in log if one.key_id is not None}
    query = select(k.id, k.created_at, k.revoked_at).where(k.id.in_(of_keys))
    known = {row.id: _Key(*row) for row in await connection.execute(query)}
    # The log has the newest first: the last change comes before what it was made by.
    changed = {one.subject_id: one for one in reversed(log)}
    made = {one.subject_id: one for one in log if one.action == "create"}
    return {
        one.id: Makers(
            _person(made.get(one.id), one.created_at, known),
            _person(changed.get(one.id), one.created_at, known),
        )
        for one in found
    }


def _person(entry: Entry | None, made_at: datetime, known: Mapping[int, _Key]) -> Person:
    if entry is None:
        return _user(_UNKNOWN, "unknown", "unknown", made_at, active=False)
    key = known.get(entry.key_id) if entry.key_id is not None else None
    if entry.key_id is None or key is None:
        method = _METHODS.get(entry.actor, "unknown")
        number = _IDS.get(entry.actor, _UNKNOWN)
        return _user(number, entry.actor, method, entry.at, active=number != _UNKNOWN)
    return _user(10 * key.id, entry.actor, "api_key", key.created_at, active=key.revoked_at is None)


def _user(number: int, name: str, method: str, since: datetime, *, active: bool) -> Person:
    return Person(
        id=number,
        audit_created_at=time_text(since),
        is_active=active,
        login_enabled=active,
        signup_method=method,
        user_id=number,
        name=name,
        apex_user_id=number,
    )
