"""Syncs: opened by hand, looked at, listed, cancelled."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from scheduler.dispatch import Request
from store.database import Database
from tests.api_server import Api, serving_api

SHAPE = set(
    "id connection_id lane trigger scope state resume_at counters receipt error queued_at started_at "
    "finished_at".split()
)


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def start(api: Api, connection_id: int, status: int = 202, **body: object) -> Any:
    return await api.post(f"/v1/connections/{connection_id}/sync", body, status)


async def test_a_sync_is_accepted_rung_for_and_worked_off(api: Api) -> None:
    made = await api.shelf("shelf.example/3")
    opened = await start(api, made["id"])
    assert set(opened) >= SHAPE
    assert (opened["state"], opened["trigger"], opened["lane"], opened["scope"]) == (
        "queued",
        "api",
        "bulk",
        "incremental",
    )
    assert [ring.sync_id for ring in api.rope.rung] == [opened["id"]]
    await api.house.work(opened["id"])
    ended = await api.get(f"/v1/syncs/{opened['id']}")
    assert (ended["state"], ended["error"]) == ("succeeded", None)
    assert ended["counters"]["books"] == {
        "read": 3,
        "new": 3,
        "changed": 0,
        "unchanged": 0,
        "deleted": 0,
        "rejected": 0,
    }
    assert set(ended["counters"]) == set(ended["receipt"]) == {"books", "loans"}
    assert ended["receipt"]["books"] == {"expected": None, "stored": 3, "complete": True}
    assert ended["queued_at"] <= ended["started_at"] <= ended["finished_at"]
    assert (await api.get(f"/v1/connections/{made['id']}"))["health"] == "healthy"


async def test_asking_again_joins_the_queued_sync(api: Api) -> None:
    made = await api.shelf()
    first, again = await start(api, made["id"]), await start(api, made["id"], scope="full")
    assert (again["id"], again["scope"], again["joined"]) == (first["id"], "full", 1)


async def test_named_records_show_their_stream_and_keys(api: Api) -> None:
    made = await api.shelf()
    opened = await start(api, made["id"], scope="records", stream="books", keys=["b02", "b01", "b02"])
    assert (opened["lane"], opened["stream"], opened["keys"]) == ("records", "books", ["b01", "b02"])
    other = await start(api, made["id"], scope="records", stream="loans", keys=["l02"])
    assert (other["stream"], other["keys"]) == (None, {"books": ["b01", "b02"], "loans": ["l02"]})
    assert not {"stream", "keys"} & set(await start(api, made["id"]))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"scope": "everything"}, {"scope"}),
        ({"scope": "records"}, {"stream", "keys"}),
        ({"scope": "records", "stream": "books", "keys": []}, {"keys"}),
        ({"scope": "records", "stream": "films", "keys": ["1"]}, {"stream"}),
        ({"scope": "records", "stream": "books", "keys": [7]}, {"keys[0]"}),
        ({"scope": "records", "stream": "books", "keys": ["a\0"]}, {"keys[0]"}),
        ({"stream": "books"}, {"stream"}),
        ({"keys": ["b01"]}, {"keys"}),
    ],
)
async def test_what_cannot_be_synced_is_named(api: Api, body: dict[str, object], fields: set[str]) -> None:
    made = await api.shelf()
    wrong = await api.refused("POST", f"/v1/connections/{made['id']}/sync", body)
    assert set(wrong) == fields
    if fields == {"scope"}:
        assert "incremental, full, census, records" in wrong["scope"]


async def test_a_stream_that_was_not_chosen_is_not_read_by_key(api: Api) -> None:
    made = await api.shelf(streams=["books"])
    body = {"scope": "records", "stream": "loans", "keys": ["l02"]}
    assert set(await api.refused("POST", f"/v1/connections/{made['id']}/sync", body)) == {"stream"}


async def test_a_failed_sync_says_why(api: Api) -> None:
    made = await api.shelf("shelf.example/3?state=torn")
    ended = await api.synced(made["id"])
    assert ended["state"] == "partial"
    assert set(ended["error"]) == {"kind", "message", "hint"}
    page = await api.get(f"/v1/connections/{made['id']}/quarantine")
    assert [(one["stream"], one["key"], one["reason"], one["body"]) for one in page["quarantine"]] == [
        ("books", "b99", "torn", "{"),
        ("loans", "b99", "torn", "{"),
    ]


async def test_cancelling_ends_a_sync_once_and_rings_the_next(api: Api) -> None:
    made = await api.shelf()
    running = await start(api, made["id"])
    async with api.context.database.write() as connection:
        await connection.exec_driver_sql("UPDATE syncs SET state = 'waiting'")
    following = await start(api, made["id"])
    api.rope.rung.clear()
    ended = await api.post(f"/v1/syncs/{running['id']}/cancel", None, 200)
    assert (ended["state"], ended["finished_at"] is not None) == ("cancelled", True)
    assert [ring.sync_id for ring in api.rope.rung] == [following["id"]]
    await api.refused("POST", f"/v1/syncs/{running['id']}/cancel", status=409)
    assert (await api.get(f"/v1/syncs/{running['id']}"))["finished_at"] == ended["finished_at"]


async def test_syncs_are_listed_newest_first_and_filtered(api: Api) -> None:
    one, two = await api.shelf(), await api.shelf()
    first = await api.synced(one["id"])
    second = await api.synced(two["id"])
    third = await start(api, one["id"])
    everything = await api.get("/v1/syncs?limit=2")
    assert [sync["id"] for sync in everything["syncs"]] == [third["id"], second["id"]]
    rest = await api.get(f"/v1/syncs?limit=2&cursor={everything['next']}")
    assert ([sync["id"] for sync in rest["syncs"]], rest["next"]) == ([first["id"]], None)
    assert rest["syncs"] == [first]
    for query, found in (
        (f"/v1/connections/{one['id']}/syncs", [third, first]),
        (f"/v1/syncs?connection_id={two['id']}", [second]),
        ("/v1/syncs?state=queued", [third]),
        ("/v1/syncs?lane=records", []),
    ):
        assert [sync["id"] for sync in (await api.get(query))["syncs"]] == [sync["id"] for sync in found]
    assert list(await api.refused("GET", "/v1/syncs?state=asleep")) == ["state"]


async def test_a_sync_that_was_opened_elsewhere_is_the_same_sync(api: Api) -> None:
    made = await api.shelf()
    sync = await api.house.open(made["id"], Request("schedule"))
    assert (await start(api, made["id"]))["id"] == sync.id
    assert (await api.get(f"/v1/syncs/{sync.id}"))["trigger"] == "schedule"


async def test_what_lies_outside_of_a_changed_question_is_gone_with_the_next_sync(api: Api) -> None:
    made = await api.shelf("shelf.example/9")
    await api.synced(made["id"])
    await api.patch(f"/v1/connections/{made['id']}", {"url": "shelf.example/7"})
    ended = await api.synced(made["id"])
    assert ended["state"] == "succeeded"
    assert ended["counters"]["books"]["deleted"] == 2
    assert await api.house.keys("shelf", "books") == {f"b0{n}" for n in range(1, 8)}
