"""Small pictures of syncs as SVG: what lies where, for the templates to draw."""

import math
from collections.abc import Sequence

import msgspec

from store.overview import Past
from store.syncs import Sync

#: The look of a mark, by the state of the sync.
LOOK = {"succeeded": "good", "partial": "warn", "failed": "bad", "cancelled": "off"}
BAR, STEP, HEIGHT, SHOWN = 3, 5, 22, 30


class Strip(msgspec.Struct, frozen=True):
    """The last syncs as bars: one path for each look, and the same in words."""

    paths: Sequence[tuple[str, str]]
    label: str


def strip(pasts: Sequence[Past]) -> Strip:
    """Bars as high as the syncs were long, on a logarithmic scale; the newest on the right."""
    paths: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for place, past in enumerate(pasts, SHOWN - len(pasts)):
        look = LOOK.get(past.state, "busy")
        high = _high(past.seconds)
        paths.setdefault(look, []).append(f"M{place * STEP} {HEIGHT}v-{high}h{BAR}v{high}z")
        word = past.state if past.state in LOOK else "under way"
        counts[word] = counts.get(word, 0) + 1
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    label = f"Last {len(pasts)} syncs: {said}" if pasts else "No syncs yet"
    return Strip([(look, "".join(parts)) for look, parts in paths.items()], label)


def _high(seconds: float | None) -> int:
    if seconds is None:
        return 6
    # 0.1 s is the least that is seen, an hour the whole height.
    share = math.log10(max(0.1, min(seconds, 3600.0)) / 0.1) / math.log10(36000)
    return round(5 + share * (HEIGHT - 5))


class Bar(msgspec.Struct, frozen=True):
    """One sync in the timeline: how long it took upwards, what it brought downwards."""

    x: float
    width: float
    look: str
    up: float
    down: Sequence[tuple[str, float, float]]
    title: str


class Timeline(msgspec.Struct, frozen=True):
    """Syncs from the oldest to the newest. Lengths are in units of the picture."""

    bars: Sequence[Bar]
    longest: float
    most: int


WIDE, UP, DOWN = 720.0, 84.0, 56.0
#: What a sync brought, in the order in which it is stacked.
BROUGHT = ("new", "changed", "deleted")


def timeline(syncs: Sequence[Sync]) -> Timeline:
    """The syncs, given newest first, that have begun."""
    shown = [sync for sync in reversed(syncs) if sync.started_at is not None]
    seconds = [_seconds(sync) for sync in shown]
    brought = [{name: _total(sync, name) for name in BROUGHT} for sync in shown]
    longest = max(seconds, default=0.0)
    most = max((sum(each.values()) for each in brought), default=0)
    step = WIDE / max(30, len(shown))
    first = WIDE - step * len(shown)
    bars = [
        Bar(
            x=round(first + step * place, 1),
            width=round(step * 0.72, 1),
            look=LOOK.get(sync.state, "busy"),
            up=round(max(2.0, UP * _share(took, longest)), 1),
            down=_stack(counts, most),
            title=f"Sync {sync.id}, {sync.state}, {took:.1f} s, "
            + ", ".join(f"{counts[name]:,} {name}" for name in BROUGHT),
        )
        for place, (sync, took, counts) in enumerate(zip(shown, seconds, brought, strict=True))
    ]
    return Timeline(bars, longest, most)


def _stack(counts: dict[str, int], most: int) -> list[tuple[str, float, float]]:
    """(what, where it begins, how long it is), downwards. A share of the whole length, which is a root."""
    total = sum(counts.values())
    length = max(2.0, DOWN * math.sqrt(total / most)) if total else 0.0
    found, at = [], 0.0
    for name, count in counts.items():
        if count:
            part = length * count / total
            found.append((name, round(at, 1), round(part, 1)))
            at += part
    return found


def _share(value: float, whole: float) -> float:
    """A root, so that one long sync does not make all others look like nothing."""
    return math.sqrt(value / whole) if whole > 0 else 0.0


def _seconds(sync: Sync) -> float:
    if sync.started_at is None or sync.finished_at is None:
        return 0.0
    return max(0.0, (sync.finished_at - sync.started_at).total_seconds())


def _total(sync: Sync, name: str) -> int:
    return sum(getattr(counts, name) for counts in sync.counters.values())
