"""ETags: nobody undoes what another changed meanwhile, and nobody reads again what is as it was."""

from collections.abc import AsyncIterator

import pytest

from store.database import Database
from tests.api_server import Api, serving_api

pytestmark = pytest.mark.sqlite_does

CHANGES: dict[str, dict[str, object]] = {
    "projects": {"name": "other"},
    "credentials": {"name": "other"},
    "connections": {"name": "other"},
}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def made(api: Api, what: str) -> tuple[str, str]:
    """The path of a new thing, and its ETag."""
    bodies: dict[str, object] = {
        "projects": {"name": "Web", "key": "WEB"},
        "credentials": {"name": "c", "system": "shelf", "kind": "basic", "username": "me", "secret": "s"},
        "connections": {"name": "s", "system": "shelf", "url": "shelf.example/3", "frequency": "manually"},
    }
    status, headers, _ = await api.heard("POST", f"/v1/{what}", bodies[what])
    assert status == 201
    return headers["Location"], headers["ETag"]


async def tag(api: Api, path: str) -> str:
    return (await api.heard("GET", path))[1]["ETag"]


@pytest.mark.parametrize("what", CHANGES)
async def test_the_answer_to_a_creation_has_the_etag_that_reading_gives(api: Api, what: str) -> None:
    path, first = await made(api, what)
    assert await tag(api, path) == first
    assert first.startswith('"')
    assert first.endswith('"')


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_goes_through_with_the_etag_of_now_and_gives_the_next(api: Api, what: str) -> None:
    path, first = await made(api, what)
    status, headers, answer = await api.heard("PATCH", path, CHANGES[what], If_Match=first)
    assert (status, answer["name"]) == (200, "other")
    assert headers["ETag"] == await tag(api, path) != first


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_with_the_etag_of_before_is_refused_and_changes_nothing(api: Api, what: str) -> None:
    path, first = await made(api, what)
    await api.patch(path, CHANGES[what])
    status, problem = await api.ask("PATCH", path, {"name": "third"}, If_Match=first)
    assert (status, problem["status"]) == (412, 412)
    assert "changed meanwhile" in problem["detail"]
    assert (await api.get(path))["name"] == "other"


@pytest.mark.parametrize("what", CHANGES)
async def test_what_changed_meanwhile_is_not_removed(api: Api, what: str) -> None:
    path, first = await made(api, what)
    await api.patch(path, CHANGES[what])
    assert (await api.ask("DELETE", path, If_Match=first))[0] == 412
    assert (await api.ask("DELETE", path, If_Match=await tag(api, path)))[0] == 204
    assert (await api.ask("GET", path))[0] == 404


@pytest.mark.parametrize("header", ["*", '"x", {}', "{}", '{} , "y"'])
async def test_one_of_several_etags_will_do(api: Api, header: str) -> None:
    path, first = await made(api, "projects")
    assert (await api.ask("PATCH", path, {"name": "b"}, If_Match=header.replace("{}", first)))[0] == 200


@pytest.mark.parametrize("header", ['"x"', "W/{}", "", ",", "nonsense"])
async def test_any_other_etag_will_not(api: Api, header: str) -> None:
    path, first = await made(api, "projects")
    assert (await api.ask("PATCH", path, {"name": "b"}, If_Match=header.replace("{}", first)))[0] == 412


async def test_an_etag_without_its_quotes_is_understood(api: Api) -> None:
    path, first = await made(api, "projects")
    assert (await api.ask("PATCH", path, {"name": "b"}, If_Match=first.strip('"')))[0] == 200


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_as_it_was_is_not_sent_again(api: Api, what: str) -> None:
    path, first = await made(api, what)
    status, headers, answer = await api.heard("GET", path, If_None_Match=f'"x", {first}')
    assert (status, headers["ETag"], answer) == (304, first, None)
    assert (await api.ask("GET", path, If_None_Match=f"W/{first}"))[0] == 304
    assert (await api.ask("GET", path, If_None_Match='"x"'))[0] == 200
    await api.patch(path, CHANGES[what])
    assert (await api.ask("GET", path, If_None_Match=first))[0] == 200


async def test_a_change_is_answered_whatever_is_not_to_match(api: Api) -> None:
    path, _ = await made(api, "projects")
    assert (await api.ask("PATCH", path, {"name": "b"}, If_None_Match="*"))[0] == 200


async def test_a_sync_makes_a_connection_worth_reading_and_stands_in_the_way_of_no_change(api: Api) -> None:
    path, first = await made(api, "connections")
    await api.synced(int(path.rpartition("/")[2]))
    assert (await api.ask("GET", path, If_None_Match=first))[0] == 200
    assert (await api.ask("PATCH", path, {"frequency": "daily"}, If_Match=first))[0] == 200


async def test_a_new_secret_is_a_change_though_it_is_not_seen(api: Api) -> None:
    path, first = await made(api, "credentials")
    await api.patch(path, {"secret": "another"})
    assert (await api.ask("PATCH", path, {"name": "b"}, If_Match=first))[0] == 412


async def test_keys_that_see_less_of_a_connection_have_its_version_still(api: Api) -> None:
    path, first = await made(api, "connections")
    reader = await api.post("/v1/keys", {"name": "r", "permissions": ["read"]})
    _, headers, _ = await api.heard("GET", path, X_API_Key=reader["key"])
    assert headers["ETag"] != first
    assert headers["ETag"].partition("-")[0] == first.partition("-")[0]


async def test_what_is_not_there_is_404_whatever_is_to_match(api: Api) -> None:
    for header in ("*", '"x"'):
        assert (await api.ask("PATCH", "/v1/projects/7", {}, If_Match=header))[0] == 404
