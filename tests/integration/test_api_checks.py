"""Tests of connections, before and after saving."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from config.secret import Secret
from config.vault import Vault
from store.credentials import place
from store.database import Database
from store.schema import credentials
from tests.api_server import Api, serving_api


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def test_a_good_connection_says_who_we_are_and_what_can_be_read(api: Api) -> None:
    credential = await api.credential()
    made = await api.shelf("shelf.example/3", credential_id=credential["id"])
    assert await api.post(f"/v1/connections/{made['id']}/test", None, 200) == {
        "ok": True,
        "system_version": "Shelf 1",
        "account": "reader",
        "streams": {
            "books": {"readable": True, "count": 3, "problem": None},
            "loans": {"readable": True, "count": None, "problem": "Loans are private."},
        },
        "error": None,
        "notes": [],
    }


async def test_what_fails_is_a_200_with_cause_and_hint(api: Api) -> None:
    for state, kind in (("locked", "auth"), ("lost", "not_found")):
        made = await api.shelf(f"shelf.example/3?state={state}")
        answer = await api.post(f"/v1/connections/{made['id']}/test", None, 200)
        assert (answer["ok"], answer["streams"], answer["error"]["kind"]) == (False, {}, kind)
        assert answer["error"]["message"]
        assert answer["error"]["hint"]


async def test_one_unreadable_stream_matters_only_if_it_was_asked_for(api: Api) -> None:
    body = {"system": "shelf", "url": "shelf.example/3?state=private"}
    answer = await api.post("/v1/connections/test", body, 200)
    assert (answer["ok"], answer["streams"]["loans"]["readable"]) == (True, False)
    chosen = await api.post("/v1/connections/test", {**body, "streams": ["loans"]}, 200)
    assert (chosen["ok"], chosen["error"]["kind"]) == (False, "forbidden")
    assert "Loans are private" in chosen["error"]["message"]
    assert (await api.post("/v1/connections/test", {**body, "streams": ["books"]}, 200))["ok"]


async def test_a_draft_is_told_what_is_missing(api: Api) -> None:
    for system, url in (("shelf", None), ("papyrus", "papyrus.example")):
        draft = await api.shelf(url, system=system)
        answer = await api.post(f"/v1/connections/{draft['id']}/test", None, 200)
        assert (answer["ok"], answer["error"]["kind"]) == (False, "incomplete")


async def test_before_saving_the_same_is_asked_and_nothing_is_stored(api: Api) -> None:
    credential = await api.credential()
    body = {"system": "shelf", "url": "shelf.example/3", "credential_id": credential["id"]}
    answer = await api.post("/v1/connections/test", body, 200)
    assert (answer["ok"], answer["account"]) == (True, "reader")
    assert (await api.get("/v1/connections"))["connections"] == []


async def test_what_could_not_be_made_is_not_tried(api: Api) -> None:
    body = {"system": "shelf", "url": "nonsense", "credential_id": 77}
    assert set(await api.refused("POST", "/v1/connections/test", body)) == {"url", "credential_id"}


async def test_a_silent_remote_is_given_up(database: Database) -> None:
    async with serving_api(database, check_seconds=0.1) as api:
        body = {"system": "shelf", "url": "shelf.example/3?state=slow"}
        answer = await api.post("/v1/connections/test", body, 200)
    assert (answer["ok"], answer["error"]["kind"]) == (False, "unreachable")


async def test_more_tests_at_once_than_allowed_are_429(database: Database) -> None:
    async with serving_api(database, checks=asyncio.Semaphore(1)) as api:
        body = {"system": "shelf", "url": "shelf.example/3"}
        async with api.context.checks:
            await api.refused("POST", "/v1/connections/test", body, status=429)
        for _ in range(2):
            assert (await api.post("/v1/connections/test", body, 200))["ok"]


async def test_a_secret_that_cannot_be_opened_is_said_without_its_text(api: Api) -> None:
    credential = await api.credential()
    other = Vault([Secret("a key that nobody else has")])
    sealed = other.seal("a hidden text", place(credential["id"]))
    async with api.context.database.write() as connection:
        await connection.execute(credentials.update().values(secret=sealed))
    made = await api.shelf(credential_id=credential["id"])
    answer = await api.post(f"/v1/connections/{made['id']}/test", None, 200)
    assert (answer["ok"], answer["error"]["kind"]) == (False, "auth")
    assert "a hidden text" not in str(answer)
