"""The time formats that remotes use, and what is no time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.times import from_millis, parse_http_date, parse_time, to_millis


def utc(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, us: int = 0
) -> datetime:
    return datetime(year, month, day, hour, minute, second, us, tzinfo=UTC)


ISO = [
    ("2026-01-02T03:04:05.678+0000", utc(2026, 1, 2, 3, 4, 5, 678_000)),
    ("2026-01-02T03:04:05.678-0800", utc(2026, 1, 2, 11, 4, 5, 678_000)),
    ("2026-01-02T03:04:05.678+05:45", utc(2026, 1, 1, 21, 19, 5, 678_000)),
    ("2026-01-02T03:04:05+02", utc(2026, 1, 2, 1, 4, 5)),
    ("2026-01-02T03:04:05Z", utc(2026, 1, 2, 3, 4, 5)),
    ("2026-01-02T03:04:05.1Z", utc(2026, 1, 2, 3, 4, 5, 100_000)),
    ("2026-01-02T03:04:05.12Z", utc(2026, 1, 2, 3, 4, 5, 120_000)),
    ("2026-01-02T03:04:05.1234Z", utc(2026, 1, 2, 3, 4, 5, 123_400)),
    ("2026-01-02T03:04:05.12345Z", utc(2026, 1, 2, 3, 4, 5, 123_450)),
    ("2026-01-02T03:04:05.123456Z", utc(2026, 1, 2, 3, 4, 5, 123_456)),
    ("2026-01-02T03:04:05.1234569Z", utc(2026, 1, 2, 3, 4, 5, 123_456)),
    ("2026-01-02T03:04:05.9999999Z", utc(2026, 1, 2, 3, 4, 5, 999_999)),
    ("2026-01-02T22:00Z", utc(2026, 1, 2, 22, 0)),
    ("2026-01-02T03:04:05", utc(2026, 1, 2, 3, 4, 5)),
    ("2026-01-02 03:04:05 +0100", utc(2026, 1, 2, 2, 4, 5)),
    ("2026-01-02 03:04", utc(2026, 1, 2, 3, 4)),
    ("0001-01-01T00:00:00Z", utc(1, 1, 1)),
    ("9999-12-31T23:59:59.9999999Z", utc(9999, 12, 31, 23, 59, 59, 999_999)),
]


@pytest.mark.parametrize(("text", "moment"), ISO)
def test_a_time_with_any_offset_and_fraction_is_read(text: str, moment: datetime) -> None:
    parsed = parse_time(text)
    assert parsed == moment
    assert parsed.tzinfo is UTC


NO_TIME = [
    None,
    "",
    "now",
    "2026-01-02",
    "2026-13-02T03:04:05Z",
    "2026-01-02T25:04:05Z",
    "2026-01-02T03:04:60Z",
    "2026-01-02T03:04:05X",
    "2026-01-02T03:04:05+25:99",
    "2026-01-02T03:04:05.Z",
    "20260102T030405Z",
    "2026-01-02T03:04:05Z\n",
    " 2026-01-02T03:04:05Z",
    "٢٠٢٦-01-02T03:04:05Z",
    "1767319445",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
]


@pytest.mark.parametrize("text", NO_TIME)
def test_what_is_no_moment_is_none(text: str | None) -> None:
    assert parse_time(text) is None


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{0,9})?(Z|[+-]\d\d:?\d\d)?"))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    parsed = parse_time(text)
    assert parsed is None or parsed.tzinfo is UTC


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-840, 840))
def test_a_time_is_the_same_in_every_zone(moment: datetime, minutes: int) -> None:
    assume(1 < moment.year < 9999)
    assert parse_time(moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()) == moment


MILLIS = [
    (0, utc(1970, 1, 1)),
    (1_767_323_045_678, utc(2026, 1, 2, 3, 4, 5, 678_000)),
    (1_767_323_045_678.0, utc(2026, 1, 2, 3, 4, 5, 678_000)),
    (-1, utc(1969, 12, 31, 23, 59, 59, 999_000)),
    (None, None),
    (10**30, None),
    (253_402_300_800_000, None),
    (float("nan"), None),
    (float("inf"), None),
]


@pytest.mark.parametrize(("millis", "moment"), MILLIS)
def test_milliseconds_since_1970_are_a_time(millis: float | None, moment: datetime | None) -> None:
    assert from_millis(millis) == moment


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_survive_the_way_there_and_back(millis: int) -> None:
    moment = from_millis(millis)
    assert moment is not None
    assert to_millis(moment) == millis


HTTP = [
    ("Fri, 02 Jan 2026 03:04:05 GMT", utc(2026, 1, 2, 3, 4, 5)),
    ("Friday, 02-Jan-26 03:04:05 GMT", utc(2026, 1, 2, 3, 4, 5)),
    ("Fri Jan  2 03:04:05 2026", utc(2026, 1, 2, 3, 4, 5)),
    ("Fri, 02 Jan 2026 03:04:05 +0200", utc(2026, 1, 2, 1, 4, 5)),
    ("Fri, 02 Jan 2026 03:04:05 -0000", utc(2026, 1, 2, 3, 4, 5)),
    (None, None),
    ("", None),
    ("7", None),
    ("tomorrow", None),
    ("Fri, 99 Jan 2026 03:04:05 GMT", None),
    ("Fri, 31 Dec 9999 23:59:59 -0200", None),
]


@pytest.mark.parametrize(("text", "moment"), HTTP)
def test_the_date_of_a_header_is_read(text: str | None, moment: datetime | None) -> None:
    assert parse_http_date(text) == moment


@given(
    st.text()
    | st.from_regex(
        r"Mon, -?\d{1,6} Jan \d{1,6} \d{1,4}:\d{1,3}(:\d{1,4})? ([+-]\d{1,7}|GMT|EST)", fullmatch=True
    )
)
def test_no_text_breaks_the_reading_of_dates(text: str) -> None:
    parsed = parse_http_date(text)
    assert parsed is None or parsed.tzinfo is UTC
