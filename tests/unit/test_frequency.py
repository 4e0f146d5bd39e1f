"""Frequencies: what can be written, when it is due, clock changes, and how evenly many are spread."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.frequency import Frequency, FrequencyError, parse_frequency

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
EVERY_KIND = [
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "every 15m",
    "every 7h",
    "every 31d",
    "daily at 02:30",
    "weekly on sunday at 02:30",
    "*/30 * * * *",
    "0 0 31 * *",
    "15,45 1-3 * * *",
]


def due(frequency: Frequency, moment: datetime, seed: int = 1) -> datetime:
    found = frequency.next_after(moment, seed)
    assert found is not None
    return found


def fires(text: str, zone: str, start: datetime, end: datetime, seed: int = 1) -> list[datetime]:
    """Every due time in the half-open range, asked for one after the other."""
    frequency, found, moment = parse_frequency(text, zone), [], start - timedelta(microseconds=1)
    while (moment := due(frequency, moment, seed)) < end:
        found.append(moment)
    return found


def minutes(found: list[datetime], zone: str) -> list[str]:
    return [f"{each.astimezone(ZoneInfo(zone)):%d %H:%M}" for each in found]


def refusal(text: str, zone: str = "UTC") -> FrequencyError:
    with pytest.raises(FrequencyError) as refused:
        parse_frequency(text, zone)
    return refused.value


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("Manually", "manually"),
        (" HOURLY ", "hourly"),
        ("Every 15 minutes", "every 15m"),
        ("every 2h", "every 2h"),
        ("every 1 day", "every 1d"),
        ("Daily at 2:30", "daily at 02:30"),
        ("weekly on Monday at 9:05", "weekly on monday at 09:05"),
        ("  0  6 * *   MON-FRI ", "0 6 * * MON-FRI"),
    ],
)
def test_what_people_type_has_one_canonical_form(typed: str, canonical: str) -> None:
    frequency = parse_frequency(typed)
    assert frequency.text == canonical
    assert parse_frequency(canonical) == frequency


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "allowed are manually, hourly"),
        ("yearly", "allowed are manually, hourly"),
        ("every 30s", "allowed are manually, hourly"),
        ("every 5 months", "allowed are manually, hourly"),
        ("every 0m", "allowed is from 1 minute to 31 days"),
        ("every 32d", "allowed is from 1 minute to 31 days"),
        ("every 999999d", "allowed is from 1 minute to 31 days"),
        ("every -5m", "allowed are"),
        ("daily at 24:00", "allowed is 00:00 to 23:59"),
        ("daily at 12:60", "allowed is 00:00 to 23:59"),
        ("weekly on noday at 12:00", "allowed are sunday, monday"),
        ("60 * * * *", "cron with five fields"),
        ("* * * * * *", "cron with five fields"),
        ("* * * *", "cron with five fields"),
        ("a b c d e", "cron with five fields"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 */27 2 MON#5", "never fires"),
        (",".join(["*"] * 100) + " * * * *", "cron with five fields"),
    ],
)
def test_what_cannot_work_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    refused = refusal(text)
    assert refused.field == "frequency"
    assert said in refused.message


@pytest.mark.parametrize(
    "zone", ["", "Berlin", "America", "../../etc/passwd", "/etc/localtime", "x" * 5000, "a\0b"]
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    refused = refusal("daily", zone)
    assert refused.field == "timezone"
    assert "IANA names such as Europe/Berlin" in refused.message


def test_manually_is_never_due() -> None:
    assert parse_frequency("manually").next_after(NOW, 1) is None
    assert parse_frequency("manually").period is None


@given(
    st.sampled_from(EVERY_KIND), st.sampled_from(["UTC", BERLIN, LORD_HOWE]), MOMENTS, st.integers(0, 10**9)
)
def test_a_due_time_is_after_the_moment_in_utc_within_its_period_and_the_same_when_asked_late(
    text: str, zone: str, moment: datetime, seed: int
) -> None:
    frequency = parse_frequency(text, zone)
    found = due(frequency, moment, seed)
    period = frequency.period
    assert period is not None
    assert found.tzinfo is UTC
    # A change of the clock makes one day of a stated time longer.
    assert moment < found <= moment + period + HOUR
    assert due(frequency, found - timedelta(microseconds=1), seed) == found
    assert due(frequency, moment + (found - moment) / 2, seed) == found


@pytest.mark.parametrize(
    ("text", "period"), [("hourly", HOUR), ("daily", DAY), ("weekly", 7 * DAY), ("every 7h", 7 * HOUR)]
)
def test_words_and_intervals_keep_an_exact_distance(text: str, period: timedelta) -> None:
    found = fires(text, BERLIN, NOW, NOW + 20 * period)
    assert len(found) == 20
    assert {later - earlier for earlier, later in pairwise(found)} == {period}


def test_monthly_is_once_in_each_calendar_month_of_the_zone() -> None:
    start = datetime(2026, 1, 1, tzinfo=ZoneInfo("Pacific/Auckland"))
    for seed in range(50):
        found = fires("monthly", "Pacific/Auckland", start, start.replace(year=2028), seed)
        months = [f"{each.astimezone(start.tzinfo):%Y-%m}" for each in found]
        assert months == [f"{year}-{month:02}" for year in (2026, 2027) for month in range(1, 13)]


def test_ten_thousand_hourly_connections_are_spread_over_the_whole_hour() -> None:
    frequency = parse_frequency("hourly")
    delays = [(due(frequency, NOW, seed) - NOW).total_seconds() for seed in range(1, 10_001)]
    by_second, by_minute = Counter(int(each) for each in delays), Counter(int(each / 60) for each in delays)
    assert max(by_second.values()) <= 12
    assert len(by_minute) == 60
    assert min(by_minute.values()) > 120
    assert max(by_minute.values()) < 215


@pytest.mark.parametrize(("text", "length"), [("daily", 24), ("weekly", 24 * 7), ("monthly", 24 * 31)])
def test_longer_words_are_spread_over_their_whole_period_too(text: str, length: int) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    frequency = parse_frequency(text)
    tenths = Counter(int((due(frequency, start, seed) - start) / HOUR * 10 / length) for seed in range(5000))
    assert sorted(tenths) == list(range(10))
    assert max(tenths.values()) < 600


@pytest.mark.parametrize("text", ["daily at 02:30", "30 2 * * *"])
def test_a_stated_time_is_its_minute_spread_over_59_seconds(text: str) -> None:
    frequency = parse_frequency(text)
    found = [due(frequency, NOW, seed) for seed in range(2000)]
    assert {f"{each:%d %H:%M}" for each in found} == {"05 02:30"}
    assert {each.second for each in found} == set(range(59))


def test_a_stated_time_is_that_of_the_time_zone() -> None:
    assert f"{due(parse_frequency('daily at 02:30', 'Asia/Kolkata'), NOW):%d %H:%M}" == "04 21:00"


def test_cron_counts_weekdays_from_sunday() -> None:
    assert due(parse_frequency("0 9 * * 1"), NOW).strftime("%A") == "Monday"
    assert due(parse_frequency("0 9 * * 0"), NOW).strftime("%A") == "Sunday"
    assert due(parse_frequency("0 9 * * 7"), NOW).strftime("%A") == "Sunday"
    assert due(parse_frequency("weekly on wednesday at 09:00"), NOW).strftime("%A") == "Wednesday"


def test_cron_takes_either_day_of_month_or_weekday_when_both_are_given() -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    found = fires("0 9 13 * 5", "UTC", start, start + 14 * DAY)
    assert [f"{each:%a %d}" for each in found] == ["Fri 05", "Fri 12", "Sat 13"]


@pytest.mark.parametrize(
    ("zone", "text", "start", "expected"),
    [
        (BERLIN, "daily at 02:30", "2026-03-28", ["28 02:30", "29 03:00", "30 02:30"]),
        (BERLIN, "daily at 02:30", "2026-10-24", ["24 02:30", "25 02:30", "26 02:30"]),
        (LORD_HOWE, "daily at 01:45", "2026-04-04", ["04 01:45", "05 01:45", "06 01:45"]),
        (LORD_HOWE, "daily at 02:15", "2026-10-03", ["03 02:15", "04 02:30", "05 02:15"]),
    ],
)
def test_a_stated_time_fires_once_on_the_days_that_the_clock_changes(
    zone: str, text: str, start: str, expected: list[str]
) -> None:
    midnight = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    for seed in range(20):
        assert minutes(fires(text, zone, midnight, midnight + 3 * DAY, seed), zone) == expected


@pytest.mark.parametrize("text", ["*/30 * * * *", "*/10 * * * *"])
@pytest.mark.parametrize("zone", [BERLIN, LORD_HOWE])
@pytest.mark.parametrize("start", ["2026-03-28", "2026-10-24", "2026-04-04", "2026-10-03"])
def test_a_repeating_cron_keeps_its_distance_when_the_clock_changes(text: str, zone: str, start: str) -> None:
    midnight = datetime.fromisoformat(start).replace(tzinfo=UTC)
    found = fires(text, zone, midnight, midnight + 2 * DAY)
    distance = timedelta(minutes=int(text[2:4]))
    assert {later - earlier for earlier, later in pairwise(found)} == {distance}


def test_no_stated_time_fires_again_when_asked_within_the_repeated_hour() -> None:
    frequency = parse_frequency("daily at 02:30", BERLIN)
    for minute in range(60):
        moment = datetime(2026, 10, 25, 1, minute, tzinfo=UTC)  # 02:xx for the second time
        assert f"{due(frequency, moment):%d %H:%M}" == "26 01:30"


def test_after_long_downtime_one_due_time_follows_not_one_for_each_missed() -> None:
    for text in EVERY_KIND:
        frequency = parse_frequency(text, BERLIN)
        asleep = due(frequency, NOW - 400 * DAY)
        awake = due(frequency, NOW)
        assert asleep < NOW < awake


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("monthly", 31 * DAY),
        ("daily at 02:30", DAY),
        ("weekly on friday at 17:00", 7 * DAY),
        ("*/5 * * * *", timedelta(minutes=5)),
        ("* * * * *", timedelta(minutes=1)),
        ("*/5 9-17 * * 1-5", timedelta(days=2, hours=15, minutes=5)),
        ("0 0 1 * *", 31 * DAY),
        ("0,20 12 * * *", timedelta(hours=23, minutes=40)),
        ("*/5 * 29 2 *", 1460 * DAY + timedelta(minutes=5)),
        ("0 0 1 1 *", 366 * DAY),
    ],
)
def test_the_period_is_the_longest_time_without_a_due_time(text: str, period: timedelta) -> None:
    assert parse_frequency(text).period == period
