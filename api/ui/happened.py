"""Events in words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from api.ui import words
from store.health import Problem
from store.outbox import Event
from store.syncs import Counts

Kind = Literal["health", "sync", "progress", "webhook", "other"]


class Told(msgspec.Struct, frozen=True):
    """An event as a line: `look` names its icon and colour, `more` says why, or how much."""

    position: int | None
    sequence: int
    connection_id: int
    at: datetime
    kind: Kind
    look: str
    what: str
    more: str


class _Health(msgspec.Struct):
    health: str
    cause: str | None = None
    health_before: str = ""
    message: str | None = None


class _Status(msgspec.Struct):
    id: int
    trigger: str
    scope: str
    state: str
    counters: dict[str, Counts] = {}
    error: Problem | None = None
    joined: int = 0


def told(event: Event) -> Told:
    """What an event says to a person."""
    kind, look, what, more = _said(event)
    return Told(event.position, event.sequence, event.connection_id, event.at, kind, look, what, more)


def _said(event: Event) -> tuple[Kind, str, str, str]:
    try:
        if event.type == "connection_status":
            return _health(msgspec.json.decode(event.data, type=_Health))
        if event.type == "status":
            return _status(msgspec.json.decode(event.data, type=_Status))
    except msgspec.DecodeError:
        pass
    return "other", "pending", event.type.replace("_", " ").capitalize(), event.source.lstrip("/")


def _health(said: _Health) -> tuple[Kind, str, str, str]:
    before = words.HEALTH.get(said.health_before, said.health_before).lower()
    what = words.HEALTH.get(said.health, said.health) + (f", was {before}" if before else "")
    why = words.CAUSE.get(said.cause, said.cause) if said.cause else ""
    return "health", said.health, what, ": ".join(part for part in (why, said.message) if part)


def _status(said: _Status) -> tuple[Kind, str, str, str]:
    scope = words.SCOPE.get(said.scope, said.scope).lower()
    kind: Kind = "webhook" if said.trigger == "webhook" else "sync"
    match said.state:
        case "queued":
            return kind, "queued", f"Sync {said.id} queued {words.TRIGGER.get(said.trigger, '')}", scope
        case "running":
            return "progress", "running", f"Sync {said.id} is reading", counts(said.counters)
        case "waiting":
            return kind, "waiting", f"Sync {said.id} waits", said.error.message if said.error else ""
    state = words.STATE.get(said.state, said.state).lower()
    more = said.error.message if said.error else counts(said.counters)
    return kind, said.state, f"Sync {said.id} {state}", more


def counts(counters: Mapping[str, Counts]) -> str:
    """`12 issues new, 3 changed; 4 comments new`."""
    parts = []
    for stream, counted in counters.items():
        some = [
            f"{number:,} {name}"
            for name in ("new", "changed", "deleted", "rejected")
            if (number := getattr(counted, name))
        ]
        if some:
            parts.append(f"{words.stream(stream)} {', '.join(some)}")
    read = sum(counted.read for counted in counters.values())
    return "; ".join(parts) or (f"nothing new in {words.plural(read, 'record')}" if read else "nothing new")


def all_told(events: Sequence[Event]) -> list[Told]:
    return [told(event) for event in events]
