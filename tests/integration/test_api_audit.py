"""The audit log: every change with who made it, and never a secret."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from store import audit
from store.database import Database, now
from store.schema import audit as table
from tests.api_server import Api, serving_api

SECRET = "a secret that nobody may read"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def lines(api: Api, query: str = "") -> list[dict[str, Any]]:
    return list((await api.get(f"/v1/audit{query}"))["audit"])


def told(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("actor", "action", "subject", "subject_id"))


async def test_every_kind_of_change_is_noted_newest_first(api: Api) -> None:
    project = await api.post("/v1/projects", {"name": "one", "key": "one"})
    credential = await api.credential(SECRET)
    made = await api.shelf(credential_id=credential["id"], webhook_secret=SECRET)
    path = f"/v1/connections/{made['id']}"
    await api.patch(path, {"name": "renamed", "project_id": project["id"]})
    await api.post(f"{path}/test", {}, 200)
    sync = await api.post(f"{path}/sync", {}, 202)
    await api.post(f"/v1/syncs/{sync['id']}/cancel", {}, 200)
    await api.patch(f"/v1/credentials/{credential['id']}", {"secret": SECRET + "!", "name": "other"})
    await api.delete(path)
    await api.delete(f"/v1/credentials/{credential['id']}")
    noted = await lines(api)
    assert [told(one) for one in reversed(noted)] == [
        ("admin key", "create", "project", project["id"]),
        ("admin key", "create", "credential", credential["id"]),
        ("admin key", "create", "connection", made["id"]),
        ("admin key", "update", "connection", made["id"]),
        ("admin key", "test", "connection", made["id"]),
        ("admin key", "sync", "connection", made["id"]),
        ("admin key", "cancel", "sync", sync["id"]),
        ("admin key", "update", "credential", credential["id"]),
        ("admin key", "delete", "connection", made["id"]),
        ("admin key", "delete", "credential", credential["id"]),
    ]
    by_action = {(one["action"], one["subject"]): one for one in noted}
    assert by_action["update", "connection"]["fields"] == ["name", "project_id"]
    assert by_action["update", "credential"]["fields"] == ["name", "secret"]
    assert by_action["delete", "connection"]["name"] == "renamed"
    assert all(one["at"].endswith("Z") for one in noted)
    assert SECRET not in str(noted)


async def test_a_key_is_named_with_its_id_and_its_text_is_not_there(api: Api) -> None:
    key = await api.post("/v1/keys", {"name": "robot", "permissions": ["write"]})
    await api.ask("POST", "/v1/projects", {"name": "p", "key": "p"}, X_API_Key=key["key"])
    await api.delete(f"/v1/keys/{key['id']}")
    await api.delete(f"/v1/keys/{key['id']}")
    noted = await lines(api)
    assert [(one["actor"], one["key_id"], one["action"], one["subject"]) for one in noted] == [
        ("admin key", None, "revoke", "key"),
        ("robot", key["id"], "create", "project"),
        ("admin key", None, "create", "key"),
    ]
    assert key["key"] not in str(noted)


async def test_what_is_refused_is_not_noted(api: Api) -> None:
    await api.refused("POST", "/v1/connections", {"name": "x", "system": "shelf", "url": "no shelf"})
    await api.delete("/v1/connections/7", 404)
    made = await api.shelf(enabled=False)
    await api.post(f"/v1/connections/{made['id']}/sync", {}, 409)
    assert [one["action"] for one in await lines(api)] == ["create"]


async def test_an_entry_is_undone_with_its_change(database: Database) -> None:
    async def fails() -> None:
        async with database.write() as connection:
            await audit.write(connection, audit.Actor("someone"), "create", "project", 1)
            raise LookupError

    with pytest.raises(LookupError):
        await fails()
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar() == 0


async def test_entries_are_filtered_and_paged(api: Api) -> None:
    made = [await api.shelf(name=str(i)) for i in range(3)]
    await api.delete(f"/v1/connections/{made[1]['id']}")
    assert [one["subject_id"] for one in await lines(api, "?action=delete")] == [made[1]["id"]]
    of_one = await lines(api, f"?subject=connection&subject_id={made[1]['id']}")
    assert [one["action"] for one in of_one] == ["delete", "create"]
    assert await lines(api, "?actor=robot") == []
    first = await api.get("/v1/audit?limit=3")
    rest = await api.get(f"/v1/audit?limit=3&cursor={first['next']}")
    ids = [one["id"] for one in (*first["audit"], *rest["audit"])]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest["next"]) == (4, None)


async def test_old_entries_are_forgotten_some_at_once(database: Database) -> None:
    async with database.write() as connection:
        for i in range(5):
            await audit.write(connection, audit.Actor("someone"), "create", "project", i)
        old = table.c.subject_id < 3
        long_ago = now(-(audit.KEPT + timedelta(hours=1)).total_seconds())
        await connection.execute(update(table).where(old).values(at=long_ago))
    before = await database.time() - audit.KEPT
    async with database.write() as connection:
        assert [await audit.forget(connection, before, 2) for _ in range(3)] == [2, 1, 0]
        left = (await connection.execute(select(table.c.subject_id).order_by(table.c.id))).scalars().all()
    assert left == [3, 4]
