"""How far the builds of a job have been read: newest first, by ranges, without a gap.

A walk starts at the newest build and goes down to the cursor, the newest build of the walk before. Ranges
overlap by one build: while the build read last is still in the next range, or a newer one is, nothing was
skipped, however many builds started (they push the others down) or vanished in between.
"""

import msgspec
from msgspec.structs import replace

from adapters.base import Unreadable
from adapters.jenkins.builds import Build, Builds, Mark

PAGE = 100
# Finished builds are still described, kept or renamed; the last ones cost no further request.
_AGAIN = 10


class Walk(msgspec.Struct, frozen=True):
    """An unfinished walk: from build `top` (started at `at`, epoch ms) down to and including build `down`.

    `offset` is where build `down` was last seen in the list. `down` is None before any build was legible.
    `state` is that of build `top` when it was planned to be read.
    """

    top: int
    at: int
    down: int | None = None
    offset: int = 0
    state: str = ""


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """All builds up to number `top` (started at `at`, epoch ms) have been read, and those of `walk`.

    `state` is how build `top` ended, "" if it still ran.
    """

    top: int = 0
    at: int = 0
    walk: Walk | None = None
    state: str = ""


class Range(msgspec.Struct, frozen=True):
    """Builds `start` (included) to `stop` of the list, newest first; `newest` asks the list of the
    newest 100, which Jenkins keeps at hand.
    """

    newest: bool
    start: int
    stop: int

    def tree(self, fields: str) -> str:
        """The question for these builds with `fields` of each."""
        return f"{'builds' if self.newest else 'allBuilds'}[{fields}]{{{self.start},{self.stop}}}"


class Step(msgspec.Struct, frozen=True):
    """What a range brought: the builds not read before in this walk, and where the cursor is then."""

    builds: list[Build]
    cursor: Cursor


def load(text: str | None) -> Cursor:
    """The cursor from its text; what is not legible means reading from the beginning."""
    try:
        return msgspec.json.decode(text, type=Cursor) if text else Cursor()
    except msgspec.DecodeError:
        return Cursor()


def dump(cursor: Cursor) -> str:
    return msgspec.json.encode(cursor).decode()


def on(cursor: Cursor, mark: Mark) -> Cursor:
    """Where to go on, given what the job looks like now: a job made anew is read from the beginning.

    Its numbers start again, so that its next one is not above what was read, or its newest build is another.
    How the newest build ended is noted once it has: until then, who looks at unfinished builds sees it end.
    """
    top, at = (cursor.walk.top, cursor.walk.at) if cursor.walk else (cursor.top, cursor.at)
    anew = (
        0 < mark.next <= top
        or (mark.number == top and 0 < mark.at != at)
        or (0 < mark.number < top and mark.at > at)
    )
    if anew:
        return Cursor()
    ended = not cursor.walk and not cursor.state and mark.number == cursor.top
    return replace(cursor, state=mark.state) if ended else cursor


def is_idle(cursor: Cursor, mark: Mark) -> bool:
    """Whether nothing happened: no build was added, and the newest one did not run on after its end."""
    if cursor.walk is not None or mark.number > cursor.top:
        return False
    return mark.number < cursor.top or cursor.state in ("", mark.state)


def next_range(cursor: Cursor, mark: Mark, size: int = PAGE, *, whole: bool = False) -> Range:
    """What to ask for next: at most `size` builds, two or more, because ranges overlap by one.

    `whole`: all builds that are there are wanted, which are more than the newest ones for few jobs.
    """
    if cursor.walk:
        return Range(False, cursor.walk.offset, cursor.walk.offset + size)
    if whole:
        return Range(True, 0, min(size, PAGE))
    gap = mark.number - cursor.top + _AGAIN
    return Range(True, 0, gap) if gap <= size else Range(False, 0, size)


def advance(cursor: Cursor, asked: Range, found: Builds, mark: Mark, since: int = 0) -> Step:
    """The step that an answer makes. The walk is over when its cursor has no `walk` any more; builds from
    before `since` (epoch ms) end it, too.

    The walk starts at the mark, not at the newest build that was met: a cursor never passes what planning
    saw, so that a lower mark always means a job made anew.
    """
    walk = cursor.walk or Walk(mark.number, mark.at, state=mark.state)
    numbers = [build.number for build in found.builds]
    if asked.start and walk.down is not None and max(numbers, default=0) < walk.down:
        # Builds vanished, and what followed the last one has moved up in the list: go back to find it.
        back = max(0, asked.start - max(1, asked.stop - asked.start - 1))
        return Step([], replace(cursor, walk=replace(walk, offset=back)))
    fresh = [build for build in found.builds if walk.down is None or build.number < walk.down]
    known = [build for build in found.builds if build.number <= cursor.top]
    if not all(_same_job(build, cursor) for build in known):
        cursor, known = Cursor(), []
    old = any(build.at < since for build in found.builds)
    # Numbers begin at 1, so that nothing is below it.
    if known or old or 1 in numbers or found.size < asked.stop - asked.start:
        return Step(fresh, Cursor(walk.top, walk.at, state=walk.state))
    last = min(range(len(numbers)), key=numbers.__getitem__, default=None)
    if last is None:
        down, offset = walk.down, asked.start + found.size - 1
    else:
        down, offset = min(numbers[last], walk.down or numbers[last]), asked.start + found.places[last]
    return Step(fresh, replace(cursor, walk=replace(walk, down=down, offset=offset)))


class Patience:
    """Ends a walk that a remote leads in circles: so many ranges in a row may bring nothing new."""

    def __init__(self, cursor: Cursor, mark: Mark, size: int = PAGE) -> None:
        """`size` is that of the ranges."""
        walk = cursor.walk or Walk(mark.number, mark.at)
        # Going back over all that was read, or down over all that started since, is no circle.
        self._most = 8 + (walk.offset + max(0, mark.number - walk.top)) // (size - 1)
        self._left = self._most

    def spend(self, step: Step) -> None:
        """Raises `Unreadable` when it is at its end."""
        self._left = self._most if step.builds else self._left - 1
        if self._left <= 0:
            raise Unreadable("Jenkins answers one range of builds after another with nothing new.")


def _same_job(build: Build, cursor: Cursor) -> bool:
    """Whether a build at or below the cursor was there when the cursor was set."""
    return build.at == cursor.at if build.number == cursor.top else build.at <= cursor.at
