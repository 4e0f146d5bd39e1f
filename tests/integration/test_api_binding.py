"""A stored credential goes to the servers it was meant for, whoever asks for something else."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from store.database import Database
from tests.api_server import Api, serving_api

pytestmark = pytest.mark.sqlite_does

HERE, THERE = "shelf.example/3", "stranger.example/3"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


class Writer:
    """A key with `write`: who uses it may make connections, and administers nothing."""

    def __init__(self, api: Api, key: str) -> None:
        self._api = api
        self._key = key

    async def ask(self, method: str, path: str, body: object) -> tuple[int, Any]:
        return await self._api.ask(method, path, body, X_API_Key=self._key)

    async def connection(self, url: str | None, credential_id: int | None) -> tuple[int, Any]:
        body = {"name": "mine", "system": "shelf", "url": url, "frequency": "manually"}
        return await self.ask("POST", "/v1/connections", {**body, "credential_id": credential_id})

    async def change(self, connection_id: int, **news: object) -> tuple[int, Any]:
        return await self.ask("PATCH", f"/v1/connections/{connection_id}", news)


@pytest.fixture
async def writer(api: Api) -> Writer:
    made = await api.post("/v1/keys", {"name": "w", "permissions": ["write"]})
    return Writer(api, made["key"])


def said(answer: tuple[int, Any]) -> str:
    status, problem = answer
    assert status == 422, problem
    (error,) = problem["errors"]
    assert error["field"] == "credential_id"
    return str(error["message"])


async def test_a_credential_in_use_is_not_taken_to_another_server(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    await api.shelf(HERE, credential_id=credential)
    message = said(await writer.connection(THERE, credential))
    assert "belongs to https://shelf.example, and is not sent to https://stranger.example" in message
    status, _ = await writer.connection("shelf.example/7", credential)
    assert status == 201


@pytest.mark.parametrize("url", ["http://shelf.example/3", "shelf.example:8443/3", "shelf.example.evil/3"])
async def test_another_scheme_port_or_suffix_is_another_server(api: Api, writer: Writer, url: str) -> None:
    credential = (await api.credential())["id"]
    await api.shelf("https://shelf.example/3", credential_id=credential)
    status, _ = await writer.connection(url, credential)
    # The shelf makes https of http, as it says in its canonical URL: that is the same server.
    assert status == (201 if url.startswith("http://") else 422)


async def test_a_credential_stays_bound_when_nothing_uses_it_any_more(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    kept, gone = [(await api.shelf(HERE, credential_id=credential))["id"] for _ in range(2)]
    assert (await writer.change(kept, credential_id=None))[0] == 200
    assert (await writer.ask("DELETE", f"/v1/connections/{gone}", None))[0] == 204
    said(await writer.connection(THERE, credential))


async def test_a_url_at_another_server_leaves_the_connection_without_a_credential(
    api: Api, writer: Writer
) -> None:
    credential = (await api.credential())["id"]
    made = await api.shelf(HERE, credential_id=credential)
    status, changed = await writer.change(made["id"], url=THERE)
    assert (status, changed["credential_id"]) == (200, None)
    said(await writer.change(made["id"], credential_id=credential))


async def test_a_url_at_another_server_with_the_credential_named_is_refused(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    made = await api.shelf(HERE, credential_id=credential)
    said(await writer.change(made["id"], url=THERE, credential_id=credential))
    assert (await api.get(f"/v1/connections/{made['id']}"))["url"] == HERE


async def test_a_url_at_the_same_server_keeps_the_credential(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    made = await api.shelf(HERE, credential_id=credential)
    status, changed = await writer.change(made["id"], url="shelf.example/5", name="other")
    assert (status, changed["credential_id"]) == (200, credential)


async def test_a_draft_does_not_smuggle_a_credential_to_another_server(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    await api.shelf(HERE, credential_id=credential)
    status, draft = await writer.connection(None, credential)
    assert status == 201
    status, changed = await writer.change(draft["id"], url=THERE)
    assert (status, changed["credential_id"]) == (200, None)


async def test_a_test_before_saving_sends_no_credential_to_another_server(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    await api.shelf(HERE, credential_id=credential)
    tried = {"system": "shelf", "url": THERE, "credential_id": credential}
    said(await writer.ask("POST", "/v1/connections/test", tried))


async def test_a_new_credential_goes_wherever_it_is_used_first(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    assert (await writer.connection(THERE, credential))[0] == 201
    said(await writer.connection(HERE, credential))


async def test_an_administrator_may_use_a_credential_at_one_more_server(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    await api.shelf(HERE, credential_id=credential)
    await api.shelf(THERE, credential_id=credential)
    assert (await writer.connection("stranger.example/9", credential))[0] == 201


async def test_whoever_gives_the_secret_anew_may_take_it_elsewhere(api: Api, writer: Writer) -> None:
    credential = (await api.credential())["id"]
    made = await api.shelf(HERE, credential_id=credential)
    renamed = await writer.ask("PATCH", f"/v1/credentials/{credential}", {"name": "n", "username": "you"})
    assert renamed[0] == 200
    said(await writer.connection(THERE, credential))
    given = await writer.ask("PATCH", f"/v1/credentials/{credential}", {"secret": "one of my own"})
    assert given[0] == 200
    assert (await writer.connection(THERE, credential))[0] == 201
    assert (await writer.change(made["id"], name="goes on"))[1]["credential_id"] == credential


async def test_a_key_of_some_projects_is_not_told_where_others_send_a_credential(api: Api) -> None:
    mine = (await api.post("/v1/projects", {"name": "Mine", "key": "MINE"}))["id"]
    made = await api.post("/v1/keys", {"name": "w", "permissions": ["write"], "projects": [mine]})
    credential = (await api.credential())["id"]
    await api.shelf(HERE, credential_id=credential, project_id=mine)
    body = {"name": "x", "system": "shelf", "url": THERE, "credential_id": credential, "project_id": mine}
    message = said(await api.ask("POST", "/v1/connections", body, X_API_Key=made["key"]))
    assert "shelf.example" not in message
