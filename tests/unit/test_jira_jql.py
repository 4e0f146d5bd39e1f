"""Queries as text, dates as Jira reads them, and the cursor between two calls."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.base import Unreadable
from adapters.jira.jql import WESTERNMOST, Malformed, filter_named, literal, without_order, zone_of
from adapters.jira.tokens import restarted
from adapters.jira.walk import OVERLAP, Cursor, Offsets, Tokens, reached, resumed
from adapters.times import to_millis

ZONES = [
    "America/Los_Angeles",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
]


@pytest.mark.parametrize(
    ("jql", "restriction"),
    [
        ("project = TG", "project = TG"),
        ("project = TG ORDER BY created", "project = TG"),
        ("project = TG\norder   By created DESC, key", "project = TG"),
        ('summary ~ "order by me" ORDER BY key', 'summary ~ "order by me"'),
        ("summary ~ 'it \\' order by' order by key", "summary ~ 'it \\' order by'"),
        ("a = 1 AND (b = 2 OR c = 3)", "a = 1 AND (b = 2 OR c = 3)"),
        ("border = by", "border = by"),
        ('"Order by" = 1', '"Order by" = 1'),
        ("ORDER BY key", ""),
        ("", ""),
    ],
)
def test_the_order_is_taken_off_and_nothing_else(jql: str, restriction: str) -> None:
    assert without_order(jql) == restriction


@pytest.mark.parametrize(
    "jql", ["(a = 1", "a = 1)", "a = 1) OR (b = 2", 'a = "b', "a = 'b", "(a = 1 ORDER BY b"]
)
def test_a_query_without_its_partners_is_malformed(jql: str) -> None:
    with pytest.raises(Malformed):
        without_order(jql)


@pytest.mark.parametrize(
    ("jql", "number"), [("filter=1", "1"), (" Filter = '1' ", "1"), ("filter = 1 OR a = 2", None)]
)
def test_only_a_lone_filter_is_a_filter(jql: str, number: str | None) -> None:
    assert filter_named(jql) == number


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2037, 12, 30)),  # noqa: DTZ001 - the strategy adds the zone
    st.sampled_from(ZONES),
)
def test_a_date_is_never_read_as_later_and_rarely_as_much_earlier(wall: datetime, name: str) -> None:
    moment, zone = wall.replace(tzinfo=UTC), ZoneInfo(name)
    local = datetime.strptime(literal(moment, zone), '"%Y/%m/%d %H:%M"')  # noqa: DTZ007 - read both ways below
    for fold in (0, 1):
        read = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        assert read <= moment
        assert moment - read < timedelta(hours=3)


def test_a_zone_that_nobody_knows_is_the_one_that_is_never_too_late() -> None:
    assert zone_of(None) is zone_of("Nowhere/At_All") is zone_of("../etc/passwd") is WESTERNMOST
    moment = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    assert literal(moment, WESTERNMOST) == '"2026/03/04 00:00"'


def test_times_within_the_overlap_prove_no_progress() -> None:
    now = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    old = now - timedelta(hours=1)
    assert reached(None, [None, now, now - OVERLAP], now) is None
    assert reached(None, [old, now], now) == round(old.timestamp() * 1000)
    assert reached(10**15, [old], now) == 10**15


def test_a_walk_without_its_token_starts_where_it_had_come_to() -> None:
    walk = restarted(Tokens(asked_at=1, start=0, token="t", after=125_000))
    assert (walk.asked_at, walk.start, walk.token) == (1, 120_000, None)


def test_a_walk_may_restart_once_without_progress() -> None:
    once = restarted(Tokens(asked_at=1, token="t"))
    with pytest.raises(Unreadable):
        restarted(replace(once, token="u"))
    further = restarted(replace(once, token="u", after=125_000))
    assert further.start == 120_000
    assert not further.stuck


@pytest.mark.parametrize(
    "walk", [Tokens(1, 2, "token", 3, stuck=True), Offsets(1, 2, 95, (("10001", 5), ("?", None)), 3, 99)]
)
def test_a_cursor_is_small_text_that_comes_back_as_it_was(walk: Tokens | Offsets) -> None:
    cursor = Cursor("q", "cloud", 5, walk)
    assert resumed(cursor.text(), "q", "cloud") == cursor
    assert resumed(cursor.text(), "other", "cloud") == Cursor("other", "cloud", renewed=True)
    assert resumed(cursor.text(), "q", "datacenter") == Cursor("q", "datacenter", renewed=True)
    assert resumed("{}", "q", "cloud") == resumed("garbage", "q", "cloud")
    assert resumed("garbage", "q", "cloud") == Cursor("q", "cloud", renewed=True)
    assert resumed(None, "q", "cloud") == Cursor("q", "cloud")


def test_a_finished_walk_leaves_an_overlap_before_its_first_request() -> None:
    began = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    done = Cursor("q", "cloud", None, Tokens()).done(to_millis(began))
    assert done == Cursor("q", "cloud", to_millis(began - OVERLAP))
