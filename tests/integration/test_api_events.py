"""Live events: pushed as they get their position, resumed where a reader was."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from store import outbox
from store.database import Database
from store.outbox import RELAY
from tests.api_server import ADMIN_KEY, Api, serving_api

SECONDS = 10.0


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, poll_seconds=0.02) as served:
        yield served


async def publish(api: Api) -> None:
    """Give positions, as the relay does."""
    async with api.context.database.write() as connection:
        fence = await outbox.take_duty(connection, RELAY, "test", 60)
        assert fence is not None
        await outbox.give_positions(connection, fence)


class Reader:
    """Reads the blocks of a stream of events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def block(self) -> list[str]:
        lines: list[str] = []
        async with asyncio.timeout(SECONDS):
            while line := (await self.answer.content.readline()).decode().rstrip("\n"):
                lines.append(line)
        return lines

    async def event(self) -> tuple[int, dict[str, Any]]:
        """The next event, comments passed over: its id and its data."""
        while True:
            fields = dict(line.split(": ", 1) for line in await self.block())
            if "data" in fields:
                return int(fields["id"]), json.loads(fields["data"])


@asynccontextmanager
async def listening(api: Api, query: str = "", **headers: str) -> AsyncIterator[Reader]:
    named = {"X-API-Key": ADMIN_KEY, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        aiohttp.ClientSession(headers=named) as http,
        http.get(f"{api.url}/v1/events{query}") as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        reader = Reader(answer)
        assert await reader.block() == ["retry: 2000"]
        yield reader


async def test_events_are_pushed_as_cloud_events_with_their_position(api: Api) -> None:
    made = await api.shelf()
    async with listening(api) as reader:
        await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
        await publish(api)
        position, event = await reader.event()
        await api.post("/v1/syncs/1/cancel", None, 200)
        await publish(api)
        following, _ = await reader.event()
    assert (position, event["sequence"], event["type"]) == (1, 1, "io.tidegate.status")
    assert following == 2
    assert (event["specversion"], event["source"]) == ("1.0", f"/connections/{made['id']}")
    assert event["data"]["state"] == "queued"


async def test_without_a_position_only_what_is_new_is_pushed(api: Api) -> None:
    made = await api.shelf()
    await api.synced(made["id"])
    await publish(api)
    async with listening(api) as reader:
        await api.patch(f"/v1/connections/{made['id']}", {"enabled": False})
        await publish(api)
        _, event = await reader.event()
    assert event["data"]["health"] == "disabled"


async def test_a_reader_goes_on_after_the_last_id_it_saw(api: Api) -> None:
    made = await api.shelf()
    await api.synced(made["id"])
    await publish(api)
    async with listening(api, Last_Event_ID="0") as reader:
        seen = [await reader.event() for _ in range(4)]
    assert [position for position, _ in seen] == [1, 2, 3, 4]
    async with listening(api, "?after=0", Last_Event_ID="2") as reader:
        assert [await reader.event() for _ in range(2)] == seen[2:]
    async with listening(api, "?after=3") as reader:
        assert await reader.event() == seen[3]


async def test_one_connection_can_be_followed(api: Api) -> None:
    one, two = await api.shelf(), await api.shelf()
    for made in (one, two):
        await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    await publish(api)
    async with listening(api, f"?connection_id={two['id']}&after=0") as reader:
        position, event = await reader.event()
    assert (position, event["source"]) == (2, f"/connections/{two['id']}")


async def test_a_wrong_last_id_is_refused(api: Api) -> None:
    for headers in ({"Last_Event_ID": "x"}, {"Last_Event_ID": "-1"}, {"Last_Event_ID": "9" * 30}):
        status, problem = await api.ask("GET", "/v1/events", **headers)
        assert (status, problem["errors"][0]["field"]) == (422, "Last-Event-ID")


async def test_a_silent_line_is_kept_awake(database: Database) -> None:
    async with (
        serving_api(database, poll_seconds=0.02, ping_seconds=0.1) as api,
        listening(api) as reader,
    ):
        assert await reader.block() == [": ping"]


async def test_more_readers_than_allowed_are_asked_to_come_back(database: Database) -> None:
    async with serving_api(database, poll_seconds=0.02, listeners=asyncio.Semaphore(1)) as api:
        async with listening(api):
            status, problem = await api.ask("GET", "/v1/events")
            assert (status, problem["status"]) == (429, 429)
        async with asyncio.timeout(SECONDS):
            await api.context.listeners.acquire()  # free again, once the reader has left


async def test_the_stream_ends_when_the_server_does(database: Database) -> None:
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(headers={"X-API-Key": ADMIN_KEY}) as http:
        async with serving_api(database, poll_seconds=30.0) as api:
            answer = await http.get(f"{api.url}/v1/events")
            began = loop.time()
        async with asyncio.timeout(SECONDS):
            assert (await answer.read()).startswith(b"retry")
        assert loop.time() - began < 1.5  # sooner than the server's patience with open requests
