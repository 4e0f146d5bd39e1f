"""Numbers for Prometheus: what the database knows of all processes, and what this one knows of itself."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import Caller
from api.context import Context
from api.routing import Call, Route, authenticated
from api.shapes import Nothing
from store import counts, outbox, subscriptions, tally, totals
from store.database import clock
from store.dump import moment
from store.staleness import Staleness, staleness
from store.tally import BOUNDS, Ended, Totals

METRICS = "text/plain; version=0.0.4; charset=utf-8"
#: So many connections have a series of their own: those furthest behind.
WORST = 20
#: A database that takes longer is as good as none; whoever asks waits for 10 s.
PATIENCE_SECONDS = 8.0

ENDED = ("succeeded", "partial", "failed", "cancelled")
OUTCOMES = ("accepted", "ignored", "refused")


def own_numbers() -> CollectorRegistry:
    """What a process tells of itself: memory, time, open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


async def metrics(call: Call[Nothing, Nothing]) -> web.Response:
    """Numbers for Prometheus. Which connections are furthest behind is told to keys of the whole account."""
    headers = call.request.headers
    detailed = False
    if "Authorization" in headers or "X-API-Key" in headers:
        detailed = _sees_all(await authenticated(call.context, call.request))
    ask = partial(_asked, call.context, detailed=detailed)
    body = await call.context.scrapes.get(detailed=detailed, ask=ask)
    return web.Response(body=body, headers={"Content-Type": METRICS, "Cache-Control": "no-store"})


def _sees_all(caller: Caller) -> bool:
    return caller.may("read") and caller.projects is None


async def _asked(context: Context, *, detailed: bool) -> bytes:
    families = [_build(), *await _redis(context)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await context.remotes.counts.write(context.database)
            async with moment(context.database) as connection:
                families += await _families(context, connection, detailed=detailed)
        up = 1
    except (SQLAlchemyError, OSError):  # a TimeoutError is one
        up = 0
    families.append(_gauge("tidegate_database_up", "Whether the database answers.", up))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counted(families))
    return generate_latest(registry) + generate_latest(context.metrics)


