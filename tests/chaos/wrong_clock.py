"""`tidegate` in a process whose clock is wrong by the seconds of CLOCK_IS_AHEAD.

"0 then -3600" is a clock that is right, and set back once SIGUSR1 comes. What is wrong is the time of day
that Python tells: by `time.time` and, where the scheduler, the answers of remotes and the log ask for it,
`datetime.now`. What only measures is right, as on a machine that is set wrong; the database and Redis have
clocks of their own.
"""

import datetime
import os
import signal
import sys
import time
from importlib import import_module
from types import FrameType, SimpleNamespace

from tests.chaos.roles import AHEAD

_ASK_FOR_IT = (
    "adapters.http",
    "apscheduler.executors.base",
    "apscheduler.schedulers.base",
    "apscheduler.triggers.interval",
    "scheduler.scheduler",
)
_right = time.time
_first, _, _then = os.environ[AHEAD].partition(" then ")
_ahead = [float(_first)]


def _told() -> float:
    return _right() + _ahead[0]


def _set(number: int, frame: FrameType | None) -> None:
    _ahead[0] = float(_then)


class _Wrong(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        return datetime.datetime.fromtimestamp(_told(), tz)


def main() -> None:
    signal.signal(signal.SIGUSR1, _set)
    # Before anything else is imported, as most take the function by its name.
    time.time = _told
    for name in _ASK_FOR_IT:
        vars(import_module(name))["datetime"] = _Wrong
    log = vars(import_module("structlog.processors"))
    log["datetime"] = SimpleNamespace(datetime=_Wrong, timezone=datetime.timezone)
    sys.argv[0] = "tidegate"
    import_module("tidegate.cli").main()


if __name__ == "__main__":
    main()
