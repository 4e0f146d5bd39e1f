"""Whether the process lives, whether the installation works, and its numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy.ext.asyncio import AsyncConnection

from api.problems import ProblemError
from api.routing import Call, Route
from api.shapes import Nothing
from store import outbox, subscriptions, totals
from store.database import clock

METRICS = "text/plain; version=0.0.4; charset=utf-8"


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


async def metrics(call: Call[Nothing, Nothing]) -> web.Response:
    """Numbers for Prometheus, counted when they are asked for."""
    async with call.context.database.read() as connection:
        families = await _families(connection)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counted(families))
    body = generate_latest(registry) + generate_latest(call.context.metrics)
    return web.Response(body=body, headers={"Content-Type": METRICS, "Cache-Control": "no-store"})


class _Counted:
    """Numbers that are there already, as prometheus-client collects them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _families(connection: AsyncConnection) -> list[Metric]:
    syncs = GaugeMetricFamily("tidegate_syncs", "Syncs that have not ended, by state.", labels=["state"])
    for state, count in (await totals.live_syncs_by_state(connection)).items():
        syncs.add_metric([state], count)
    health = GaugeMetricFamily("tidegate_connections", "Connections by health.", labels=["health"])
    for name, count in (await totals.connections_by_health(connection)).items():
        health.add_metric([name], count)
    oldest = await outbox.oldest_unsent(connection)
    lag = (await clock(connection) - oldest).total_seconds() if oldest is not None else 0.0
    behind = "Seconds that the oldest unpublished event has waited."
    waited = GaugeMetricFamily("tidegate_outbox_lag_seconds", behind, max(0.0, lag))
    return [syncs, health, waited, *await _webhooks(connection)]


async def _webhooks(connection: AsyncConnection) -> list[Metric]:
    by_status, by_outcome = await subscriptions.totals(connection)
    told = GaugeMetricFamily("tidegate_subscriptions", "Subscriptions by status.", labels=["status"])
    for status, count in by_status.items():
        told.add_metric([status], count)
    about = "Attempts to deliver an event, by outcome, of the subscriptions there are."
    attempts = CounterMetricFamily("tidegate_webhook_attempts", about, labels=["outcome"])
    for outcome, count in by_outcome.items():
        attempts.add_metric([outcome], count)
    return [told, attempts]


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
    Route(
        method="GET",
        path="/metrics",
        summary="Numbers for Prometheus",
        permission=None,
        handler=metrics,
        body=Nothing,
        query=Nothing,
        media=(METRICS,),
        problems={503: "The database does not answer at the moment: try again."},
    ),
)
