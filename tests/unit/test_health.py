"""A connection's health as a function of facts, in the order in which one outdoes the next."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from store.health import HEALTHS, PAUSING, Facts, Problem, health_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PAST, FUTURE = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
HEALTHY = Facts(
    enabled=True,
    draft=False,
    failure=None,
    partial=None,
    unavailable=0,
    limited_until=None,
    ingesting=False,
    stale_at=FUTURE,
    last_success_at=PAST,
)


def health(**facts: object) -> tuple[str, str | None]:
    return health_of(msgspec.structs.replace(HEALTHY, **facts), NOW)


def problem(kind: str) -> Problem:
    return Problem(kind, "What happened.")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ("healthy", None)),
        ({"enabled": False}, ("disabled", None)),
        ({"failure": problem("auth")}, ("failed", "auth")),
        ({"failure": problem("tls")}, ("failed", "tls")),
        ({"unavailable": 4}, ("healthy", None)),
        ({"unavailable": 5}, ("failed", "unreachable")),
        ({"failure": problem("auth"), "unavailable": 9}, ("failed", "auth")),
        ({"limited_until": FUTURE}, ("rate_limited", None)),
        ({"limited_until": NOW}, ("healthy", None)),
        ({"ingesting": True}, ("healthy", None)),
        ({"ingesting": True, "last_success_at": None}, ("processing", None)),
        ({"partial": problem("forbidden")}, ("partial", "forbidden")),
        ({"stale_at": NOW}, ("stale", None)),
        ({"stale_at": None}, ("healthy", None)),
        ({"last_success_at": None, "stale_at": None}, ("pending", None)),
        ({"draft": True, "last_success_at": None}, ("pending", "incomplete")),
    ],
)
def test_health_follows_from_the_facts(facts: dict[str, object], expected: tuple[str, str | None]) -> None:
    assert health(**facts) == expected


# Facts that make each health on their own; all others may hold at once.
MAKING: dict[str, dict[str, object]] = {
    "disabled": {"enabled": False},
    "failed": {"failure": problem("auth")},
    "rate_limited": {"limited_until": FUTURE},
    "processing": {"ingesting": True, "last_success_at": None},
    "partial": {"partial": problem("forbidden")},
    "stale": {"stale_at": PAST},
    "pending": {"last_success_at": None},
    "healthy": {},
}


def test_every_health_is_in_the_order() -> None:
    assert tuple(MAKING) == HEALTHS


@pytest.mark.parametrize("place", range(len(HEALTHS)))
def test_of_several_the_first_in_the_order_is_told(place: int) -> None:
    facts: dict[str, object] = {}
    for name in reversed(HEALTHS[place:]):
        facts |= MAKING[name]
    assert health(**facts)[0] == HEALTHS[place]


def test_only_what_a_person_must_change_pauses() -> None:
    assert frozenset({"auth", "forbidden", "not_found", "crashing"}) == PAUSING