class _Counted:
    """Numbers that are there already, as prometheus-client collects them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value)


def _gauges(name: str, about: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    """One value for each label, or for each tuple of labels."""
    family = GaugeMetricFamily(name, about, labels=labels)
    return _filled(family, values)


def _counters(name: str, about: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _filled(CounterMetricFamily(name, about, labels=labels), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for key, value in values.items():
        family.add_metric(key if isinstance(key, tuple) else (key,), value)
    filled: Metric = family
    return filled


def _build() -> Metric:
    return _gauges("tidegate_build_info", "The version that answers.", ("version",), {version("tidegate"): 1})


async def _redis(context: Context) -> list[Metric]:
    if context.redis_answers is None:
        return []
    return [_gauge("tidegate_redis_up", "Whether Redis answers.", int(await context.redis_answers()))]


async def _families(context: Context, connection: AsyncConnection, *, detailed: bool) -> list[Metric]:
    systems = sorted(context.remotes.adapters)
    behind = await staleness(connection, WORST, periods=context.scrapes.periods)
    found = await tally.totals(connection)
    for system in systems:
        for lane in totals.LANES:
            found.setdefault((system, lane), Ended())
    return [
        *_stale(behind, detailed=detailed),
        *await _now(connection),
        *_ended(found),
        *_work(found),
        _waits(found),
        *await _counts(connection, systems),
        *await _webhooks_out(connection),
    ]


def _stale(behind: Staleness, *, detailed: bool) -> list[Metric]:
    about = "The highest (now - last success) / interval of all connections that are due by themselves."
    found = [_gauge("tidegate_staleness_ratio_max", about, behind.highest)]
    about = "Connections whose last success is longer ago than so many intervals."
    above = {str(bound): count for bound, count in behind.above.items()}
    found.append(_gauges("tidegate_stale_connections", about, ("above",), above))
    if detailed:
        about = f"(now - last success) / interval of the {WORST} connections furthest behind."
        worst = {(str(one.id), one.name, one.system): one.ratio for one in behind.worst}
        labels = ("connection_id", "name", "system")
        found.append(_gauges("tidegate_connection_staleness_ratio", about, labels, worst))
    return found


async def _now(connection: AsyncConnection) -> list[Metric]:
    """How things stand at the moment."""
    oldest = await outbox.oldest_unsent(connection)
    lag = (await clock(connection) - oldest).total_seconds() if oldest is not None else 0.0
    causes = await totals.connections_by_cause(connection)
    live = await totals.live_syncs_by_state(connection)
    ages = await totals.queue_ages(connection)
    roles = await totals.processes_by_role(connection)
    held = await totals.quarantined_by_system(connection)
    about_lease = "Since when the sync lease that was longest not renewed was not."
    about_lag = "Seconds that the oldest unpublished event has waited."
    return [
        _gauges("tidegate_connections", "Connections by health and cause.", ("health", "cause"), causes),
        _gauges("tidegate_syncs", "Syncs that have not ended, by state.", ("state",), live),
        _gauges("tidegate_queue_age_seconds", "Wait of the longest due sync, by lane.", ("lane",), ages),
        _gauge("tidegate_lease_age_seconds", about_lease, await totals.lease_age(connection)),
        _gauge("tidegate_outbox_lag_seconds", about_lag, max(0.0, lag)),
        _gauges("tidegate_processes", "Processes seen in the last 15 s, by role.", ("role",), roles),
        _gauges("tidegate_quarantined_records", "Records that could not be read.", ("system",), held),
        _gauge(
            "tidegate_paused_hosts", "Hosts that asked for a pause.", await totals.paused_hosts(connection)
        ),
    ]


def _ended(found: Totals) -> list[Metric]:
    about = "Syncs that ended, by what they came to."
    states = {
        (system, lane, state): ended.states.get(state, 0)
        for (system, lane), ended in found.items()
        for state in ENDED
    }
    about_durations = "From the start of a sync to its end, waits included."
    labels = ("system", "lane")
    durations = HistogramMetricFamily("tidegate_sync_duration_seconds", about_durations, labels=labels)
    for key, ended in found.items():
        durations.add_metric(key, _buckets(ended), ended.seconds)
    return [_counters("tidegate_syncs_ended", about, ("system", "lane", "state"), states), durations]


def _buckets(ended: Ended) -> list[tuple[str, float]]:
    """Each with all that is below it, as Prometheus has it."""
    bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
    return [(bound, sum(ended.durations[: n + 1])) for n, bound in enumerate(bounds)]


def _work(found: Totals) -> list[Metric]:
    told = {
        "records_read": ("Records that the remotes gave.", "read"),
        "records_written": ("Records that were stored anew, changed, or marked as gone.", "written"),
        "records_rejected": ("Records that could not be read and went into quarantine.", "rejected"),
        "remote_requests": ("Requests that syncs made.", "requests"),
        "remote_received_bytes": ("Bytes that syncs received, decompressed.", "bytes"),
    }
    families = []
    for name, (about, field) in told.items():
        sums: dict[str, float] = {}
        for (system, _), ended in found.items():
            sums[system] = sums.get(system, 0) + getattr(ended, field)
        families.append(_counters(f"tidegate_{name}", about, ("system",), sums))
    return families


def _waits(found: Totals) -> Metric:
    about = "Seconds that syncs waited: for the budget of a host, or put off for a reason."
    waits: dict[tuple[str, str], float] = {}
    for (system, _), ended in found.items():
        for reason, seconds in {"budget": ended.waited, "rate_limited": 0.0, **ended.waits}.items():
            waits[system, reason] = waits.get((system, reason), 0.0) + seconds
    return _counters("tidegate_remote_wait_seconds", about, ("system", "reason"), waits)


async def _counts(connection: AsyncConnection, systems: Iterable[str]) -> list[Metric]:
    limited: dict[tuple[str, ...], int] = {(system,): 0 for system in systems}
    limited.update(await counts.counted(connection, counts.RATE_LIMITED))
    taken: dict[tuple[str, ...], int] = {(system, outcome): 0 for system in systems for outcome in OUTCOMES}
    taken.update(await counts.counted(connection, counts.WEBHOOKS_IN))
    about = "Answers that said that it was too much (429)."
    about_in = "Webhooks that came in. Those to an unknown address are of the system unknown."
    return [
        _counters("tidegate_remote_rate_limited", about, ("system",), limited),
        _counters("tidegate_webhooks_received", about_in, ("system", "outcome"), taken),
    ]


async def _webhooks_out(connection: AsyncConnection) -> list[Metric]:
    by_status, by_outcome = await subscriptions.totals(connection)
    about = "Attempts to deliver an event, by outcome."
    return [
        _gauges("tidegate_subscriptions", "Subscriptions by status.", ("status",), by_status),
        _counters("tidegate_webhook_attempts", about, ("outcome",), by_outcome),
    ]


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/metrics",
        summary="Numbers for Prometheus",
        permission=None,
        handler=metrics,
        body=Nothing,
        query=Nothing,
        media=(METRICS,),
        problems={401: "An API key was given, and is not known.", 429: "Too many wrong API keys."},
    ),
)
