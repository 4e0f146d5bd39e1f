"""Values of typed columns, out of whatever the remote sent; what does not fit is None."""

from datetime import datetime

from adapters.times import parse_time


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: object) -> int | None:
    """An integer, also where it is sent as `2.0`."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def moment(value: object) -> datetime | None:
    """A time with 0 to 7 fractional digits; the far end of time, "still so", is no moment."""
    if not isinstance(value, str) or value.startswith("9999-"):
        return None
    return parse_time(value)


def person(value: object) -> str | None:
    """The display name of an identity: an object today, `Name <mail>` in old answers."""
    if isinstance(value, dict):
        return text(value.get("displayName"))
    return value.partition(" <")[0] if isinstance(value, str) else None


def person_id(value: object) -> str | None:
    """The identity's GUID; the old text form has none."""
    return text(value.get("id")) if isinstance(value, dict) else None
