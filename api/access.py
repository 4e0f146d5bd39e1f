"""Who asks: an API key in any of the usual headers, and what it permits."""

import hmac
from collections.abc import Mapping
from typing import Literal

import msgspec

from api.problems import ProblemError
from config.secret import Secret

Permission = Literal["read", "write", "admin"]

CHALLENGE = 'Bearer realm="tidegate"'


class Caller(msgspec.Struct, frozen=True):
    """Who a key stands for, and what it permits."""

    name: str
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions


ADMIN = Caller("admin", frozenset({"read", "write", "admin"}))


def authenticate(headers: Mapping[str, str], admin_key: Secret) -> Caller:
    """The caller whose key is in the headers. Raises a 401 problem without one, or with a wrong one."""
    key = _key(headers)
    if key is None:
        raise _unauthorized(
            "An API key is needed, in the header X-API-Key or as Authorization: Bearer <key>."
        )
    if not hmac.compare_digest(_bytes(key), _bytes(admin_key.reveal())):
        raise _unauthorized("This API key is not known.")
    return ADMIN


def require(caller: Caller, permission: Permission) -> None:
    """Raises a 403 problem if the caller's key does not permit it."""
    if not caller.may(permission):
        raise ProblemError(403, f"This API key does not have the permission {permission}.")


def _key(headers: Mapping[str, str]) -> str | None:
    """`X-API-Key: k`, `Authorization: Bearer k`, `Token k` or `Token "k"`."""
    if stated := headers.get("X-API-Key", "").strip():
        return stated
    scheme, _, rest = headers.get("Authorization", "").strip().partition(" ")
    key = rest.strip()
    match scheme.lower():
        case "bearer":
            return key or None
        case "token":
            quoted = len(key) >= 2 and key[0] == key[-1] == '"'
            return (key[1:-1] if quoted else key) or None
        case _:
            return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": CHALLENGE})
