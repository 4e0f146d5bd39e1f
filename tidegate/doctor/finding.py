"""One thing that was looked at, and how it stands."""

from typing import Literal

import msgspec

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
