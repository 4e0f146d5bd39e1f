"""How often the long runs do what the short ones do once: so many percent of the plan as CHAOS_TIMES says."""

import os
from collections.abc import Sequence
from statistics import median

PERCENT = float(os.environ.get("CHAOS_TIMES") or 100)


def times(plan: int) -> int:
    """How often, where the whole plan is `plan` times; at least once."""
    return max(1, round(plan * PERCENT / 100))


def seconds(plan: float, least: float = 0.0) -> float:
    """How long, where the whole plan takes `plan` seconds, and less than `least` would show nothing."""
    return max(least, plan * PERCENT / 100)


def told(waits: Sequence[float]) -> str:
    """The median and the longest of some times."""
    return f"{median(waits):.1f} s (median), {max(waits):.1f} s (most)"
