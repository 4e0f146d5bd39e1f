"""`make bench`: syncs beside the bare pipeline, webhooks, fairness and scale, on each database."""

import argparse
import asyncio
import logging
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from uuid import uuid4

import structlog

from bench import fairness, scale, stage, webhooks
from bench.bare import Nowhere, Postgres, Sqlite, run
from bench.product import open_product
from bench.remote import jira_process
from bench.requests import print_requests
from store.database import Database

POSTGRES = "TIDEGATE_TEST_POSTGRES"
#: `scale` is ticks, rate and hour.
WHAT = ("all", "syncs", "requests", "webhooks", "fairness", "scale", "ticks", "rate", "hour")


async def measured(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


@asynccontextmanager
async def fresh(kind: str, folder: Path) -> AsyncIterator[Database]:
    """An empty database of either kind."""
    if kind == "sqlite":
        database = Database(f"sqlite+aiosqlite:///{folder}/{uuid4().hex}.db")
        yield database
        await database.close()
        return
    schema = f"bench_{uuid4().hex}"
    url = os.environ[POSTGRES].replace("postgresql://", "postgresql+asyncpg://", 1)
    database = Database(url, schema)
    yield database
    async with database.write() as connection:
        await connection.exec_driver_sql(f'DROP SCHEMA "{schema}" CASCADE')
    await database.close()


async def bare(kind: str, url: str, folder: Path) -> float:
    """Seconds of the bare pipeline into a database."""
    sink = (
        Sqlite(folder / f"{uuid4().hex}.db")
        if kind == "sqlite"
        else await Postgres.open(os.environ[POSTGRES])
    )
    seconds = await measured(lambda: run(url, sink))
    await sink.close()
    return seconds


async def product(kind: str, url: str, folder: Path) -> tuple[float, float]:
    """Seconds of Tidegate's first sync, and of a full one that finds everything unchanged."""
    async with fresh(kind, folder) as database, open_product(database) as made:
        connection = await made.connect(url)
        first = await measured(lambda: made.sync(connection))
        again = await measured(lambda: made.sync(connection, "full"))
    return first, again


def line(what: str, rate: float, ratio: str) -> None:
    print(f"  {what:26}{rate:8,.0f} records/s   {ratio}".rstrip())


async def syncs(kinds: Sequence[str], issues: int, rounds: int) -> None:
    """First and second sync."""
    print(f"{issues} issues of about 6 KB, pages of 100, {rounds} rounds, the median counts.")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; client and server share them.")
    async with jira_process(issues) as remote:
        url = remote.url
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            await run(url, Nowhere())
            fetch = median([await measured(lambda: run(url, Nowhere())) for _ in range(rounds)])
            print(f"\nfetch, split and hash alone: {issues / fetch:,.0f} records/s")
            for kind in kinds:
                # Taken in turns, so that a busy minute of the machine meets both.
                pairs = [
                    (await bare(kind, url, folder), *await product(kind, url, folder)) for _ in range(rounds)
                ]
                plain, first, again = (median(column) for column in zip(*pairs, strict=True))
                print(f"\n{kind}")
                line("bare pipeline", issues / plain, "")
                line("first sync", issues / first, f"{plain / first:.2f} x bare")
                line("all unchanged, full sync", issues / again, f"{fetch / again:.2f} x fetch")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process: {peak:.0f} MB")


async def told(kinds: Sequence[str], issues: int) -> None:
    """Webhooks, one after the other and many at once."""
    for kind in kinds:
        print(f"\n{kind}: a webhook until its record is committed and told of, {issues} issues")
        async with jira_process(issues) as remote:
            await webhooks.latency(kind, remote)
        async with jira_process(500) as remote:
            await webhooks.burst(kind, remote)


async def main(asked: argparse.Namespace) -> None:
    what, kinds = asked.what, asked.on or stage.kinds()
    if what in ("all", "syncs"):
        await syncs(kinds, asked.issues, asked.rounds)
    if what in ("all", "requests"):
        await print_requests()
    if what in ("all", "webhooks"):
        await told(kinds, asked.hooked)
    if what in ("all", "fairness"):
        for kind in kinds:
            await fairness.neighbours(kind, asked.giant, asked.small)
    if what in ("all", "scale", "ticks", "rate", "hour"):
        await scale.measure(what, kinds, asked.connections, asked.minutes, asked.workers)
    if not os.environ.get(POSTGRES):
        print(f"\nPostgreSQL was not measured: {POSTGRES} is not set.")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=WHAT, default="all")
    parser.add_argument("--on", action="append", choices=["sqlite", "postgres"], help="only this database")
    parser.add_argument("--issues", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hooked", type=int, default=50_000, help="issues while webhooks come")
    parser.add_argument("--giant", type=int, default=200_000, help="fairness: issues of the large connection")
    parser.add_argument("--small", type=int, default=50, help="fairness: small connections")
    parser.add_argument(
        "--connections", type=int, default=100_000, help="scale: connections due over an hour"
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="scale: how much of the hour is measured")
    parser.add_argument("--workers", type=int, default=1, help="scale: worker processes in that hour")
    sys.exit(asyncio.run(main(parser.parse_args())))
