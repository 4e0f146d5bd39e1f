"""Who asks: an API key in any of the usual headers, what it permits, and which projects it sees."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.sql import ColumnElement

from api.problems import ProblemError
from store.audit import Actor
from store.schema import connections

Permission = Literal["read", "write", "admin"]

#: From the least to the most: each implies those before it.
PERMISSIONS: tuple[Permission, ...] = ("read", "write", "admin")

#: The headers that a key may come in, as OpenAPI describes them.
HEADERS: Mapping[str, Mapping[str, str]] = {
    "XApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
    "Token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: Token <key>`",
    },
    "QuotedToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": '`Authorization: Token "<key>"`',
    },
}

CHALLENGE = 'Bearer realm="tidegate"'


class Caller(msgspec.Struct, frozen=True):
    """Who a key stands for, what it permits, and the only projects that it sees; None is everything."""

    name: str
    permissions: frozenset[str]
    projects: frozenset[int] | None = None
    key_id: int | None = None

    @property
    def actor(self) -> Actor:
        """As the audit log names it."""
        return Actor(self.name, self.key_id)

    def may(self, permission: Permission) -> bool:
        """Whether the key permits this: `admin` implies `write`, and that `read`."""
        return bool(self.permissions.intersection(PERMISSIONS[PERMISSIONS.index(permission) :]))

    def sees(self, project_id: int | None) -> bool:
        """Whether what belongs to this project is shown; None is the account."""
        return self.projects is None or project_id in self.projects

    def limits(self, project_id: ColumnElement[Any]) -> Sequence[ColumnElement[bool]]:
        """The same as filters of a statement, on the column that holds the project."""
        return () if self.projects is None else (project_id.in_(sorted(self.projects)),)

    def limits_connection(self, connection_id: ColumnElement[Any]) -> Sequence[ColumnElement[bool]]:
        """The same, on a column that holds the connection."""
        if self.projects is None:
            return ()
        c = connections.c
        return (connection_id.in_(select(c.id).where(c.project_id.in_(sorted(self.projects)))),)


NOBODY = Caller("nobody", frozenset())
ADMIN = Caller("admin key", frozenset(PERMISSIONS))
COMMAND_LINE = Caller("command line", frozenset(PERMISSIONS))


def key_in(headers: Mapping[str, str]) -> str:
    """The key of `X-API-Key: k`, `Authorization: Bearer k`, `Token k` or `Token "k"`. Raises 401."""
    key = headers.get("X-API-Key", "").strip() or _authorization(headers.get("Authorization", "").strip())
    if not key:
        raise unauthorized("An API key is needed, in the header X-API-Key or as Authorization: Bearer <key>.")
    return key


def _authorization(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    key = rest.strip()
    match scheme.lower():
        case "bearer":
            return key
        case "token":
            quoted = len(key) >= 2 and key[0] == key[-1] == '"'
            return key[1:-1] if quoted else key
        case _:
            return ""


def require(caller: Caller, permission: Permission) -> None:
    """Raises a 403 problem if the caller's key does not permit it."""
    if not caller.may(permission):
        raise ProblemError(403, f"This API key does not have the permission {permission}.")


def require_account(caller: Caller) -> None:
    """Raises a 403 problem for a key that is limited to projects."""
    if caller.projects is not None:
        raise ProblemError(403, "This is for keys of the whole account; this API key is limited to projects.")


def unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": CHALLENGE})
