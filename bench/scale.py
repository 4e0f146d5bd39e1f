"""How many connections one scheduler serves: what a tick costs, how late syncs begin, what workers do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from sqlalchemy import delete, func, select, update

from adapters.jira import Jira
from bench.crowd import add_crowd, analyse, set_due, spread
from bench.remote import EMAIL, TOKEN, jira_process
from bench.stage import SCHEDULER, STILL_WORKER, WORKER, Role, Spent, Stage, open_stage
from bench.webhooks import share
from scheduler.scheduler import Scheduler
from store import credentials
from store.database import clock
from store.schema import connections, outbox, syncs
from store.streams import StreamTables
from worker.queue import Queue, connect

SIZES = (100, 10_000, 100_000)
DUE = (0, 10, 100, 1_000)
ROUNDS = 3
#: From the start of the processes until the first connection of the crowd is due.
LEAD = timedelta(seconds=60)
BEHIND_SECONDS = 120.0
#: Connections whose syncs are counted for the rate of a worker.
RATE = 1_000


async def ticks(kind: str, sizes: Sequence[int] = SIZES, dues: Sequence[int] = DUE) -> None:
    """Milliseconds of a tick by how many connections there are and how many of them are due."""
    print(f"\n{kind}: ms of a tick until all is open and rung (in brackets of a core; medians of {ROUNDS})")
    columns = [*(f"{due} due" for due in dues), "reaper", "upkeep"]
    print("  " + "connections".ljust(12) + "".join(f"{column:>17}" for column in columns))
    async with open_stage(kind) as stage:
        there = 0
        for size in sizes:
            await add_crowd(stage, size - there)
            there = size
            redis = connect(stage.redis_url)
            scheduler = Scheduler(stage.database, StreamTables(()), Queue(redis))
            found = [await _tick(stage, scheduler, due) for due in dues]
            found += [await _timed(scheduler.reap), await _timed(scheduler.upkeep)]
            shown = "".join(f"{f'{took.wall:.1f} ({took.cpu:.1f})':>17}" for took in found)
            print(f"  {size:<12}{shown}", flush=True)
            await redis.flushall()
            await redis.aclose()


class Took(NamedTuple):
    """Milliseconds that passed, and those of a core that this process needed."""

    wall: float
    cpu: float


async def _tick(stage: Stage, scheduler: Scheduler, due: int) -> Took:
    """The median of some rounds; what each opened is gone before the next."""
    took = []
    for number in range(ROUNDS):
        async with stage.database.write() as connection:
            await connection.execute(delete(syncs))
            await connection.execute(delete(outbox))
            ids = (await connection.execute(select(connections.c.id))).scalars().all()
            now = await clock(connection)
            far = update(connections).where(connections.c.next_due_at < now + timedelta(days=200))
            await connection.execute(far.values(next_due_at=now + timedelta(days=300)))
        chosen = Random(number).sample(ids, min(due, len(ids)))
        await set_due(stage.database, [(one, now) for one in chosen])
        took.append(await _once(scheduler.tick))
        await _all_open(stage, len(chosen))
    return _median(took)


async def _all_open(stage: Stage, number: int) -> None:
    async with stage.database.read() as connection:
        found = (await connection.execute(select(func.count()).select_from(syncs))).scalar_one()
    # One that was due just before its place in the hour is due again at once.
    if found < number:
        raise RuntimeError(f"{number} connections were due and {found} syncs were opened")


async def _timed(work: Callable[[], Awaitable[None]]) -> Took:
    return _median([await _once(work) for _ in range(ROUNDS)])


async def _once(work: Callable[[], Awaitable[None]]) -> Took:
    began, spent = time.perf_counter(), time.process_time()
    await work()
    return Took((time.perf_counter() - began) * 1000, (time.process_time() - spent) * 1000)


def _median(took: Sequence[Took]) -> Took:
    return Took(share([one.wall for one in took], 0.5), share([one.cpu for one in took], 0.5))


async def hour(kind: str, count: int, minutes: float, workers: int = 1) -> None:
    """So many connections due over an hour, of which some minutes are lived through."""
    print(f"\n{kind}: {count:,} connections due over an hour, {minutes:g} minutes of it, {workers} worker(s)")
    async with open_stage(kind) as stage, AsyncExitStack() as stack:
        await add_crowd(stage, count)
        begin = await stage.database.time() + LEAD
        await spread(stage.database, begin)
        due = await _due(stage, begin, minutes)
        begin = await _not_before(stage, begin)
        roles = {"scheduler": await stack.enter_async_context(stage.role(SCHEDULER))}
        for number in range(1, workers + 1):
            roles[f"worker {number}"] = await stack.enter_async_context(stage.role(STILL_WORKER))
        await _sleep_until(stage, begin)
        seen = [_look(roles)]
        end = begin + timedelta(minutes=minutes)
        while await stage.database.time() < end:
            await asyncio.sleep(1.0)
            seen.append(_look(roles))
        await _settled(stage, len(due))
        await _delays(stage, due)
        _memory(seen, minutes)


async def _not_before(stage: Stage, begin: datetime) -> datetime:
    """Writing a crowd may have taken longer than planned: what was due meanwhile would be called late."""
    if await stage.database.time() > begin - timedelta(seconds=5):
        raise RuntimeError("this machine is too slow to write so many connections in time")
    return begin


async def _due(stage: Stage, begin: datetime, minutes: float) -> dict[int, datetime]:
    """What falls due in these minutes, and when."""
    c = connections.c
    query = select(c.id, c.next_due_at).where(c.next_due_at < begin + timedelta(minutes=minutes))
    async with stage.database.read() as connection:
        return {row.id: row.next_due_at for row in await connection.execute(query)}


async def _sleep_until(stage: Stage, moment: datetime) -> None:
    await asyncio.sleep(max(0.0, (moment - await stage.database.time()).total_seconds()))


async def _settled(stage: Stage, number: int) -> None:
    """Wait until so many syncs have begun."""
    until = time.monotonic() + BEHIND_SECONDS
    begun = select(func.count()).where(syncs.c.started_at.is_not(None))
    while time.monotonic() < until:
        async with stage.database.read() as connection:
            if (await connection.execute(begun)).scalar_one() >= number:
                return
        await asyncio.sleep(1.0)


async def _delays(stage: Stage, due: dict[int, datetime]) -> None:
    c = syncs.c
    query = select(c.connection_id, c.queued_at, c.started_at, c.state)
    async with stage.database.read() as connection:
        rows = [row for row in await connection.execute(query) if row.connection_id in due]
    print(
        f"  {len(due):,} fell due, {len(rows):,} were opened, {len({r.connection_id for r in rows}):,} apart"
    )
    print(f"  states: {', '.join(sorted({row.state for row in rows}))}")
    opened = [(row.queued_at - due[row.connection_id]).total_seconds() for row in rows]
    begun = [(row.started_at - due[row.connection_id]).total_seconds() for row in rows if row.started_at]
    for what, late in (("due until queued", opened), ("due until begun", begun)):
        parts = "  ".join(f"p{part * 100:g} {share(late, part):.2f}" for part in (0.5, 0.95, 0.99))
        print(f"  {what + ', in seconds':32}{parts}  most {max(late):.2f}   ({len(late):,})")


def _look(roles: Mapping[str, Role]) -> dict[str, Spent]:
    return {name: role.spent() for name, role in roles.items()}


def _memory(seen: Sequence[Mapping[str, Spent]], minutes: float) -> None:
    for name in seen[0]:
        cpu = seen[-1][name].cpu - seen[0][name].cpu
        resident = [one[name].resident for one in seen]
        third = max(1, len(resident) // 3)
        print(
            f"  {name:32}{cpu / (minutes * 60):.0%} of a core; memory {resident[0]:.0f} MB at the beginning, "
            f"{resident[third]:.0f} after a third, {resident[-1]:.0f} at the end, {max(resident):.0f} at most"
        )


async def rate(kind: str, count: int = RATE) -> None:
    """Syncs that one worker process completes in a second when nothing is new."""
    print(f"\n{kind}: syncs in a second that one worker process completes when nothing is new")
    for command, what in ((STILL_WORKER, "a remote that costs nothing"), (WORKER, "Jira, on this machine")):
        async with open_stage(kind) as stage, jira_process(1) as remote:
            if command is WORKER:
                await _connect_jira(stage, remote.url, count)
            else:
                await add_crowd(stage, count)
            async with stage.role(SCHEDULER) as scheduler, stage.role(command) as worker:
                await _drained(stage, count)  # the first sync of each
                await analyse(stage.database)
                before = scheduler.spent().cpu, worker.spent().cpu
                seconds = await _drained(stage, count)
                after = scheduler.spent().cpu, worker.spent().cpu
            cpu = [(b - a) / count * 1000 for a, b in zip(before, after, strict=True)]
            print(
                f"  {what:32}{count / seconds:6.0f} a second; a sync costs {cpu[1]:.1f} ms of a core in the "
                f"worker, {cpu[0]:.1f} in the scheduler",
                flush=True,
            )


async def _connect_jira(stage: Stage, url: str, count: int) -> None:
    """Connections to the filter, with one credential."""
    async with stage.database.write() as connection:
        now = await clock(connection)
        values = {"name": "bench", "system": "jira", "kind": "basic", "username": EMAIL}
        credential = await credentials.add(connection, values, now)
        sealed = stage.vault.seal(TOKEN, credentials.place(credential))
        await credentials.change(connection, credential, {"secret": sealed})
    canonical = Jira.parse(url, {}).canonical
    await add_crowd(stage, count, system="jira", url=url, canonical=canonical, credential_id=credential)


async def _drained(stage: Stage, count: int) -> float:
    """Let all be due at once; the seconds until all syncs have ended."""
    async with stage.database.write() as connection:
        before = (await connection.execute(_ENDED)).scalar_one()
        await connection.execute(update(connections).values(next_due_at=await clock(connection)))
    began = time.perf_counter()
    while True:
        async with stage.database.read() as connection:
            if (await connection.execute(_ENDED)).scalar_one() >= before + count:
                return time.perf_counter() - began
        await asyncio.sleep(0.2)


_ENDED = select(func.count()).where(syncs.c.finished_at.is_not(None))


async def measure(what: str, kinds: Sequence[str], count: int, minutes: float, workers: int) -> None:
    """All of it, or one part: `ticks`, `rate` or `hour`."""
    for kind in kinds:
        if what not in ("rate", "hour"):
            await ticks(kind, [*(size for size in SIZES if size < count), count])
        if what not in ("ticks", "hour"):
            await rate(kind)
        if what not in ("ticks", "rate"):
            await hour(kind, count, minutes, workers)
