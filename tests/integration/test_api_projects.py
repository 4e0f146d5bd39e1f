"""Projects: renamed, found, and removed once nothing is in them."""

from collections.abc import AsyncIterator

import pytest

from store.database import Database
from tests.api_server import Api, serving_api


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def project(api: Api, key: str = "WEB", name: str = "Web") -> str:
    made = await api.post("/v1/projects", {"name": name, "key": key})
    return f"/v1/projects/{made['id']}"


async def test_name_and_key_are_changed_and_what_is_left_out_stays(api: Api) -> None:
    path = await project(api)
    assert (await api.patch(path, {"name": "Shop"}))["key"] == "WEB"
    assert (await api.patch(path, {"key": "SHOP"}))["name"] == "Shop"
    changed = await api.get(path)
    assert (changed["name"], changed["key"]) == ("Shop", "SHOP")
    assert changed["updated_at"] >= changed["created_at"]


async def test_a_key_that_another_has_is_409_and_its_own_is_not(api: Api) -> None:
    path = await project(api)
    await project(api, "SHOP")
    assert await api.refused("PATCH", path, {"key": "SHOP"}, 409) == {
        "key": "There is a project with the key SHOP already."
    }
    await api.patch(path, {"key": "WEB"})


@pytest.mark.parametrize("body", [{"name": ""}, {"name": None}, {"key": " "}, {"colour": 1}])
async def test_what_cannot_be_is_422(api: Api, body: dict[str, object]) -> None:
    path = await project(api)
    assert set(await api.refused("PATCH", path, body)) == set(body)


async def test_an_empty_one_is_removed_and_its_id_is_not_used_again(api: Api) -> None:
    path = await project(api)
    await api.delete(path)
    assert (await api.ask("GET", path))[0] == 404
    assert (await api.ask("DELETE", path))[0] == 404
    assert await project(api) != path


async def test_one_in_use_stays_and_says_by_what(api: Api) -> None:
    path = await project(api)
    number = int(path.rpartition("/")[2])
    ids = [(await api.shelf(name=f"c{n}", project_id=number))["id"] for n in range(6)]
    key = await api.post("/v1/keys", {"name": "k", "permissions": ["read"], "projects": [number]})
    problem = await api.delete(path, 409)
    some = ", ".join(map(str, ids[:5]))
    assert f"6 connections ({some}, ...) and 1 API key ({key['id']})" in problem["detail"]
    await api.get(path)


async def test_removed_connections_and_revoked_keys_do_not_hold_it(api: Api) -> None:
    path = await project(api)
    number = int(path.rpartition("/")[2])
    connection = await api.shelf(project_id=number)
    key = await api.post("/v1/keys", {"name": "k", "permissions": ["read"], "projects": [number]})
    await api.delete(f"/v1/connections/{connection['id']}")
    await api.delete(f"/v1/keys/{key['id']}")
    await api.delete(path)


async def test_they_are_found_by_a_part_of_the_name(api: Api) -> None:
    for key, name in (("A", "Web shop"), ("B", "Shop 100%"), ("C", "Intranet")):
        await project(api, key, name)
    for part, keys in (("shop", "AB"), ("0%", "B"), ("%", "B"), ("_", ""), ("net", "C")):
        found = await api.get(f"/v1/projects?q={part.replace('%', '%25')}")
        assert "".join(one["key"] for one in found["projects"]) == keys, part


async def test_every_change_is_in_the_audit_log(api: Api) -> None:
    path = await project(api)
    await api.patch(path, {"name": "Shop"})
    await api.delete(path)
    entries = (await api.get("/v1/audit?subject=project"))["audit"]
    assert [(one["action"], one["name"], one["fields"]) for one in entries] == [
        ("delete", "Shop", []),
        ("update", "Shop", ["name"]),
        ("create", "Web", []),
    ]


async def test_keys_limited_to_projects_do_not_change_them(api: Api) -> None:
    path = await project(api)
    number = int(path.rpartition("/")[2])
    key = await api.post("/v1/keys", {"name": "k", "permissions": ["admin"], "projects": [number]})
    for method in ("PATCH", "DELETE"):
        assert (await api.ask(method, path, {}, X_API_Key=key["key"]))[0] == 403
