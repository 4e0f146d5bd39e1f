"""Pages of a list: a limit, and a cursor that only goes on with the query that gave it."""

import base64
import binascii
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec
from aiohttp import web

from api.problems import FieldError, invalid
from api.shapes import Cursor, Limit, Position

T = TypeVar("T")

#: These say which page is wanted, not of what.
_PAGE = ("cursor", "limit")
_DIGEST = 8


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of every list."""

    limit: Limit = 100
    cursor: Cursor | None = None


class ById(msgspec.Struct, frozen=True, array_like=True):
    """The position in a list that goes by ids."""

    id: Position


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """Some of a list, and the cursor of what follows; None at its end."""

    items: Sequence[T]
    next: str | None


def cut(request: web.Request, found: Sequence[T], limit: int, position: Callable[[T], object]) -> Listed[T]:
    """The page of what was `found` by asking for one more than `limit`."""
    items = found[:limit]
    more = len(found) > limit
    return Listed(items, make_cursor(request, position(items[-1])) if more else None)


def make_cursor(request: web.Request, position: object) -> str:
    """An opaque cursor for going on behind a position of this very query."""
    packed = _identity(request) + msgspec.msgpack.encode(position)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(request: web.Request, cursor: str, position: type[T]) -> T:
    """The position of a cursor. Raises 422 for one that is damaged or of another query."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if packed[:_DIGEST] == _identity(request):
            return msgspec.msgpack.decode(packed[_DIGEST:], type=position)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        pass
    raise invalid(FieldError("cursor", "This is not the cursor of a page before, of this same query."))


def after_id(request: web.Request, page: Page) -> int | None:
    """The id in the cursor of a list that goes by ids."""
    return None if page.cursor is None else read_cursor(request, page.cursor, ById).id


def _identity(request: web.Request) -> bytes:
    """What tells one query from another: the path and all parameters but those of the page."""
    asked = sorted((name, value) for name, value in request.query.items() if name not in _PAGE)
    return blake2b(msgspec.json.encode([request.path, asked]), digest_size=_DIGEST).digest()
