"""Writing what a slice came to: the next slice, a wait, or the end with its receipt and health."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from config.failpoints import Step, passed
from config.frequency import FrequencyError, census_period, parse_frequency
from store import claims, connections, parts, rows, syncs
from store.connections import Connection
from store.health import CHECK_EVERY, LIMITED_FROM, PAUSING, Problem, problem
from store.parts import Part
from store.records import Progress
from store.syncs import PERSONAL, Lane, Ring, Sync
from worker.outcome import End, Outcome, PassOn, Wait

if TYPE_CHECKING:
    from worker.sync import Deps

log = structlog.get_logger()

_WRITTEN = {PassOn: Step.PASS_ON_WRITTEN, Wait: Step.WAIT_WRITTEN, End: Step.END_WRITTEN}
_COMMITTED = {PassOn: Step.PASS_ON_COMMITTED, Wait: Step.WAIT_COMMITTED, End: Step.END_COMMITTED}
_STALE_AFTER = 3  # periods without a success
_STALE_AT_LEAST = timedelta(minutes=15)


async def write(
    deps: "Deps", sync: Sync, progress: Progress, outcome: Outcome, touched: Sequence[Part] = ()
) -> Sequence[Ring]:
    """Commit the outcome of a slice under its fence; what is to be rung now. Raises `LostLeaseError`."""
    async with deps.database.write() as connection:
        held, now = await claims.hold(connection, sync, deps.owner)
        await parts.save(connection, sync.id, touched)
        match outcome:
            case PassOn():
                await syncs.pass_on(connection, sync, progress.columns())
                rings: Sequence[Ring] = (Ring(sync.id, sync.fence, sync.lane),)
            case Wait():
                await _wait(connection, held, sync, progress, outcome, now)
                rings = ()
            case End():
                rings = await _end(deps, connection, held, sync, progress, outcome, now)
        passed(_WRITTEN[type(outcome)])
    passed(_COMMITTED[type(outcome)])
    _tell(sync, progress, outcome)
    return rings


async def _wait(
    connection: AsyncConnection,
    held: RowMapping,
    sync: Sync,
    progress: Progress,
    outcome: Wait,
    now: datetime,
) -> None:
    facts: dict[str, object] = {}
    if outcome.limited and outcome.until - now >= LIMITED_FROM:
        facts["limited_until"] = outcome.until
    if not outcome.limited and not progress.pages:
        facts["unavailable"] = held["unavailable"] + 1
        facts["last_error_at"] = now
    if facts:
        await connections.change(connection, held["id"], now, facts)
    since = None if progress.pages else sync.waiting_since
    tries = 0 if progress.pages else sync.tries
    values = {**progress.columns(), "error": outcome.error, "waiting_since": since or now, "tries": tries + 1}
    await syncs.postpone(connection, sync, outcome.until, now, values)


async def _end(
    deps: "Deps",
    connection: AsyncConnection,
    held: RowMapping,
    sync: Sync,
    progress: Progress,
    outcome: End,
    now: datetime,
) -> Sequence[Ring]:
    if sync.lane == "bulk":
        await parts.keep_errors(connection, sync, now)
    if sync.scope == "full" and outcome.state != "failed":
        await parts.keep_all_cursors(connection, sync, now)
    # The sync ends before the connection's health is told: consumers see the reason first.
    values = {**progress.columns(), "receipt": outcome.receipt, "error": outcome.error}
    await syncs.finish(connection, sync, outcome.state, now, values)
    tables = deps.tables.of(held["system"])
    look_at = await rows.earliest_look(connection, tables, sync.connection_id)
    facts = {"next_look_at": look_at, **_facts(held, sync, outcome, now)}
    if sync.lane == "bulk":
        facts |= await _by_the_way(connection, sync, outcome, now)
    await connections.change(connection, held["id"], now, facts)
    if outcome.failure and outcome.error is not None and outcome.error.kind in PAUSING:
        remembered = held["remembered"] + await _withdraw(connection, sync, outcome.error, now)
        await connections.change(connection, held["id"], now, {"remembered": remembered})
    queued = await claims.next_in_lane(connection, sync.connection_id, sync.lane)
    return () if queued is None else (queued,)


async def _withdraw(connection: AsyncConnection, sync: Sync, why: Problem, now: datetime) -> int:
    """Cancel what waits in line and no person asked for: one refused login is enough. How many triggers."""
    lanes: tuple[Lane, ...] = ("bulk", "records")
    live = [one for lane in lanes for one in await syncs.of_lane(connection, sync.connection_id, lane)]
    triggers = 0
    for one in live:
        if (
            one.state == "queued"
            and one.trigger not in PERSONAL
            and await syncs.cancel(connection, one, now, why)
        ):
            triggers += 1 + one.joined
    return triggers


async def _by_the_way(
    connection: AsyncConnection, sync: Sync, outcome: End, now: datetime
) -> dict[str, object]:
    """What the end of a sync of the bulk lane also tells: when to count again, and of silent webhooks."""
    after = await syncs.get(connection, sync.id)
    of = await connections.get(connection, sync.connection_id, deleted=True)
    if after is None or of is None:
        return {}
    facts: dict[str, object] = {}
    counted = after.census or sync.scope in ("census", "full")
    if not outcome.failure and (counted or of.census_at is None):
        every = census_period(of.params)
        facts["census_at"] = now + every if every else None
    if _missed(of, after):
        facts["webhook_missed_at"] = now
    return facts


def _missed(of: Connection, sync: Sync) -> bool:
    """Whether polling found what no webhook told of, in a whole period without any."""
    found = any(counts.new or counts.changed for counts in sync.counters.values())
    return (
        found
        and of.webhook_missed_at is None
        and of.last_webhook_at is not None
        and of.last_sync_at is not None
        and of.last_webhook_at < of.last_sync_at
    )


def _facts(held: RowMapping, sync: Sync, outcome: End, now: datetime) -> dict[str, object]:
    """What the end of a sync means for its connection."""
    facts: dict[str, object] = {}
    if sync.lane == "bulk":
        facts |= {"last_sync_at": now, "ingesting": False}
    if outcome.state != "succeeded":
        facts["last_error_at"] = now
    if outcome.failure:
        return facts | _failure(outcome.error, now)
    facts |= {"unavailable": 0, "limited_until": None, "crashes": 0}
    if sync.lane == "bulk" or outcome.state == "succeeded":
        facts |= {"failure": None, "next_check_at": None}
    if sync.lane == "bulk":
        facts |= {"partial": outcome.error, "remembered": 0}
        if outcome.state == "succeeded":
            facts |= {"last_success_at": now, "stale_at": _stale_at(held, now)}
    elif outcome.state == "succeeded" and problem(held["failure"]) is not None:
        facts |= {"catch_up": True, "next_due_at": now}
    return facts


def _failure(error: Problem | None, now: datetime) -> dict[str, object]:
    pausing = error is not None and error.kind in PAUSING
    return {"failure": error, "limited_until": None, "next_check_at": now + CHECK_EVERY if pausing else None}


def _stale_at(held: RowMapping, now: datetime) -> datetime | None:
    """When a connection that nothing is heard of any more is to be called stale."""
    try:
        period = parse_frequency(held["frequency"], held["timezone"]).period
    except FrequencyError:
        return None  # the scheduler tells of it
    return None if period is None else now + max(_STALE_AFTER * period, _STALE_AT_LEAST)


def _tell(sync: Sync, progress: Progress, outcome: Outcome) -> None:
    match outcome:
        case Wait():
            log.info("sync.waiting", until=outcome.until.isoformat(), reason=outcome.error.message)
        case End() if outcome.error is not None:
            log.warning(
                "sync.ended", state=outcome.state, kind=outcome.error.kind, reason=outcome.error.message
            )
        case End():
            log.info("sync.ended", state=outcome.state, pages=sync.pages + progress.pages)
