"""Values of typed columns, out of whatever the remote sent; what does not fit is None."""

from datetime import UTC, datetime

import msgspec

from adapters.times import parse_time


class Person(msgspec.Struct, frozen=True, rename="camel"):
    """An identity, as far as columns need it."""

    display_name: str | None = None
    id: str | None = None


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: object) -> int | None:
    """An integer, also where it is sent as `2.0`."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def moment(value: object) -> datetime | None:
    """A time with 0 to 7 fractional digits, as text or already decoded, in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return parse_time(value) if isinstance(value, str) else None


def person(value: object) -> str | None:
    """The display name of an identity: an object today, `Name <mail>` in old answers."""
    if isinstance(value, Person):
        return value.display_name
    if isinstance(value, dict):
        return text(value.get("displayName"))
    return value.partition(" <")[0] if isinstance(value, str) else None


def person_id(value: object) -> str | None:
    """The identity's GUID; the old text form has none."""
    if isinstance(value, Person):
        return value.id
    return text(value.get("id")) if isinstance(value, dict) else None


def identifier(value: object) -> str | None:
    """An id as text, whether it is sent as a text or as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def is_id(key: str) -> bool:
    """Whether a key is a number that the remote could have given."""
    return key.isascii() and key.isdigit() and int(key) < 1 << 31
