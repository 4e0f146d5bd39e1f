"""How long it takes from a webhook until its record is committed and told of; and what a burst does."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from bench.remote import EMAIL, TOKEN, Jira
from bench.town import Town, open_town

QUIET = 200
BUSY_AT_MOST = 300
BURST = 10_000
BURST_SECONDS = 60.0


def share(values: Sequence[float], part: float) -> float:
    """The value that this part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def milliseconds(what: str, values: Sequence[float], more: str = "") -> None:
    p50, p99 = (share(values, part) * 1000 for part in (0.5, 0.99))
    print(f"  {what:44}p50 {p50:6.0f} ms   p99 {p99:6.0f} ms   {more}".rstrip())


def _told_of(when: str, timed: Sequence[tuple[float, float]]) -> None:
    own = share([one for _, one in timed], 0.5) * 1000
    more = f"beyond the remote's own {own:.0f} ms; {len(timed)} webhooks"
    milliseconds(when, [beyond for beyond, _ in timed], more)


def told(id_: str, number: int) -> tuple[bytes, Mapping[str, str]]:
    """A webhook as Jira sends it, and the headers that matter."""
    event = {"webhookEvent": "jira:issue_updated", "issue": {"id": id_}, "timestamp": 1}
    return msgspec.json.encode(event), {"X-Atlassian-Webhook-Identifier": f"bench-{number}", "X-API-Key": ""}


class Sender:
    """Changes issues at the remote and tells of it, as the remote would."""

    def __init__(self, town: Town, remote: Jira, connection: Mapping[str, Any]) -> None:
        self._town = town
        self._remote = remote
        self._address = f"{town.url}/webhooks/{connection['callback_token']}"
        self._number = 0

    async def send(self, id_: str) -> tuple[float, int | None]:
        """Seconds until the answer, and the sync that it names."""
        self._number += 1
        body, headers = told(id_, self._number)
        began = time.perf_counter()
        async with self._town.http.post(self._address, data=body, headers=headers) as answer:
            answer.raise_for_status()
            sync_id = (await answer.json())["sync_id"]
        return time.perf_counter() - began, sync_id

    async def beyond(self, number: int) -> tuple[float, float]:
        """Seconds from a webhook until the event that tells of its record is on the stream, less those that
        the remote takes to answer the same questions just then; and these.
        """
        own = await self._own(await self._remote.touch(number))
        return max(0.0, await self.timed(number) - own), own

    async def _own(self, id_: str) -> float:
        """Who we are, the filter, and the search for one issue: what a fetch asks, asked by plain code."""
        parts = urlsplit(self._remote.url)
        base = f"{parts.scheme}://{parts.netloc}/rest/api"
        auth = aiohttp.BasicAuth(EMAIL, TOKEN)
        jql = f"({parts.query.replace('=', ' = ')}) AND id in ({id_})"
        search = {"jql": jql, "maxResults": 100, "fields": ["*all"]}
        began = time.perf_counter()
        for path in ("2/serverInfo", "3/myself", f"3/filter/{parts.query.partition('=')[2]}"):
            async with self._town.http.get(f"{base}/{path}", auth=auth) as answer:
                await answer.read()
        async with self._town.http.post(f"{base}/3/search/jql", json=search, auth=auth) as answer:
            answer.raise_for_status()
            await answer.read()
        return time.perf_counter() - began

    async def timed(self, number: int) -> float:
        """Seconds from a webhook until the event that tells of its record is on the stream."""
        id_ = await self._remote.touch(number)
        after = await self._town.end()
        began = time.perf_counter()
        _, sync_id = await self.send(id_)
        async for event in self._town.events(after):
            if event["data"].get("id") == sync_id and _has_it(event["data"]):
                return time.perf_counter() - began
        raise AssertionError


def _has_it(sync: Mapping[str, Any]) -> bool:
    if sync["finished_at"] and sync["state"] != "succeeded":
        raise RuntimeError(f"the sync is {sync['state']}: {sync['error']}")
    # The first sync may have come by meanwhile: then the record is there, and unchanged.
    return bool(sync["finished_at"]) or any(c["changed"] + c["new"] for c in sync["counters"].values())


async def latency(kind: str, remote: Jira) -> None:
    """Quiet, and while a first sync of the same connection reads everything."""
    async with open_town(kind) as town:
        connection = await town.connect("quiet", remote.url)
        sender = Sender(town, remote, connection)
        for number in range(5):
            await sender.timed(number)
        _told_of("quiet", [await sender.beyond(number) for number in range(QUIET)])
        opened = await town.call("POST", f"/v1/connections/{connection['id']}/sync", {"scope": "full"})
        first = asyncio.create_task(town.ended(opened["id"]))
        await asyncio.sleep(2)
        busy: list[tuple[float, float]] = []
        while not first.done() and len(busy) < BUSY_AT_MOST:
            busy.append(await sender.beyond(random.randrange(50_000)))
            await asyncio.sleep(random.uniform(0, 0.1))
        _told_of("while a first sync reads all", busy)
        first.cancel()


async def burst(kind: str, remote: Jira, webhooks: int = BURST, seconds: float = BURST_SECONDS) -> None:
    """So many webhooks of one connection in so many seconds, and what becomes of another that is due."""
    async with open_town(kind) as town:
        connection = await town.connect("burst", remote.url)
        ids = [await remote.touch(number) for number in range(100)]
        other = await town.connect("other", f"{remote.url}", params={}, frequency="every 1m")
        while True:
            found = (await town.call("GET", f"/v1/connections/{other['id']}/syncs"))["syncs"]
            if found and found[-1]["finished_at"]:
                break
            await asyncio.sleep(0.5)
        sender = Sender(town, remote, connection)
        answers: list[float] = []
        most = await _watched(town, connection["id"], lambda: _storm(sender, ids, answers, webhooks, seconds))
        milliseconds(f"{webhooks} webhooks in {seconds:.0f} s, answered", answers)
        print(f"    at most {most['running']} running and {most['queued']} queued at any time")
        syncs = (await town.call("GET", f"/v1/connections/{other['id']}/syncs"))["syncs"]
        late = [_lateness(sync) for sync in syncs if sync["started_at"]]
        print(f"    {len(late)} due syncs of another connection began at most {max(late):.2f} s late")


def _lateness(sync: Mapping[str, Any]) -> float:
    at, began = (datetime.fromisoformat(sync[name]) for name in ("queued_at", "started_at"))
    return (began - at).total_seconds()


async def _storm(
    sender: Sender, ids: Sequence[str], answers: list[float], webhooks: int, seconds: float
) -> None:
    """Evenly, whether or not the answers come: as many senders do."""
    began = time.perf_counter()

    async def one(number: int) -> None:
        await asyncio.sleep(max(0.0, began + number * seconds / webhooks - time.perf_counter()))
        answers.append((await sender.send(ids[number % len(ids)]))[0])

    async with asyncio.TaskGroup() as group:
        for number in range(webhooks):
            group.create_task(one(number))


async def _watched(town: Town, connection_id: int, work: Callable[[], Awaitable[None]]) -> dict[str, int]:
    """The most syncs of the records lane that were seen at once in each state while the work was done."""
    most = {"running": 0, "queued": 0}
    working = asyncio.ensure_future(work())
    while not working.done():
        syncs = (await town.call("GET", f"/v1/connections/{connection_id}/syncs?limit=20"))["syncs"]
        for state, before in list(most.items()):
            count = sum(sync["lane"] == "records" and sync["state"] == state for sync in syncs)
            most[state] = max(before, count)
        await asyncio.sleep(0.25)
    await working
    return most
