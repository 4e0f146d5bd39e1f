"""A giant beside small ones: how soon these begin while the giant is read, and what hosts are asked."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

from adapters.jira import Jira as Adapter
from bench.remote import Jira, jira_process
from bench.town import Town, open_town
from bench.webhooks import share

SMALL = 50
WORKERS = 2
#: The small ones are asked for at random moments of so many seconds.
SPREAD_SECONDS = 20.0
LATENCY = 0.02


async def neighbours(kind: str, issues: int, small: int = SMALL) -> None:
    """One connection with so many issues, and small ones on its host and on another, with two workers."""
    print(f"\n{kind}: {small} small connections beside one with {issues:,} issues, {WORKERS} workers")
    half = small // 2
    async with (
        jira_process(issues, LATENCY, half) as near,
        jira_process(1, LATENCY, small - half) as far,
        open_town(kind, WORKERS) as town,
    ):
        giant = await town.connect("giant", near.url)
        began = time.perf_counter()
        asked = await town.call("POST", f"/v1/connections/{giant['id']}/sync", {"scope": "incremental"})
        await _reads(town, asked["id"])
        due = await _connect(town, near, "on its host", half) + await _connect(
            town, far, "elsewhere", small - half
        )
        first = [(await _syncs(town, one["id"]))[-1]["id"] for one in due]
        _print("due, with their first sync", [await town.ended(one) for one in first])
        _print("asked for at random moments", await _asked(town, due))
        _print("asked for all at once", await _asked(town, due, spread=0.0))
        sync = await town.call("GET", f"/v1/syncs/{asked['id']}")
        read = sum(counts["read"] for counts in sync["counters"].values())
        seconds = time.perf_counter() - began
        print(f"  the giant is {sync['state']} then: {read:,} of {issues:,} read in {seconds:.0f} s")
        most = await near.most(), await far.most()
        print(
            f"  requests at once: {most[0]} at its host, {most[1]} at the other; "
            f"allowed are {Adapter.limits.parallel}"
        )


async def _connect(town: Town, remote: Jira, name: str, count: int) -> list[Mapping[str, Any]]:
    """Small connections, each of a project of its own, which are due at once."""
    made = []
    for number in range(count):
        params = {"jql": f"project = S{number}"}
        url = remote.url.partition("/issues/")[0]
        made.append(await town.connect(f"{name} {number}", url, params=params, frequency="daily"))
    return made


async def _reads(town: Town, sync_id: int) -> None:
    """Wait until the giant is being read."""
    while not (await town.call("GET", f"/v1/syncs/{sync_id}"))["counters"]:  # noqa: ASYNC110 - as the API says
        await asyncio.sleep(0.1)


async def _syncs(town: Town, connection_id: int) -> Sequence[Mapping[str, Any]]:
    while True:
        found: Sequence[Mapping[str, Any]] = (
            await town.call("GET", f"/v1/connections/{connection_id}/syncs")
        )["syncs"]
        if found:
            return found
        await asyncio.sleep(0.2)


async def _asked(
    town: Town, small: Sequence[Mapping[str, Any]], spread: float = SPREAD_SECONDS
) -> list[Mapping[str, Any]]:
    random = Random(1)

    async def one(connection_id: int) -> Mapping[str, Any]:
        await asyncio.sleep(random.uniform(0, spread))
        path = f"/v1/connections/{connection_id}/sync"
        opened = await town.call("POST", path, {"scope": "incremental"})
        return await town.ended(opened["id"])

    return list(await asyncio.gather(*(one(each["id"]) for each in small)))


def _print(what: str, ended: Sequence[Mapping[str, Any]]) -> None:
    begun = [_between(sync, "queued_at", "started_at") for sync in ended]
    took = [_between(sync, "started_at", "finished_at") for sync in ended]
    states = ", ".join(sorted({sync["state"] for sync in ended}))
    print(
        f"  {what:30}begin after p50 {share(begun, 0.5):.2f} s  p95 {share(begun, 0.95):.2f}  most "
        f"{max(begun):.2f}; take p50 {share(took, 0.5):.1f} s  p95 {share(took, 0.95):.1f}   ({states})",
        flush=True,
    )


def _between(sync: Mapping[str, Any], first: str, second: str) -> float:
    at, then = (datetime.fromisoformat(sync[name]) for name in (first, second))
    return (then - at).total_seconds()
