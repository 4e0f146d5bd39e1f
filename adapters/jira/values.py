"""Values out of Jira's JSON: what is odd costs its own column, never the record."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.times import from_millis, parse_time

S = TypeVar("S", bound=Struct)

#: What decoding raises for JSON that is broken, does not fit, or is nested beyond sense.
ILLEGIBLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class User(Struct, gc=False, rename="camel"):
    """`key` stands where there is no accountId: on Jira Server and Data Center; old ones know but `name`."""

    display_name: str | None = None
    account_id: str | None = None
    key: str | None = None
    name: str | None = None

    @property
    def identity(self) -> str | None:
        return self.account_id or self.key or self.name


NO_USER = User()


class Lenient(Generic[S]):
    """Decodes objects as a struct of which every member has a default.

    A member of an unexpected type is left at it. Raises what `ILLEGIBLE` names for what is no object.
    """

    def __init__(self, shape: type[S]) -> None:
        self._shape = shape
        self._strict = msgspec.json.Decoder(shape)
        self._members: Mapping[str, tuple[str, msgspec.json.Decoder[object]]] = {
            f.encode_name: (f.name, msgspec.json.Decoder(f.type)) for f in msgspec.structs.fields(shape)
        }

    def decode(self, raw: Raw) -> S:
        try:
            return self._strict.decode(raw)
        except msgspec.ValidationError:
            return self._loosely(raw)

    def _loosely(self, raw: Raw) -> S:
        made = self._shape()
        for sent_as, value in _MEMBERS.decode(raw).items():
            if sent_as in self._members:
                name, decoder = self._members[sent_as]
                try:
                    setattr(made, name, decoder.decode(value))
                except ILLEGIBLE:
                    continue
        return made


_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_TIME = msgspec.json.Decoder(str | float)


def odd_time(value: Raw) -> datetime | None:
    """Times in other spellings: documents and some endpoints of Jira show epoch milliseconds."""
    try:
        return any_time(_TIME.decode(value))
    except ILLEGIBLE:
        return None


def any_time(value: datetime | str | float | None) -> datetime | None:
    """A time in UTC however it was sent; None for what is none."""
    if isinstance(value, datetime):
        return utc(value)
    return parse_time(value) if isinstance(value, str) else from_millis(value)


def utc(moment: datetime | None) -> datetime | None:
    """No offset means UTC; None for what no calendar holds in UTC."""
    if moment is None or moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        return None


def is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()
