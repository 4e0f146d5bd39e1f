"""How many requests to others one caller may have made here: some at once, then so many a second."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec

from api.problems import ProblemError

#: What a person who tries things, or a program that tests one connection after the other, never meets.
AT_ONCE = 30
PER_SECOND = 5.0
MOST_CALLERS = 10_000


class _Left(msgspec.Struct):
    """What a caller had left at a time."""

    at: float
    count: float


class Pace:
    """The memory of one process of who asked how often."""

    def __init__(
        self,
        at_once: int = AT_ONCE,
        per_second: float = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self._per_second = per_second
        self._clock = clock
        self._callers: OrderedDict[Hashable, _Left] = OrderedDict()

    def take(self, caller: Hashable) -> None:
        """Count one more. Raises 429, which says when to come back, for one too many."""
        now = self._clock()
        left = self._callers.setdefault(caller, _Left(now, self._at_once))
        self._callers.move_to_end(caller)
        if len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        left.count = min(self._at_once, left.count + (now - left.at) * self._per_second)
        left.at = now
        if left.count < 1:
            wait = math.ceil((1 - left.count) / self._per_second)
            raise ProblemError(
                429,
                f"This key asks for more than {self._per_second:g} tests a second; wait, then try again.",
                headers={"Retry-After": str(wait)},
            )
        left.count -= 1
