"""How the page says things: conditions, causes, times and numbers, in words that anybody knows."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from api.steps import SECRET as KNOWN_SECRET  # noqa: F401 - what steps say instead of a secret
from store.database import to_text

#: What a connection's health is called, and what it means.
HEALTH: Mapping[str, str] = {
    "failed": "Failed",
    "partial": "Partial",
    "stale": "Overdue",
    "rate_limited": "Rate limited",
    "processing": "First sync",
    "pending": "Not synced yet",
    "healthy": "Healthy",
    "disabled": "Paused",
}
CAUSE: Mapping[str, str] = {
    "auth": "The remote refuses the sign-in",
    "forbidden": "Access is denied",
    "not_found": "It is not there any more",
    "rejected": "The remote refuses the query",
    "unreachable": "The remote does not answer",
    "tls": "The certificate is not trusted",
    "blocked": "The address is not allowed",
    "unreadable": "The answers cannot be read",
    "crashing": "Its syncs crash",
    "incomplete": "It is not set up completely",
}
STATE: Mapping[str, str] = {
    "queued": "Queued",
    "running": "Running",
    "waiting": "Waiting",
    "succeeded": "Succeeded",
    "partial": "Partial",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
SCOPE: Mapping[str, str] = {
    "incremental": "What changed",
    "full": "Everything again",
    "census": "What is gone",
    "records": "Single records",
}
TRIGGER: Mapping[str, str] = {
    "schedule": "by schedule",
    "webhook": "by webhook",
    "queue": "by message",
    "api": "on request",
    "cli": "by command line",
    "catch_up": "to catch up",
}
SYSTEM: Mapping[str, str] = {"jira": "Jira", "jenkins": "Jenkins", "azure": "Azure DevOps"}
GONE: Mapping[str, str] = {
    "deleted": "deleted there",
    "left": "left what is read",
    "hidden": "not visible any more",
    "rotated": "discarded there, kept here",
}
#: What health says without a cause.
MEANING: Mapping[str, str] = {
    "stale": "It was due long ago and has not run",
    "rate_limited": "The remote asked to wait",
    "processing": "Everything is read for the first time",
    "pending": "Its first sync has not begun",
    "disabled": "Nothing is synced until it is enabled",
}


def cause(health: str, named: str | None) -> str:
    """Why a connection is as it is, in few words; empty where all is well."""
    if named is not None:
        return CAUSE.get(named, named.replace("_", " ").capitalize())
    return MEANING.get(health, "")


def system(name: str) -> str:
    return SYSTEM.get(name, name.replace("_", " ").capitalize())


def stream(name: str) -> str:
    """`work_items` as people read it."""
    return name.replace("_", " ")


def as_moment(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def machine(value: datetime | str) -> str:
    """A time as scripts read it."""
    return value if isinstance(value, str) else to_text(value)


def exact(value: datetime | str | None) -> str:
    """`2026-01-02 03:04:05 UTC`."""
    moment = as_moment(value)
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def relative(value: datetime | str | None, now: datetime | None = None) -> str:
    """`3 min ago`, `in 2 h`, `now`; a script of the page says it the same way."""
    moment = as_moment(value)
    if moment is None:
        return "never"
    seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def span(seconds: float) -> str:
    """A length of time in one unit, cut and not rounded: `12 s`, `3 min`, `2 h`, `5 days`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h"
    return f"{whole // 86400} days"


def took(seconds: float | None) -> str:
    """How long something took: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def number(value: int | float | None) -> str:
    """With separators of thousands."""
    return "" if value is None else f"{value:,.0f}"


def size(count: int) -> str:
    """Bytes as people say them."""
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 1024**2:.1f} MiB"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 record`, `2,000 records`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


FILTERS: Mapping[str, Callable[..., str]] = {
    "machine": machine,
    "exact": exact,
    "relative": relative,
    "span": span,
    "took": took,
    "number": number,
    "size": size,
    "system": system,
    "stream": stream,
}
