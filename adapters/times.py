"""Remote times: text with any offset and 0 to 7 fractional digits, epoch milliseconds, HTTP dates."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))? ?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)


def parse_time(text: str | None) -> datetime | None:
    """An aware UTC time, or None for None and for what is not a time. No offset means UTC.

    A date alone (a due date) is a day somewhere, not a moment: None. Digits beyond microseconds are cut.
    """
    match = _ISO.fullmatch(text) if text else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    micros = f"{fraction or '0':0<6.6}"
    zone = "+00:00" if offset in (None, "Z") else offset
    try:
        return datetime.fromisoformat(
            f"{day}T{clock if len(clock) > 5 else clock + ':00'}.{micros}{zone}"
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def from_millis(millis: float | None) -> datetime | None:
    """Epoch milliseconds as an aware UTC time; None for None and for what no calendar holds."""
    if millis is None:
        return None
    try:
        return datetime.fromtimestamp(millis / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def to_millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def parse_http_date(text: str | None) -> datetime | None:
    """The time in a `Date` or `Retry-After` header, or None."""
    try:
        moment = parsedate_to_datetime(text) if text else None
        if moment is None:
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None
