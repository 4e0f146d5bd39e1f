"""Inbound webhooks: who may send them, what they open, and that a burst is one sync."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from scheduler.due import open_due
from store.database import Database, now
from tests.api_server import Api, serving_api
from tests.engine import claim, connection_row, set_connection

BOOKS = b'{"books": ["b01"]}'


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as client:
        yield client


async def send(api: Api, made: Any, body: bytes = BOOKS, token: str = "", **headers: str) -> tuple[int, Any]:
    """As the remote sends it: without any key."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{api.url}/webhooks/{token or made['callback_token']}"
    async with api.http.post(url, data=body, headers={"X-API-Key": "", **named}) as answer:
        return answer.status, await answer.json(content_type=None)


async def opened(api: Api, made: Any) -> list[Any]:
    found: list[Any] = (await api.get(f"/v1/connections/{made['id']}/syncs"))["syncs"]
    return found


async def test_a_webhook_opens_a_sync_of_what_it_names_and_rings_for_it(api: Api) -> None:
    made = await api.shelf()
    status, answer = await send(api, made)
    assert status == 202
    sync = await api.get(f"/v1/syncs/{answer['sync_id']}")
    assert (sync["trigger"], sync["lane"], sync["stream"], sync["keys"]) == (
        "webhook",
        "records",
        "books",
        ["b01"],
    )
    assert [ring.sync_id for ring in api.rope.rung] == [sync["id"]]


async def test_what_a_webhook_names_is_fetched_from_the_remote(api: Api) -> None:
    made = await api.shelf()
    _, answer = await send(api, made, b'{"books": ["b02"]}')
    ended = await api.house.work(answer["sync_id"])
    assert ended.state == "succeeded"
    assert await api.house.keys("shelf", "books") == {"b02"}


async def test_a_webhook_to_no_connection_is_not_found(api: Api) -> None:
    made = await api.shelf()
    status, answer = await send(api, made, token="x" * 40)
    assert (status, answer["status"]) == (404, 404)
    assert "x" * 40 not in msgspec.json.encode(answer).decode()


@pytest.mark.parametrize("headers", [{}, {"x_shelf_secret": "guessed"}])
async def test_a_forged_webhook_opens_nothing(api: Api, headers: dict[str, str]) -> None:
    made = await api.shelf(webhook_secret="known to both")
    status, answer = await send(api, made, BOOKS, "", **headers)
    assert (status, answer["status"]) == (401, 401)
    assert await opened(api, made) == []


async def test_who_knows_the_webhook_secret_is_heard(api: Api) -> None:
    made = await api.shelf(webhook_secret="known to both")
    status, _ = await send(api, made, x_shelf_secret="known to both")
    assert status == 202
    assert len(await opened(api, made)) == 1


async def test_a_truncated_webhook_opens_nothing(api: Api) -> None:
    made = await api.shelf()
    status, answer = await send(api, made, BOOKS[:-3])
    assert (status, answer["status"]) == (400, 400)
    assert await opened(api, made) == []


async def test_an_oversized_webhook_opens_nothing(api: Api) -> None:
    made = await api.shelf()
    body = b'{"books": ["' + b"b" * 5_000_000 + b'"]}'
    url = f"{api.url}/webhooks/{made['callback_token']}"
    async with api.http.post(url, data=io.BytesIO(body)) as answer:
        status = answer.status
    assert status == 413
    assert await opened(api, made) == []


async def test_the_same_delivery_again_opens_nothing(api: Api) -> None:
    made = await api.shelf()
    _, first = await send(api, made, x_shelf_delivery="d1")
    await api.house.work(first["sync_id"])
    status, answer = await send(api, made, x_shelf_delivery="d1")
    assert status == 202
    assert "before" in answer["ignored"]
    assert len(await opened(api, made)) == 1


async def test_two_connections_may_get_the_same_delivery(api: Api) -> None:
    for _ in range(2):
        made = await api.shelf()
        _, answer = await send(api, made, x_shelf_delivery="d1")
        assert answer["ignored"] is None
        assert len(await opened(api, made)) == 1


async def test_what_the_connection_does_not_read_is_taken_and_ignored(api: Api) -> None:
    made = await api.shelf(streams=["books"])
    status, answer = await send(api, made, b'{"loans": ["l02"]}')
    assert (status, answer["sync_id"]) == (202, None)
    assert "loans" in answer["ignored"]


async def test_a_webhook_about_nothing_says_so(api: Api) -> None:
    made = await api.shelf()
    status, answer = await send(api, made, b"{}")
    assert (status, answer) == (202, {"sync_id": None, "ignored": "Nobody borrowed anything."})


async def test_a_disabled_connection_takes_and_ignores(api: Api) -> None:
    made = await api.shelf(enabled=False)
    status, answer = await send(api, made)
    assert (status, answer["sync_id"]) == (202, None)
    assert "disabled" in answer["ignored"]


async def test_a_burst_is_one_sync_running_and_one_queued(api: Api) -> None:
    made = await api.shelf()
    _, first = await send(api, made)
    # The first runs; whatever comes meanwhile waits together.
    assert await claim(api.house, first["sync_id"]) is not None
    answers = await asyncio.gather(
        *(send(api, made, b'{"books": ["b%02d"]}' % (n % 3 + 1)) for n in range(200))
    )
    assert {status for status, _ in answers} == {202}
    assert len({answer["sync_id"] for _, answer in answers}) == 1
    assert sorted(one["state"] for one in await opened(api, made)) == ["queued", "running"]
    [waiting] = [one for one in await opened(api, made) if one["state"] == "queued"]
    assert waiting["keys"] == ["b01", "b02", "b03"]


async def test_a_burst_costs_fewer_transactions_than_webhooks(api: Api) -> None:
    made = await api.shelf()
    await asyncio.gather(*(send(api, made) for _ in range(100)))
    [sync] = await opened(api, made)
    assert sync["joined"] < 50


async def test_the_connection_tells_when_it_was_last_called(api: Api) -> None:
    made = await api.shelf()
    assert made["last_webhook_at"] is None
    await send(api, made, b"{}")
    assert (await api.get(f"/v1/connections/{made['id']}"))["last_webhook_at"] is not None


async def test_webhooks_that_fell_silent_though_polling_finds_changes_are_told_of(api: Api) -> None:
    made = await api.shelf()
    await send(api, made, b"{}")
    await api.synced(made["id"])
    await set_connection(api.house, made["id"], last_webhook_at=now(-7200), last_sync_at=now(-3600))
    await api.patch(f"/v1/connections/{made['id']}", {"url": "shelf.example/5"})
    await api.synced(made["id"])
    assert (await api.get(f"/v1/connections/{made['id']}"))["webhook_missed_at"] is not None
    await send(api, made)
    assert (await api.get(f"/v1/connections/{made['id']}"))["webhook_missed_at"] is None


async def test_who_never_had_webhooks_misses_none(api: Api) -> None:
    made = await api.shelf(frequency="hourly")
    for ring in await open_due(api.house.database):
        await api.house.work(ring.sync_id)
    await api.synced(made["id"])
    assert (await connection_row(api.house, made["id"]))["webhook_missed_at"] is None
