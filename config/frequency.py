"""When a connection is due: words, intervals, stated times and cron, in a time zone."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice, pairwise
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REFERENCE = datetime(2026, 1, 1, tzinfo=UTC)  # where a cron is tried out; any time would do
MILLISECOND = timedelta(milliseconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
SHORTEST, LONGEST = MINUTE, 31 * DAY
WORDS = {"hourly": timedelta(hours=1), "daily": DAY, "weekly": 7 * DAY}
UNITS = {"m": MINUTE, "h": timedelta(hours=1), "d": DAY}
WEEKDAYS = "sunday monday tuesday wednesday thursday friday saturday".split()
WITHIN_THE_MINUTE = timedelta(seconds=59)
LONGEST_TEXT = 200  # characters; a longer list of cron ranges is slow to read

SPAN = re.compile(r"(\d{1,6}) ?([mhd])", re.ASCII)
CENSUS_EVERY = "24h"
INTERVAL = re.compile(r"every (\d{1,6}) ?(m|min|minutes?|h|hours?|d|days?)", re.ASCII)
AT = re.compile(r"(daily|weekly on ([a-z]+)) at (\d{1,2}):(\d{2})", re.ASCII)

ALLOWED = (
    "allowed are manually, hourly, daily, weekly, monthly, an interval such as 'every 15m' (m, h or d), "
    "'daily at 02:30', 'weekly on monday at 02:30', and cron with five fields such as '0 6 * * 1-5'"
)


class FrequencyError(ValueError):
    """A frequency or time zone that cannot be used. `field` says which; `message` says what is allowed."""

    def __init__(self, field: Literal["frequency", "timezone", "census_every"], message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Frequency(msgspec.Struct, frozen=True):
    """A frequency that is known to work; `parse_frequency` makes it.

    Words and intervals lie on a fixed grid that the seed moves, so they depend neither on when they were
    set nor on how late they are asked for; `monthly` keeps its place within each calendar month of the
    zone. Stated times and cron are their minute in the zone and less than 59 s by the seed. A time that the
    clock shows twice fires the first time only; one that it skips fires as it jumps.
    """

    text: str
    timezone: str
    interval: timedelta | None = None
    cron: str | None = None

    def next_after(self, moment: datetime, seed: int) -> datetime | None:
        """The first due time strictly after `moment` (aware), in UTC; None for `manually`.

        `seed` is the connection's id: the same one always gets the same place in the period.
        """
        if self.cron is not None:
            return _next_fire(self.cron, ZoneInfo(self.timezone), moment, _share(WITHIN_THE_MINUTE, seed))
        if self.interval is not None:
            start = EPOCH + _share(self.interval, seed)
            return start + ((moment - start) // self.interval + 1) * self.interval
        if self.text == "monthly":
            return _next_in_month(ZoneInfo(self.timezone), moment, seed)
        return None

    @property
    def period(self) -> timedelta | None:
        """The longest time between two due times, but for a clock change; None for `manually`."""
        if self.cron is not None:
            return _longest_gap(self.cron)
        return 31 * DAY if self.text == "monthly" else self.interval


def parse_frequency(text: str, timezone: str = "UTC") -> Frequency:
    """The frequency that a person wrote; FrequencyError says which of the two is wrong and what is allowed.

    Its `text` is the canonical form: `Every 15 minutes` becomes `every 15m`.
    """
    zone = _zone(timezone)
    words = " ".join(text.split())
    lower = words.lower()
    if lower in ("manually", "monthly"):
        return Frequency(lower, timezone)
    if lower in WORDS:
        return Frequency(lower, timezone, interval=WORDS[lower])
    if match := INTERVAL.fullmatch(lower):
        return _every(int(match[1]), match[2][0], timezone)
    if match := AT.fullmatch(lower):
        return _at(match[2], int(match[3]), int(match[4]), timezone)
    if len(words.split()) == 5 and len(words) <= LONGEST_TEXT:
        _try_out(words, zone)
        return Frequency(words, timezone, cron=words)
    raise FrequencyError("frequency", f"'{words[:LONGEST_TEXT]}' is not a frequency: {ALLOWED}")


def census_period(params: Mapping[str, object]) -> timedelta | None:
    """How often a connection takes a census by itself, from its `census_every`; None for never.

    Raises `FrequencyError` for what is not a span of time.
    """
    text = params.get("census_every", CENSUS_EVERY)
    if text == "never":
        return None
    match = SPAN.fullmatch(text.strip()) if isinstance(text, str) else None
    span = int(match[1]) * UNITS[match[2]] if match else timedelta(0)
    if not SHORTEST <= span <= LONGEST:
        raise FrequencyError("census_every", "Write a span of time from 1m to 31d, such as 24h, or never.")
    return span


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FrequencyError(
            "timezone", f"'{name[:100]}' is not a time zone: allowed are IANA names such as Europe/Berlin"
        ) from None


def _every(count: int, unit: str, timezone: str) -> Frequency:
    interval = count * UNITS[unit]
    if not SHORTEST <= interval <= LONGEST:
        raise FrequencyError("frequency", f"'every {count}{unit}': allowed is from 1 minute to 31 days")
    return Frequency(f"every {count}{unit}", timezone, interval=interval)


def _at(weekday: str | None, hour: int, minute: int, timezone: str) -> Frequency:
    if hour > 23 or minute > 59:
        raise FrequencyError("frequency", f"{hour}:{minute:02} is not a time: allowed is 00:00 to 23:59")
    at = f"at {hour:02}:{minute:02}"
    if weekday is None:
        return Frequency(f"daily {at}", timezone, cron=f"{minute} {hour} * * *")
    if weekday not in WEEKDAYS:
        raise FrequencyError("frequency", f"'{weekday}' is not a weekday: allowed are {', '.join(WEEKDAYS)}")
    cron = f"{minute} {hour} * * {WEEKDAYS.index(weekday)}"
    return Frequency(f"weekly on {weekday} {at}", timezone, cron=cron)


def _try_out(cron: str, zone: ZoneInfo) -> None:
    try:
        first = next(CronSim(cron, REFERENCE.astimezone(zone)), None)
    except CronSimError as wrong:
        problem = f"the cron '{cron}' cannot be read or never fires ({wrong})"
        raise FrequencyError("frequency", f"{problem}: {ALLOWED}") from None
    if first is None:
        raise FrequencyError("frequency", f"the cron '{cron}' never fires: {ALLOWED}")


def _share(whole: timedelta, seed: int) -> timedelta:
    """A place within `whole`, in milliseconds: stable for the seed, and evenly spread over all seeds."""
    digest = int.from_bytes(blake2b(str(seed).encode(), digest_size=8).digest())
    return (whole // MILLISECOND * digest >> 64) * MILLISECOND


def _next_fire(cron: str, zone: ZoneInfo, moment: datetime, delay: timedelta) -> datetime | None:
    for fire in CronSim(cron, (moment - delay).astimezone(zone)):
        due = fire.astimezone(UTC) + delay
        # Inside the hour that the clock shows twice, a stated time belongs to its first pass, which is over.
        if due > moment:
            return due
    return None


def _next_in_month(zone: ZoneInfo, moment: datetime, seed: int) -> datetime:
    local = moment.astimezone(zone)
    start = datetime(local.year, local.month, 1, tzinfo=zone)
    while True:
        after = (start + 32 * DAY).replace(day=1)
        due = start.astimezone(UTC) + _share(after.astimezone(UTC) - start.astimezone(UTC), seed)
        if due > moment:
            return due
        start = after


def _longest_gap(cron: str) -> timedelta:
    """The longest time without a fire: within a day, or from the last of one day to the first of the next."""
    parsed = CronSim(cron, REFERENCE)
    times = sorted(hour * 60 + minute for hour in parsed.hours for minute in parsed.minutes)
    within = max((later - earlier for earlier, later in pairwise(times)), default=0)
    year = [REFERENCE + n * DAY for n in range(400)]
    days = [day for day in year if day.month in parsed.months and parsed.match_day(day)]
    if len(days) < 3:  # such as 29 February
        days = list(islice(CronSim(f"0 0 {' '.join(cron.split()[2:])}", REFERENCE), 3))
    between = max((later - earlier for earlier, later in pairwise(days)), default=LONGEST)
    return max(within * MINUTE, between - (times[-1] - times[0]) * MINUTE)
