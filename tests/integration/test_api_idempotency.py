"""Idempotency-Key: what is asked for twice is done once, and answered the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from api.context import Context
from api.idempotency import once
from config.secret import Secret
from config.vault import Vault
from store import idempotency
from store.database import Database, clock
from store.projects import add
from store.schema import idempotency as table
from store.schema import projects, syncs
from tests.api_server import Api, serving_api

PROJECT = {"name": "Web", "key": "WEB"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def asked(
    api: Api, path: str, body: object, key: str = "k1", **headers: str
) -> tuple[int, Any, str | None]:
    """Status, JSON, and whether it is said to be an answer of before."""
    status, given, answer = await api.heard("POST", path, body, Idempotency_Key=key, **headers)
    return status, answer, given.get("Idempotent-Replayed")


async def projects_there(api: Api) -> int:
    async with api.context.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(projects))).scalar_one())


async def test_the_same_request_again_gets_the_same_answer_and_makes_nothing(api: Api) -> None:
    first = await asked(api, "/v1/projects", PROJECT)
    assert (first[0], first[2]) == (201, None)
    assert await asked(api, "/v1/projects", PROJECT) == (201, first[1], "true")
    assert await projects_there(api) == 1


async def test_the_answer_given_again_has_the_headers_that_go_with_it(api: Api) -> None:
    _, one, _ = await api.heard("POST", "/v1/projects", PROJECT, Idempotency_Key="k")
    _, two, _ = await api.heard("POST", "/v1/projects", PROJECT, Idempotency_Key="k")
    for name in ("ETag", "Location", "Content-Type", "Cache-Control"):
        assert one[name] == two[name]


async def test_the_order_of_members_does_not_make_another_request(api: Api) -> None:
    await asked(api, "/v1/projects", PROJECT)
    assert (await asked(api, "/v1/projects", dict(reversed(PROJECT.items()))))[2] == "true"


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/projects", {"name": "Web", "key": "OTHER"}), ("/v1/keys", {"name": "k", "permissions": ["read"]})],
)
async def test_another_request_under_the_same_key_is_refused(api: Api, path: str, body: object) -> None:
    await asked(api, "/v1/projects", PROJECT)
    status, answer, _ = await asked(api, path, body)
    assert status == 422
    assert answer["errors"][0]["field"] == "Idempotency-Key"
    assert await projects_there(api) == 1


async def test_keys_of_two_callers_have_nothing_to_do_with_each_other(api: Api) -> None:
    await asked(api, "/v1/projects", PROJECT)
    other = await api.post("/v1/keys", {"name": "other", "permissions": ["write"]})
    status, _, again = await asked(api, "/v1/projects", {"name": "b", "key": "B"}, X_API_Key=other["key"])
    assert (status, again) == (201, None)


async def test_of_two_at_once_one_is_done(api: Api) -> None:
    answers = await asyncio.gather(*(asked(api, "/v1/projects", PROJECT) for _ in range(8)))
    assert await projects_there(api) == 1
    assert sorted({status for status, _, _ in answers}) in ([201], [201, 409])
    assert [again for status, _, again in answers if status == 201].count(None) == 1


async def test_one_under_way_is_a_409_that_says_to_ask_again(api: Api) -> None:
    async with api.context.database.write() as connection:
        await idempotency.add(connection, "admin key", "k1")
        waiting = asyncio.create_task(asked(api, "/v1/projects", PROJECT))
        await asyncio.sleep(
            0.2
        )  # long enough for it to come to where it waits; if not, the answer is the same
        assert not waiting.done()
    assert (await waiting)[0] == 409
    assert await projects_there(api) == 0


async def test_what_was_refused_may_be_asked_again_with_the_same_key(api: Api) -> None:
    assert (await asked(api, "/v1/projects", {"name": "Web"}))[0] == 422
    await api.post("/v1/projects", PROJECT)
    assert (await asked(api, "/v1/projects", PROJECT))[0] == 409
    assert (await asked(api, "/v1/projects", {"name": "b", "key": "B"}))[0] == 201


@pytest.mark.parametrize("key", ["a b", "x" * 256, "é"])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    status, answer, _ = await asked(api, "/v1/projects", PROJECT, key)
    assert (status, answer["errors"][0]["field"]) == (422, "Idempotency-Key")


async def test_a_sync_is_opened_once_and_rung_when_it_is_in(api: Api) -> None:
    made = await api.shelf()
    path = f"/v1/connections/{made['id']}/sync"
    status, first, _ = await asked(api, path, {"scope": "full"})
    assert (status, len(api.rope.rung)) == (202, 1)
    assert await asked(api, path, {"scope": "full"}) == (202, first, "true")
    assert len(api.rope.rung) == 1
    async with api.context.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(syncs))).scalar_one() == 1


@pytest.mark.parametrize("what", ["connections", "credentials", "keys"])
async def test_every_creation_takes_a_key(api: Api, what: str) -> None:
    bodies: dict[str, dict[str, object]] = {
        "connections": {"name": "s", "system": "shelf", "url": "shelf.example/3", "frequency": "manually"},
        "credentials": {"name": "c", "system": "shelf", "kind": "basic", "username": "me", "secret": "s"},
        "keys": {"name": "k", "permissions": ["read"]},
    }
    first = await asked(api, f"/v1/{what}", bodies[what])
    assert first[0] == 201
    assert await asked(api, f"/v1/{what}", bodies[what]) == (201, first[1], "true")
    assert len((await api.get(f"/v1/{what}"))[what]) == 1


async def test_a_new_key_can_be_had_again_and_is_nowhere_in_clear(api: Api) -> None:
    body = {"name": "k", "permissions": ["read"]}
    _, made, _ = await asked(api, "/v1/keys", body)
    _, again, _ = await asked(api, "/v1/keys", body)
    assert again["key"] == made["key"]
    async with api.context.database.read() as connection:
        rows = (await connection.execute(select(table))).all()
    assert len(rows) == 1
    assert made["key"] not in repr(rows)


async def test_what_is_kept_does_not_betray_a_secret_that_was_asked_with(api: Api) -> None:
    body = {"name": "c", "system": "shelf", "kind": "basic", "username": "me", "secret": "hunter2"}
    await asked(api, "/v1/credentials", body, "one")
    await asked(api, "/v1/credentials", body, "two")
    async with api.context.database.read() as connection:
        one, two = (await connection.execute(select(table.c.request))).scalars()
    # A plain hash would be the same for the same secret, and could be guessed.
    assert one != two


async def test_after_a_change_of_the_secret_key_it_is_said_that_the_answer_is_lost(
    database: Database,
) -> None:
    async with serving_api(database) as api:
        await asked(api, "/v1/projects", PROJECT)
    async with serving_api(database, vault=Vault([Secret("another key of the tests")])) as api:
        status, answer, _ = await asked(api, "/v1/projects", PROJECT)
    assert status == 409
    assert "Look whether" in answer["detail"]


async def test_after_a_day_a_key_is_free_again(api: Api) -> None:
    await asked(api, "/v1/projects", PROJECT)
    async with api.context.database.write() as connection:
        at = await clock(connection)
        await connection.execute(update(table).values(at=at - timedelta(hours=24, seconds=1)))
    status, _, again = await asked(api, "/v1/projects", {"name": "b", "key": "B"})
    assert (status, again) == (201, None)


async def test_what_is_older_than_a_day_is_forgotten_and_nothing_else(api: Api) -> None:
    for number in range(3):
        await asked(api, "/v1/projects", {"name": "n", "key": f"k{number}"}, f"k{number}")
    async with api.context.database.write() as connection:
        before = await clock(connection) - idempotency.KEPT
        old = update(table).where(table.c.key != "k2")
        await connection.execute(old.values(at=before - timedelta(seconds=1)))
        assert await idempotency.forget(connection, before, 1) == 1
        assert await idempotency.forget(connection, before) == 1
        assert (await connection.execute(select(table.c.key))).scalars().all() == ["k2"]


async def test_a_request_that_dies_on_the_way_keeps_nothing(api: Api) -> None:
    class Deaf(Exception):
        """The process ends here."""

    async def dies(context: Context) -> Any:
        async with context.database.write() as connection:
            await add(connection, "X", "x", await clock(connection))
        raise Deaf

    with pytest.raises(Deaf):
        await once(api.context, "k", ("POST",), dies)
    assert await projects_there(api) == 0
    async with api.context.database.read() as connection:
        assert (await connection.execute(select(table))).all() == []
