"""Whether the process lives, and whether the installation works."""

from collections.abc import Mapping
from typing import Any

import msgspec

from api.problems import ProblemError
from api.routing import Call, Route
from api.shapes import Nothing


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    alive: bool = True


class Ready(msgspec.Struct, frozen=True):
    """Every role of the installation runs."""

    ready: bool
    roles: Mapping[str, bool]


async def alive(_: Call[Nothing, Nothing]) -> Alive:
    """200 as long as the process answers at all."""
    return Alive()


async def ready(call: Call[Nothing, Nothing]) -> Ready:
    """200 once everything runs; 503 names what does not."""
    roles = await call.context.ready()
    missing = sorted(role for role, runs in roles.items() if not runs)
    if missing:
        raise ProblemError(503, f"Not ready yet: {', '.join(missing)}.", headers={"Retry-After": "1"})
    return Ready(True, roles)


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/healthz",
        summary="Whether the process answers",
        permission=None,
        handler=alive,
        body=Nothing,
        query=Nothing,
        answer=Alive,
    ),
    Route(
        method="GET",
        path="/readyz",
        summary="Whether the installation works",
        permission=None,
        handler=ready,
        body=Nothing,
        query=Nothing,
        answer=Ready,
        problems={503: "Something does not run yet, or not any more; it is named."},
    ),
)
