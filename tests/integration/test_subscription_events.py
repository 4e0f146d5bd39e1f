"""That a subscription was switched off or on is told everywhere: on the stream, live, on the command line."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from events.envelope import dressed
from store import outbox
from store.database import Database
from store.outbox import Event
from tests.api_server import Api, serving_api
from tests.integration.test_api_events import listening, publish
from tests.integration.test_relay import relayed, stream
from tidegate.commands.events import _line
from tidegate.demo.screen import line_of

URL = "https://hooks.example.com/"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, poll_seconds=0.02) as served:
        yield served


async def switched(api: Api, project_id: int | None = None) -> int:
    """A subscription that somebody switched off."""
    body = {"name": "chat", "url": URL, "project_id": project_id}
    made: int = (await api.post("/v1/subscriptions", body))["id"]
    await api.patch(f"/v1/subscriptions/{made}", {"enabled": False})
    return made


async def test_it_is_on_the_stream_beside_what_happens_to_a_connection_of_the_same_id(
    api: Api, redis: Redis
) -> None:
    connection = await api.shelf()
    await api.synced(connection["id"])
    hook = await switched(api)
    assert hook == connection["id"]
    await api.patch(f"/v1/subscriptions/{hook}", {"enabled": True})
    await relayed(api.house, redis)
    sent = [one.event for one in await stream(redis)]
    of_hook = [event for event in sent if event["source"] == f"/subscriptions/{hook}"]
    assert [(event["type"], event["sequence"]) for event in of_hook] == [
        ("io.tidegate.subscription_status", 1),
        ("io.tidegate.subscription_status", 2),
    ]
    of_connection = [event["sequence"] for event in sent if event["source"] == f"/connections/{hook}"]
    assert of_connection == list(range(1, len(of_connection) + 1))


async def test_keys_of_a_project_are_told_live_of_its_subscriptions_only(api: Api) -> None:
    mine, theirs = [(await api.post("/v1/projects", {"name": k, "key": k}))["id"] for k in ("one", "two")]
    body = {"name": "mine", "permissions": ["read"], "projects": [mine]}
    key = (await api.post("/v1/keys", body))["key"]
    await switched(api, theirs)
    await switched(api)
    hook = await switched(api, mine)
    await publish(api)
    async with listening(api, "?after=0", X_API_Key=key) as reader:
        _, event = await reader.event()
    assert event["source"] == f"/subscriptions/{hook}"
    assert event["data"] | {"since": None} == {
        "id": hook,
        "name": "chat",
        "project_id": mine,
        "enabled": False,
        "since": None,
        "reason": None,
        "last_success_at": None,
    }


async def told(api: Api) -> Event:
    await switched(api)
    await publish(api)
    async with api.context.database.read() as connection:
        [event] = await outbox.after(connection, 0)
    return event


async def test_the_command_line_tells_it_in_a_line(api: Api) -> None:
    assert _line(await told(api), {}).endswith("  1  subscription 1  chat switched off")


async def test_the_demo_does_not_take_it_for_something_of_a_connection(api: Api) -> None:
    event: dict[str, Any] = msgspec.json.decode(dressed(await told(api)))
    assert line_of(event, {1: "a connection of the same number"}) is None
