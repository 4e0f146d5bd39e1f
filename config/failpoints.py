"""Steps of the main path at which a test can have a process die, stand still, hang or fail.

`TIDEGATE_FAILPOINT=page_written:3:kill` kills a process when it passes that step for the third time. Without
the variable nothing is looked at and nothing happens.
"""

import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum

import structlog

log = structlog.get_logger()

FAILPOINT = "TIDEGATE_FAILPOINT"
#: For how long `block` holds up whatever passes: longer than a lease.
BLOCK_SECONDS = 12.0


class Step(StrEnum):
    """Every boundary on the way from a trigger to an event. `..._written`: in the transaction, before its
    commit; the step after it in the list is right behind the commit.
    """

    # scheduler/due.py
    DUE_WRITTEN = "due_written"
    DUE_COMMITTED = "due_committed"
    LOOK_WRITTEN = "look_written"
    LOOK_COMMITTED = "look_committed"
    # scheduler/triggers.py
    TRIGGER_READ = "trigger_read"
    TRIGGER_WRITTEN = "trigger_written"
    TRIGGER_COMMITTED = "trigger_committed"
    TRIGGER_ACKNOWLEDGED = "trigger_acknowledged"
    # api
    ASKED_WRITTEN = "asked_written"
    ASKED_COMMITTED = "asked_committed"
    WEBHOOK_WRITTEN = "webhook_written"
    WEBHOOK_COMMITTED = "webhook_committed"
    WEBHOOK_RUNG = "webhook_rung"
    # worker and store
    CLAIM_WRITTEN = "claim_written"
    CLAIM_COMMITTED = "claim_committed"
    PLAN_WRITTEN = "plan_written"
    PLAN_COMMITTED = "plan_committed"
    PAGE_FETCHED = "page_fetched"
    PAGE_PREPARED = "page_prepared"
    PAGE_WRITTEN = "page_written"
    PAGE_COMMITTED = "page_committed"
    KEYS_WRITTEN = "keys_written"
    KEYS_COMMITTED = "keys_committed"
    PASS_ON_WRITTEN = "pass_on_written"  # noqa: S105 - no password
    PASS_ON_COMMITTED = "pass_on_committed"  # noqa: S105 - no password
    WAIT_WRITTEN = "wait_written"
    WAIT_COMMITTED = "wait_committed"
    END_WRITTEN = "end_written"
    END_COMMITTED = "end_committed"
    SLICE_RUNG = "slice_rung"
    # events/relay.py
    POSITIONS_WRITTEN = "positions_written"
    POSITIONS_COMMITTED = "positions_committed"
    EVENT_SENT = "event_sent"
    # events/turn.py
    DELIVERY_SENT = "delivery_sent"
    DELIVERY_WRITTEN = "delivery_written"
    DELIVERY_COMMITTED = "delivery_committed"


class FailpointError(OSError):
    """What `raise` raises: to the code it looks like a server that is away."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _block() -> None:
    time.sleep(BLOCK_SECONDS)


def _raise() -> None:
    raise FailpointError("a failpoint was reached")


def _break() -> None:
    raise RuntimeError("a failpoint was reached")


_DEEDS = {"kill": _kill, "freeze": _freeze, "block": _block, "raise": _raise, "break": _break}


class Armed:
    """What is to be done, at which step, at its n-th passage in this process; once. Only what breaks stays
    broken: a defect does not go away.
    """

    def __init__(self, text: str) -> None:
        """Raises `ValueError`, which says what is allowed."""
        step, _, rest = text.partition(":")
        number, _, deed = rest.partition(":")
        if step not in [*Step] or not number.isdecimal() or not int(number) or deed not in _DEEDS:
            raise ValueError(
                f"{text!r} is no failpoint: needed is STEP:N:{'|'.join(_DEEDS)}, and STEP is one of "
                + ", ".join(Step)
            )
        self._step, self._left, self._deed = Step(step), int(number), deed

    def __call__(self, step: Step) -> None:
        if step is not self._step:
            return
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._deed == "break"):
            log.warning("failpoint.reached", step=step, deed=self._deed)
            _DEEDS[self._deed]()


def _nothing(step: Step) -> None:
    """The steps of a process that nobody experiments with."""


def _of_this_process() -> Callable[[Step], None]:
    try:
        return Armed(os.environ[FAILPOINT]) if os.environ.get(FAILPOINT) else _nothing
    except ValueError:
        return _nothing  # the settings tell of it and refuse to start


#: Called at each step.
passed = _of_this_process()
