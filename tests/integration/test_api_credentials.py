"""Credentials and projects: made, shown without secrets, changed, removed."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from store.credentials import place
from store.database import Database, clock
from store.health import Problem
from store.schema import connections as table
from store.schema import credentials
from tests.api_server import Api, serving_api


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def stored_secret(api: Api, credential_id: int) -> str | None:
    async with api.context.database.read() as connection:
        query = select(credentials.c.secret).where(credentials.c.id == credential_id)
        sealed = (await connection.execute(query)).scalar()
    return None if sealed is None else api.context.vault.open(sealed, place(credential_id))


async def test_a_secret_goes_in_and_only_its_presence_comes_out(api: Api) -> None:
    made = await api.credential("open sesame")
    assert (made["has_secret"], made["username"], made["kind"]) == (True, "me", "basic")
    assert "secret" not in made
    assert await api.get(f"/v1/credentials/{made['id']}") == made
    assert (await api.get("/v1/credentials"))["credentials"] == [made]
    assert await stored_secret(api, made["id"]) == "open sesame"


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"kind": "pat"}, {"kind"}),
        ({"kind": "magic"}, {"kind"}),
        ({"username": None}, {"username"}),
        ({"secret": ""}, {"secret"}),
        ({"secret": "********"}, {"secret"}),
        ({"secret": "pasted\n"}, {"secret"}),
        ({"username": "me\r\nX: y"}, {"username"}),
        ({"kind": "anonymous"}, {"secret"}),
        ({"scope": "all"}, {"scope"}),
    ],
)
async def test_what_cannot_work_is_refused(api: Api, values: dict[str, object], fields: set[str]) -> None:
    body = {"name": "n", "system": "shelf", "kind": "basic", "username": "me", "secret": "s"}
    assert set(await api.refused("POST", "/v1/credentials", {**body, **values})) == fields


async def test_any_kind_can_be_kept_for_a_system_without_an_adapter(api: Api) -> None:
    made = await api.credential(
        system="papyrus", kind="oauth2", token_url="https://login.example/token", client_id="us", scope="all"
    )
    assert (made["token_url"], made["client_id"], made["scope"]) == (
        "https://login.example/token",
        "us",
        "all",
    )


async def test_the_mask_keeps_the_secret_and_another_text_replaces_it(api: Api) -> None:
    made = await api.credential("open sesame")
    path = f"/v1/credentials/{made['id']}"
    changed = await api.patch(path, {"name": "new name", "secret": "********"})
    assert (changed["name"], await stored_secret(api, made["id"])) == ("new name", "open sesame")
    await api.patch(path, {"secret": "close sesame"})
    assert await stored_secret(api, made["id"]) == "close sesame"
    assert list(await api.refused("PATCH", path, {"secret": None})) == ["secret"]
    anonymous = await api.patch(path, {"kind": "anonymous", "username": None, "secret": None})
    assert (anonymous["has_secret"], await stored_secret(api, made["id"])) == (False, None)


@pytest.mark.parametrize(
    ("change", "state"), [({"secret": "another"}, "queued"), ({"username": "you"}, "cancelled")]
)
async def test_another_account_cancels_what_runs_and_another_secret_does_not(
    api: Api, change: dict[str, object], state: str
) -> None:
    credential = await api.credential()
    made = await api.shelf(credential_id=credential["id"])
    sync = await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    await api.patch(f"/v1/credentials/{credential['id']}", change)
    assert (await api.get(f"/v1/syncs/{sync['id']}"))["state"] == state


async def test_a_repaired_credential_has_its_paused_connections_tried_at_once(api: Api) -> None:
    credential = await api.credential()
    paused = await api.shelf(credential_id=credential["id"], frequency="daily")
    await api.shelf(credential_id=credential["id"], frequency="daily")
    async with api.context.database.write() as connection:
        far = await clock(connection) + timedelta(hours=9)
        why = Problem("auth", "Unknown.", "")
        await connection.execute(update(table).values(next_due_at=far))
        facts = {"failure": why, "health": "failed", "cause": "auth"}
        await connection.execute(update(table).where(table.c.id == paused["id"]).values(facts))
    await api.patch(f"/v1/credentials/{credential['id']}", {"name": "only renamed"})
    assert (await api.get(f"/v1/connections/{paused['id']}"))["health"] == "failed"
    await api.patch(f"/v1/credentials/{credential['id']}", {"secret": "a good one"})
    repaired = await api.get(f"/v1/connections/{paused['id']}")
    assert repaired["health"] == "pending"
    async with api.context.database.read() as connection:
        due = select(table.c.id).where(table.c.next_due_at <= await clock(connection))
        assert (await connection.execute(due)).scalars().all() == [paused["id"]]


async def test_a_credential_in_use_is_not_removed(api: Api) -> None:
    credential = await api.credential()
    made = await api.shelf(credential_id=credential["id"])
    path = f"/v1/credentials/{credential['id']}"
    await api.refused("DELETE", path, status=409)
    await api.delete(f"/v1/connections/{made['id']}")
    await api.delete(path)
    await api.refused("GET", path, status=404)


async def test_credentials_are_filtered_by_system(api: Api) -> None:
    await api.credential(system="papyrus")
    made = await api.credential()
    assert (await api.get("/v1/credentials?system=shelf"))["credentials"] == [made]


async def test_projects_are_made_once_per_key_and_listed(api: Api) -> None:
    first = await api.post("/v1/projects", {"name": "Reading", "key": "R"})
    second = await api.post("/v1/projects", {"name": "Writing", "key": "W"})
    assert list(await api.refused("POST", "/v1/projects", {"name": "x", "key": "R"}, 409)) == ["key"]
    page = await api.get("/v1/projects?limit=1")
    assert page["projects"] == [first]
    assert await api.get(f"/v1/projects?limit=1&cursor={page['next']}") == {
        "projects": [second],
        "next": None,
    }
    assert (await api.get("/v1/projects?key=W"))["projects"] == [second]
    assert await api.get(f"/v1/projects/{second['id']}") == second
