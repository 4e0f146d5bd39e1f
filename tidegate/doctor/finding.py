"""One thing that was looked at, and how it stands."""

from collections.abc import Callable
from typing import Literal

import msgspec

#: Takes secrets out of what others say, who may repeat a password.
Redact = Callable[[str], str]

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """`what` was looked at, what is the case there, and what to do about it if something is to be done."""

    state: State
    what: str
    message: str
    advice: str = ""


def ok(what: str, message: str) -> Finding:
    return Finding("ok", what, message)


def warn(what: str, message: str, advice: str) -> Finding:
    """It works, and may not for long, or not as well as it could."""
    return Finding("warn", what, message, advice)


def fail(what: str, message: str, advice: str) -> Finding:
    """It does not work."""
    return Finding("fail", what, message, advice)
