"""API keys: made, shown once, used, limited in what they permit, revoked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event, select, update

from store import keys as stored_keys
from store.database import Database, clock, now
from store.schema import keys as table
from tests.api_server import ADMIN_KEY, Api, serving_api

HEADERS = (
    "X-API-Key: {}",
    "Authorization: Bearer {}",
    "Authorization: Token {}",
    'Authorization: Token "{}"',
)


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def key(api: Api, *permissions: str, **values: object) -> Any:
    body = {"name": "ci", "permissions": list(permissions) or ["read"], **values}
    return await api.post("/v1/keys", body)


async def status(api: Api, text: str, method: str = "GET", path: str = "/v1/connections") -> int:
    return (await api.ask(method, path, {} if method == "POST" else None, X_API_Key=text))[0]


async def test_a_key_is_shown_once_and_stored_as_a_hash(api: Api) -> None:
    made = await key(api)
    assert made["key"].startswith("tg_")
    assert len(made["key"]) >= 43
    listed = (await api.get("/v1/keys"))["keys"]
    shown = {name: value for name, value in made.items() if name != "key"}
    assert listed == [shown]
    assert await api.get(f"/v1/keys/{made['id']}") == shown
    assert (shown["permissions"], shown["projects"], shown["revoked_at"]) == (["read"], None, None)
    async with api.context.database.read() as connection:
        row = (await connection.execute(select(table))).mappings().one()
    assert made["key"] not in str(dict(row))
    assert row["hash"] == stored_keys.hash_of(made["key"])


@pytest.mark.parametrize("header", HEADERS)
async def test_a_key_opens_in_every_usual_header(api: Api, header: str) -> None:
    made = await key(api)
    name, _, value = header.format(made["key"]).partition(": ")
    async with api.http.get(f"{api.url}/v1/connections", headers={"X-API-Key": "", name: value}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("permission", "reads", "writes", "administers"),
    [("read", 200, 403, 403), ("write", 200, 422, 403), ("admin", 200, 422, 200)],
)
async def test_a_permission_implies_the_lesser_ones(
    api: Api, permission: str, reads: int, writes: int, administers: int
) -> None:
    text = (await key(api, permission))["key"]
    assert await status(api, text) == reads
    assert await status(api, text, "POST") == writes
    assert await status(api, text, "GET", "/v1/keys") == administers


async def test_without_write_params_and_callback_token_are_left_out(api: Api) -> None:
    made = await api.shelf(params={"jql": "a = b"})
    reader, writer = (await key(api, "read"))["key"], (await key(api, "write"))["key"]
    path = f"/v1/connections/{made['id']}"
    read = await api.get(path, X_API_Key=reader)
    assert read["callback_token"] is None
    assert "params" not in read
    assert (await api.get("/v1/connections", X_API_Key=reader))["connections"] == [read]
    written = await api.get(path, X_API_Key=writer)
    assert (written["callback_token"], written["params"]) == (made["callback_token"], {"jql": "a = b"})


async def test_a_revoked_key_opens_nothing_and_stays_in_the_list(api: Api) -> None:
    made = await key(api)
    assert await status(api, made["key"]) == 200
    await api.delete(f"/v1/keys/{made['id']}")
    assert await status(api, made["key"]) == 401
    (listed,) = (await api.get("/v1/keys"))["keys"]
    assert listed["revoked_at"] is not None
    assert (await api.get("/v1/keys?revoked=false"))["keys"] == []
    assert (await api.get("/v1/keys?revoked=true"))["keys"] == [listed]
    await api.delete(f"/v1/keys/{made['id']}")
    assert await api.get(f"/v1/keys/{made['id']}") == listed
    await api.delete("/v1/keys/999", 404)


async def test_a_key_revoked_by_another_process_stops_opening_within_two_seconds(api: Api) -> None:
    made = await key(api)
    assert await status(api, made["key"]) == 200
    async with api.context.database.write() as connection:
        await stored_keys.revoke(connection, made["id"], await clock(connection))
    async with asyncio.timeout(2):
        while await status(api, made["key"]) != 401:
            pass


async def test_a_stream_of_events_ends_when_its_key_is_revoked(database: Database) -> None:
    async with serving_api(database, poll_seconds=0.02) as api:
        made = await key(api)
        async with api.http.get(f"{api.url}/v1/events", headers={"X-API-Key": made["key"]}) as answer:
            assert await answer.content.readline() == b"retry: 2000\n"
            await api.delete(f"/v1/keys/{made['id']}")
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(5):
                    await answer.content.read()


async def test_a_request_writes_nothing_and_a_key_is_looked_up_once_a_second(api: Api) -> None:
    made = await key(api)
    said: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    engine = api.context.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        for _ in range(5):
            assert await status(api, made["key"], "GET", "/v1/projects") == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert [one for one in said if one.lstrip()[:6] in ("UPDATE", "INSERT", "DELETE")] == []
    assert 1 <= len([one for one in said if "hash" in one]) <= 2  # a slow machine may need a second second


async def test_the_last_use_is_noted_once_a_minute(database: Database) -> None:
    async with serving_api(database, note_seconds=0.02) as api:
        made = await key(api)
        assert (await api.get(f"/v1/keys/{made['id']}"))["last_used_at"] is None
        await status(api, made["key"])
        first = await until_noted(api, made["id"])
        await status(api, made["key"])
        await api.context.keyring.note_uses(database)
        assert await until_noted(api, made["id"]) == first
        async with database.write() as connection:
            await connection.execute(update(table).values(last_used_at=now(-59)))
            await stored_keys.note_uses(connection, [made["id"]])
            noted = (await connection.execute(select(table.c.last_used_at < now(-50)))).scalar()
            assert noted
            await connection.execute(update(table).values(last_used_at=now(-61)))
            await stored_keys.note_uses(connection, [made["id"]])
            noted = (await connection.execute(select(table.c.last_used_at < now(-50)))).scalar()
            assert not noted


async def until_noted(api: Api, key_id: int) -> str:
    async with asyncio.timeout(5):
        while True:
            at = (await api.get(f"/v1/keys/{key_id}"))["last_used_at"]
            if at is not None:
                return str(at)
            await asyncio.sleep(0.02)


async def test_what_cannot_be_a_key_is_refused_by_field(api: Api) -> None:
    good = {"name": "ci", "permissions": ["read"]}
    for name, wrong in (
        ("name", ""),
        ("permissions", []),
        ("permissions", ["root"]),
        ("projects", []),
        ("projects", [7]),
    ):
        refused = await api.refused("POST", "/v1/keys", {**good, name: wrong})
        assert all(field.startswith(name) for field in refused), (name, wrong, refused)
    assert (await api.get("/v1/keys"))["keys"] == []


async def test_many_wrong_keys_of_an_address_are_told_to_wait_and_a_right_one_is_not(api: Api) -> None:
    made = await key(api)
    seen = [await status(api, f"tg_wrong{i}") for i in range(21)]
    assert seen == [401] * 20 + [429]
    async with api.http.get(f"{api.url}/v1/connections", headers={"X-API-Key": "tg_wrong"}) as answer:
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert (await answer.json())["status"] == 429
    assert await status(api, made["key"]) == 200
    assert await status(api, ADMIN_KEY) == 200


async def test_keys_are_listed_in_pages(api: Api) -> None:
    ids = [(await key(api))["id"] for _ in range(5)]
    first = await api.get("/v1/keys?limit=3")
    rest = await api.get(f"/v1/keys?limit=3&cursor={first['next']}")
    assert [one["id"] for one in (*first["keys"], *rest["keys"])] == ids
    assert rest["next"] is None
