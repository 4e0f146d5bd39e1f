"""Webhooks out of a real Tidegate: sent by `up`, by the command line, and after it was killed."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.http import utc_now
from tests.subscribers import Got, Receiver, forever, receiving
from tests.tidegates import Ended, Up, run, running
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(utc_now) as made:
        yield made


class Desk:
    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"

    async def run(self, *args: str, code: int = 0, **more: str) -> Ended:
        ended = await run(self.data, *args, **more)
        assert ended.code == code, ended.out + ended.err
        assert "Traceback" not in ended.err
        return ended

    async def lines(self, *args: str) -> list[Any]:
        return [json.loads(line) for line in (await self.run(*args, "--json")).out.splitlines()]


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", "token-1")
        remote.add_project("TG")
        remote.seed(20)
        yield remote


async def connect(up: Up, site: JiraCloud) -> int:
    credential = {"name": "ana", "system": "jira", "kind": "basic", "username": "ana@example.com"}
    made = await up.call("POST", "/v1/credentials", {**credential, "secret": "token-1"})
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    wanted = {"name": "tg", "system": "jira", "url": url, "credential_id": made["id"]}
    connection: int = (await up.call("POST", "/v1/connections", {**wanted, "frequency": "manually"}))["id"]
    return connection


def told(desk: Desk) -> list[str]:
    """The ids of all events that happened, in their order."""
    with sqlite3.connect(desk.data / "tidegate.db") as database:
        return [uid for (uid,) in database.execute("SELECT uid FROM outbox ORDER BY position")]


async def until_all_came(desk: Desk, receiver: Receiver) -> list[str]:
    """Wait until every event has come; the ids as they came, each the first time."""
    async with asyncio.timeout(60):
        while True:
            came = list(dict.fromkeys(got.uid for got in receiver.got))
            if len(came) >= len(told(desk)):
                return came
            await asyncio.sleep(0.05)


async def test_killed_between_commit_and_delivery_it_sends_everything_after_the_next_start(
    desk: Desk, site: JiraCloud, receiver: Receiver
) -> None:
    arrived = asyncio.Event()

    async def third_hangs(_: Got) -> web.StreamResponse:
        if len(receiver.got) < 3:
            return web.Response()
        arrived.set()
        return await forever(_)

    receiver.answers = third_hangs
    async with running(desk.data) as up:
        await up.ready()
        hook = await up.call("POST", "/v1/subscriptions", {"name": "hook", "url": receiver.url})
        connection = await connect(up, site)
        assert (await up.synced(connection))["state"] == "succeeded"
        await asyncio.wait_for(arrived.wait(), 60)
        await up.kill()
    at_the_kill = [got.uid for got in receiver.got]
    receiver.answer(200)
    async with running(desk.data) as up:
        await up.ready()
        assert await until_all_came(desk, receiver) == told(desk)
        assert len(told(desk)) > 3
        uids = [got.uid for got in receiver.got]
        assert uids.count(at_the_kill[-1]) == 2
        assert uids.count(at_the_kill[0]) == 1
        assert all(got.verified(hook["secret"]) for got in receiver.got)


async def test_an_event_is_there_within_a_second(desk: Desk, site: JiraCloud, receiver: Receiver) -> None:
    async with running(desk.data) as up:
        await up.ready()
        connection = await connect(up, site)
        await up.synced(connection)
        await up.call(
            "POST", "/v1/subscriptions", {"name": "x", "url": receiver.url, "states": ["succeeded"]}
        )
        await up.synced(connection)
        async with asyncio.timeout(5):
            while not receiver.got:  # noqa: ASYNC110 - a server tells no event
                await asyncio.sleep(0.01)
        got = receiver.got[0]
        finished = datetime.fromisoformat(got.event["data"]["finished_at"])
        assert (got.at - finished).total_seconds() < 3
        assert await up.stop() == 0


async def test_the_command_line_does_all_of_it(desk: Desk, receiver: Receiver) -> None:
    await desk.run("connections", "add", "team", "--system", "jira", "--frequency", "manually",
                   "--url", "https://jira.example.com/issues/?filter=1")  # fmt: skip
    made = await desk.run("subscriptions", "add", "hook", receiver.url, "--connection", "team",
                          "--state", "failed")  # fmt: skip
    secret = made.out.strip()
    assert secret.startswith("whsec_")
    assert "Subscription 1 hook is made" in made.err
    [one] = await desk.lines("subscriptions", "list")
    assert (one["url"], one["connection_ids"], one["states"]) == (receiver.url, [1], ["failed"])
    assert "It arrived: 204" in (await desk.run("subscriptions", "test", "1")).out
    assert receiver.got[-1].verified(secret)
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    rotated = await desk.run("subscriptions", "rotate", "1", "--secret-env", "OWN", OWN=own)
    assert rotated.out.strip() == own
    await desk.run("subscriptions", "test", "1")
    assert receiver.got[-1].verified(secret)
    assert receiver.got[-1].verified(own)
    receiver.answer(500)
    failed = await desk.run("subscriptions", "test", "1", code=1)
    assert "127.0.0.1 answered 500." in failed.err
    assert await desk.lines("subscriptions", "deliveries", "1") == []
    assert "There is no delivery 9." in (await desk.run("subscriptions", "redeliver", "1", "9", code=1)).err
    await desk.run("subscriptions", "disable", "1")
    assert "disabled" in (await desk.run("subscriptions", "list")).out
    await desk.run("subscriptions", "enable", "1", "--from-now")
    refused = await desk.run("subscriptions", "add", "x", "http://10.0.0.1/", code=2)
    assert "TIDEGATE_ALLOW_NETWORKS" in refused.err
    await desk.run("subscriptions", "remove", "1")
    assert await desk.lines("subscriptions", "list") == []
    assert "There is no subscription 1." in (await desk.run("subscriptions", "test", "1", code=1)).err
