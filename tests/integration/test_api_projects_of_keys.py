"""A key that is limited to projects sees and changes what belongs to them, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from store.database import Database
from tests.api_server import Api, serving_api
from tests.integration.test_api_events import Reader, publish


class Town(msgspec.Struct):
    """Two projects with a connection each, one without, and a key that sees the first project only."""

    api: Api
    mine: Any
    theirs: Any
    account: Any
    key: str
    projects: list[int]

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return await self.api.ask(method, path, body, X_API_Key=self.key)

    async def ids(self, path: str, what: str) -> list[int]:
        status, answer = await self.ask("GET", path)
        assert status == 200, answer
        return [one["id"] for one in answer[what]]


@pytest.fixture
async def town(database: Database) -> AsyncIterator[Town]:
    async with serving_api(database, poll_seconds=0.02) as api:
        one, two = [(await api.post("/v1/projects", {"name": k, "key": k}))["id"] for k in ("one", "two")]
        made = [await api.shelf(name=str(p), project_id=p) for p in (one, two, None)]
        body = {"name": "team one", "permissions": ["write"], "projects": [one]}
        key = (await api.post("/v1/keys", body))["key"]
        yield Town(api, made[0], made[1], made[2], key, [one, two])


async def test_lists_show_what_belongs_to_its_projects(town: Town) -> None:
    assert await town.ids("/v1/connections", "connections") == [town.mine["id"]]
    assert await town.ids("/v1/projects", "projects") == [town.projects[0]]
    assert await town.ids("/v1/connections?project_id=null", "connections") == []
    assert await town.ids(f"/v1/connections?project_id={town.projects[1]}", "connections") == []


async def test_pages_are_full_although_others_lie_between(town: Town) -> None:
    mine = [town.mine["id"]]
    for i in range(4):
        await town.api.shelf(name=f"their {i}", project_id=town.projects[1])
        mine.append((await town.api.shelf(name=f"mine {i}", project_id=town.projects[0]))["id"])
    status, first = await town.ask("GET", "/v1/connections?limit=3")
    assert status == 200
    _, rest = await town.ask("GET", f"/v1/connections?limit=3&cursor={first['next']}")
    assert [[one["id"] for one in page["connections"]] for page in (first, rest)] == [mine[:3], mine[3:]]
    assert rest["next"] is None


async def test_syncs_of_others_are_not_there(town: Town) -> None:
    opened = {
        one["id"]: (await town.api.synced(one["id"]))["id"] for one in (town.mine, town.theirs, town.account)
    }
    assert await town.ids("/v1/syncs", "syncs") == [opened[town.mine["id"]]]
    for one in (town.theirs, town.account):
        assert (await town.ask("GET", f"/v1/syncs/{opened[one['id']]}"))[0] == 404
        assert (await town.ask("POST", f"/v1/syncs/{opened[one['id']]}/cancel"))[0] == 404
        assert (await town.ask("POST", f"/v1/connections/{one['id']}/sync", {}))[0] == 404
    assert (await town.ask("GET", f"/v1/syncs/{opened[town.mine['id']]}"))[0] == 200
    assert await town.ids(f"/v1/syncs?connection_id={town.theirs['id']}", "syncs") == []


async def test_records_of_others_are_not_there(town: Town) -> None:
    for one in (town.mine, town.theirs):
        await town.api.synced(one["id"])
    status, answer = await town.ask("GET", f"/v1/connections/{town.mine['id']}/records")
    assert (status, len(answer["records"])) == (200, 4)
    assert (await town.ask("GET", f"/v1/connections/{town.theirs['id']}/records"))[0] == 404


@pytest.mark.parametrize("other", ["theirs", "account"])
async def test_connections_of_others_cannot_be_changed(town: Town, other: str) -> None:
    path = f"/v1/connections/{getattr(town, other)['id']}"
    assert (await town.ask("PATCH", path, {"name": "taken"}))[0] == 404
    assert (await town.ask("DELETE", path))[0] == 404
    assert (await town.ask("POST", f"{path}/test"))[0] == 404
    assert (await town.api.get(path))["name"] != "taken"


async def test_a_connection_is_made_in_its_projects_only(town: Town) -> None:
    body = {"name": "new", "system": "shelf", "url": "shelf.example/1", "frequency": "manually"}
    for project_id in (None, town.projects[1], 999):
        for path in ("/v1/connections", "/v1/connections/test"):
            status, refused = await town.ask("POST", path, {**body, "project_id": project_id})
            assert (status, [e["field"] for e in refused["errors"]]) == (422, ["project_id"])
    status, made = await town.ask("POST", "/v1/connections", {**body, "project_id": town.projects[0]})
    assert status == 201
    for project_id in (None, town.projects[1]):
        status, _ = await town.ask("PATCH", f"/v1/connections/{made['id']}", {"project_id": project_id})
        assert status == 422


async def test_a_credential_is_used_only_where_its_projects_use_it_already(town: Town) -> None:
    ours, others = [(await town.api.credential())["id"] for _ in range(2)]
    await town.api.patch(f"/v1/connections/{town.mine['id']}", {"credential_id": ours})
    await town.api.patch(f"/v1/connections/{town.theirs['id']}", {"credential_id": others})
    body = {"name": "new", "system": "shelf", "url": "shelf.example/1", "project_id": town.projects[0]}
    status, refused = await town.ask("POST", "/v1/connections", {**body, "credential_id": others})
    assert (status, [e["field"] for e in refused["errors"]]) == (422, ["credential_id"])
    assert (await town.ask("POST", "/v1/connections/test", {**body, "credential_id": others}))[0] == 422
    assert (await town.ask("POST", "/v1/connections", {**body, "credential_id": ours}))[0] == 201


async def test_what_belongs_to_the_account_is_refused(town: Town) -> None:
    for method, path in (
        ("GET", "/v1/credentials"),
        ("POST", "/v1/projects"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/audit"),
    ):
        assert (await town.ask(method, path, {} if method == "POST" else None))[0] == 403, path


async def test_only_events_of_its_projects_are_seen(town: Town) -> None:
    api = town.api
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": town.key}) as http,
        http.get(f"{api.url}/v1/events") as answer,
    ):
        reader = Reader(answer)
        await reader.block()
        for one in (town.theirs, town.mine, town.account, town.mine):
            await api.post(f"/v1/connections/{one['id']}/sync", {"scope": "full"}, 202)
            await publish(api)
            await asyncio.sleep(0.05)  # so that the reader looks in between, and passes others over
        await api.patch(f"/v1/connections/{town.mine['id']}", {"enabled": False})
        await publish(api)
        sources = [(await reader.event())[1]["source"] for _ in range(3)]
    assert set(sources) == {f"/connections/{town.mine['id']}"}
