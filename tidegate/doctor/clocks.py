"""Whether the clocks of this machine, the database and Redis agree."""

from datetime import datetime

from tidegate.doctor.finding import Finding, ok, warn

#: Clocks that differ by so many seconds make times in logs and in the database hard to compare.
SECONDS = 5.0


def compared(what: str, whose: str, here: datetime, there: datetime) -> Finding:
    """The finding `what` about this machine's clock and another's, read at the same moment."""
    differs = (there - here).total_seconds()
    if abs(differs) > SECONDS:
        ahead = "ahead of" if differs > 0 else "behind"
        said = f"{whose}'s clock is {abs(differs):.0f} s {ahead} this machine's."
        return warn(what, said, "Let both machines follow a time server (NTP).")
    return ok(what, f"This machine and {whose.replace('The', 'the')} agree to {abs(differs):.1f} s.")
