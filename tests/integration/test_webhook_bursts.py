"""A storm of webhooks against a real `tidegate up`: answered quickly, one sync at a time, others on time."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.tidegates import Up, running
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(240)

WEBHOOKS = 1000
RATE = 10_000 / 60  # a second
EMAIL, TOKEN = "ana@example.com", "token-1"


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account(EMAIL, TOKEN)
        remote.seed(50)
        yield remote


async def connection(up: Up, site: JiraCloud, name: str, **values: object) -> Any:
    body = {"name": name, "system": "jira", "kind": "basic", "username": EMAIL, "secret": TOKEN}
    credential = (await up.call("POST", "/v1/credentials", body))["id"]
    common = {"name": name, "system": "jira", "url": site.url, "params": {"jql": "project = TG"}}
    return await up.call(
        "POST", "/v1/connections", {**common, "credential_id": credential, "frequency": "manually", **values}
    )


async def storm(up: Up, token: str, ids: list[int], count: int) -> list[tuple[int, float]]:
    """Status and seconds of each, sent evenly whether or not answers come."""
    began = time.monotonic()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:

        async def send(number: int) -> tuple[int, float]:
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            told = {"webhookEvent": "jira:issue_updated", "issue": {"id": str(ids[number % len(ids)])}}
            headers = {"X-Atlassian-Webhook-Identifier": f"storm-{number}"}
            sent = time.monotonic()
            url = f"{up.url}/webhooks/{token}"
            async with http.post(url, data=msgspec.json.encode(told), headers=headers) as answer:
                await answer.read()
                return answer.status, time.monotonic() - sent

        return await asyncio.gather(*(send(number) for number in range(count)))


async def live(up: Up, made: Mapping[str, Any]) -> list[str]:
    syncs = (await up.call("GET", f"/v1/connections/{made['id']}/syncs?limit=20"))["syncs"]
    return [sync["state"] for sync in syncs if sync["lane"] == "records" and not sync["finished_at"]]


async def test_a_storm_of_webhooks_is_answered_and_keeps_nobody_waiting(
    tmp_path: Path, site: JiraCloud
) -> None:
    slow, _ = await weathered(tmp_path, site, WEBHOOKS)
    # Ten times what is promised, for a machine that runs other tests meanwhile.
    assert slow < 2.5


async def weathered(tmp_path: Path, site: JiraCloud, count: int) -> tuple[float, int]:
    """So many webhooks for one connection, and how it went: the seconds in which 99 % were answered, and the
    syncs that came of them."""
    async with running(tmp_path / "data") as up:
        await up.ready()
        made = await connection(up, site, "stormy")
        assert (await up.synced(made["id"]))["state"] == "succeeded"
        ids = list(site.issues)
        for id_ in ids:
            site.update_issue(id_, summary="after the storm")
        raining = asyncio.create_task(storm(up, made["callback_token"], ids, count))
        await asyncio.sleep(1)
        # Made in the middle of it, so due at once.
        other = await connection(up, site, "other", frequency="hourly")
        while not raining.done():
            states = await live(up, made)
            assert states.count("queued") <= 1
            assert len(states) - states.count("queued") <= 1
            await asyncio.sleep(0.1)
        answers = await raining
        assert {status for status, _ in answers} == {202}
        [first] = (await up.call("GET", f"/v1/connections/{other['id']}/syncs"))["syncs"]
        await up.ended(first["id"])
        assert await late(up, first["id"]) < 5
        async with asyncio.timeout(30):
            while await live(up, made):  # noqa: ASYNC110 - a process sets no event of ours
                await asyncio.sleep(0.1)
        syncs = (await up.call("GET", f"/v1/connections/{made['id']}/syncs?limit=1000"))["syncs"]
        assert {sync["state"] for sync in syncs} == {"succeeded"}
        assert len(syncs) < count / 5
        page = await up.call("GET", f"/v1/connections/{made['id']}/records?stream=issues&limit=100")
        summaries = {one["data"]["fields"]["summary"] for one in page["records"]}
        assert summaries == {"after the storm"}
        return sorted(seconds for _, seconds in answers)[count * 99 // 100], len(syncs)


async def late(up: Up, sync_id: int) -> float:
    """Seconds from when it was due until somebody worked on it."""
    sync = await up.call("GET", f"/v1/syncs/{sync_id}")
    queued, started = (datetime.fromisoformat(sync[name]) for name in ("queued_at", "started_at"))
    return (started - queued).total_seconds()
