"""Connections: made, shown, listed, changed, removed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from store.database import Database, clock, to_text
from store.health import Problem
from store.schema import connections as table
from store.schema import cursors
from tests.api_server import Api, serving_api


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def now(api: Api) -> datetime:
    async with api.context.database.read() as connection:
        return await clock(connection)


async def set_columns(api: Api, connection_id: int, **values: object) -> None:
    async with api.context.database.write() as connection:
        await connection.execute(update(table).where(table.c.id == connection_id).values(values))


async def column(api: Api, connection_id: int, name: str) -> Any:
    async with api.context.database.read() as connection:
        return (await connection.execute(select(table.c[name]).where(table.c.id == connection_id))).scalar()


async def cursors_of(api: Api, connection_id: int) -> int:
    async with api.context.database.read() as connection:
        query = select(cursors).where(cursors.c.connection_id == connection_id)
        return len((await connection.execute(query)).all())


async def failed(api: Api, kind: str = "auth") -> Any:
    """A connection that a failure has paused, with its time far away."""
    made = await api.shelf(frequency="daily")
    far = await now(api) + timedelta(hours=9)
    why = Problem(kind, "It went wrong.", "Do something.")
    await set_columns(
        api, made["id"], failure=why, health="failed", cause=kind, next_due_at=far, next_check_at=far
    )
    return await api.get(f"/v1/connections/{made['id']}")


async def test_a_new_connection_is_pending_due_at_once_and_shown_as_typed(api: Api) -> None:
    before = await now(api)
    project = await api.post("/v1/projects", {"name": "Reading", "key": "R"})
    made = await api.shelf(
        "shelf.example/3",
        frequency="Every 15 minutes",
        timezone="Europe/Berlin",
        streams=["loans", "books", "loans"],
        params={"jql": "x"},
        project_id=project["id"],
    )
    assert made["url"] == "shelf.example/3"
    assert (made["health"], made["cause"], made["enabled"]) == ("pending", None, True)
    assert (made["frequency"], made["timezone"]) == ("every 15m", "Europe/Berlin")
    assert (made["streams"], made["params"], made["project_id"]) == (
        ["loans", "books"],
        {"jql": "x"},
        project["id"],
    )
    assert to_text(before) <= made["next_due_at"] <= to_text(await now(api))
    assert len(made["callback_token"]) >= 24
    assert await api.get(f"/v1/connections/{made['id']}") == made
    assert await column(api, made["id"], "canonical") == "https://shelf.example/3"


async def test_without_a_frequency_a_connection_is_hourly(api: Api) -> None:
    made = await api.post("/v1/connections", {"name": "n", "system": "shelf", "url": "shelf.example/1"})
    assert made["frequency"] == "hourly"
    assert made["next_due_at"] is not None


async def test_manual_and_disabled_connections_are_not_due(api: Api) -> None:
    assert (await api.shelf(frequency="manually"))["next_due_at"] is None
    disabled = await api.shelf(frequency="hourly", enabled=False)
    assert (disabled["next_due_at"], disabled["health"]) == (None, "disabled")


@pytest.mark.parametrize(("system", "url"), [("shelf", None), ("papyrus", "papyrus.example/1")])
async def test_without_a_url_or_an_adapter_it_is_a_draft(api: Api, system: str, url: str | None) -> None:
    draft = await api.shelf(url, system=system, frequency="hourly")
    assert (draft["health"], draft["cause"], draft["next_due_at"]) == ("pending", "incomplete", None)
    assert draft["message"]
    await api.refused("POST", f"/v1/connections/{draft['id']}/sync", {}, status=409)


async def test_secrets_in_clear_are_refused_where_no_adapter_would(api: Api) -> None:
    body = {"name": "n", "system": "papyrus", "url": "https://me:pw@x.example", "params": {"api_key": "k"}}
    assert set(await api.refused("POST", "/v1/connections", body)) == {"url", "params.api_key"}


@pytest.mark.parametrize("system", ["", "Shelf", "shelf\n", "a shelf", "x" * 51])
async def test_the_name_of_a_system_is_a_plain_word(api: Api, system: str) -> None:
    assert list(await api.refused("POST", "/v1/connections", {"name": "n", "system": system})) == ["system"]


async def test_a_credential_must_be_of_the_system(api: Api) -> None:
    other = await api.credential(system="papyrus")
    body = {"name": "n", "system": "shelf", "url": "shelf.example/1", "credential_id": other["id"]}
    assert set(await api.refused("POST", "/v1/connections", body)) == {"credential_id"}


async def test_connections_are_filtered_and_paged(api: Api) -> None:
    project = await api.post("/v1/projects", {"name": "Reading", "key": "R"})
    ids = [(await api.shelf(name=f"n{i}", project_id=project["id"]))["id"] for i in range(3)]
    alone = (await api.shelf(enabled=False))["id"]
    first = await api.get(f"/v1/connections?limit=2&project_id={project['id']}")
    assert [one["id"] for one in first["connections"]] == ids[:2]
    rest = await api.get(f"/v1/connections?limit=2&project_id={project['id']}&cursor={first['next']}")
    assert ([one["id"] for one in rest["connections"]], rest["next"]) == (ids[2:], None)
    for query in ("health=disabled", "project_id=null", "name=shelf"):
        assert [one["id"] for one in (await api.get(f"/v1/connections?{query}"))["connections"]] == [alone]
    assert (await api.get("/v1/connections?system=papyrus"))["connections"] == []


async def test_a_cursor_is_good_for_its_own_query_only(api: Api) -> None:
    for _ in range(3):
        await api.shelf()
    cursor = (await api.get("/v1/connections?limit=1"))["next"]
    assert await api.get(f"/v1/connections?limit=2&cursor={cursor}")
    for path in (f"connections?system=shelf&cursor={cursor}", f"credentials?cursor={cursor}"):
        assert list(await api.refused("GET", f"/v1/{path}")) == ["cursor"]
    for damaged in (cursor[:-1], f"{cursor}A", "x", "", "%00", "é"):
        assert list(await api.refused("GET", f"/v1/connections?cursor={damaged}")) == ["cursor"]


async def test_a_name_is_changed_and_nothing_else(api: Api) -> None:
    made = await api.shelf(frequency="daily")
    await api.synced(made["id"])
    before = await api.get(f"/v1/connections/{made['id']}")
    after = await api.patch(f"/v1/connections/{made['id']}", {"name": "another"})
    assert {name for name in after if after[name] != before[name]} == {"name", "updated_at"}
    assert await cursors_of(api, made["id"]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"url": "shelf.example/4"},
        {"params": {"jql": "other"}},
        {"streams": ["books"]},
        {"credential_id": 1},
        {"enabled": False},
    ],
)
async def test_what_changes_the_reading_cancels_what_runs(api: Api, change: dict[str, object]) -> None:
    await api.credential()
    made = await api.shelf()
    bulk = await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    asked = {"scope": "records", "stream": "books", "keys": ["b01"]}
    named = await api.post(f"/v1/connections/{made['id']}/sync", asked, 202)
    await api.patch(f"/v1/connections/{made['id']}", change)
    for sync in (bulk, named):
        assert (await api.get(f"/v1/syncs/{sync['id']}"))["state"] == "cancelled"


async def test_fields_that_cannot_be_kept_out_yet_are_not_promised_to_be(api: Api) -> None:
    params = {"exclude": ["fields.assignee"], "columns": {"team": "fields.team"}}
    body = {"name": "n", "system": "papyrus", "url": "papyrus.example", "params": params}
    assert set(await api.refused("POST", "/v1/connections", body)) == {"params.exclude", "params.columns"}
    await api.shelf()
    made = (await api.get("/v1/connections"))["connections"][0]
    assert set(await api.refused("PATCH", f"/v1/connections/{made['id']}", {"params": params})) >= {
        "params.exclude",
        "params.columns",
    }


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"url": "shelf.example/4"}, 0),
        ({"params": {"jql": "other"}}, 0),
        ({"streams": ["books"]}, 0),
        ({"url": "https://shelf.example/3"}, 2),
        ({"params": {"census_every": "12h"}}, 2),
        ({"streams": ["loans", "books"]}, 2),
        ({"credential_id": 1}, 2),
        ({"enabled": False}, 2),
    ],
)
async def test_another_target_is_read_from_the_beginning(
    api: Api, change: dict[str, object], kept: int
) -> None:
    await api.credential()
    made = await api.shelf(streams=["books", "loans"])
    await api.synced(made["id"])
    assert await cursors_of(api, made["id"]) == 2
    await api.patch(f"/v1/connections/{made['id']}", change)
    assert await cursors_of(api, made["id"]) == kept


@pytest.mark.parametrize("change", [{"url": "shelf.example/4"}, {"credential_id": 1}])
async def test_an_edit_of_a_paused_connection_has_it_tried_at_once(
    api: Api, change: dict[str, object]
) -> None:
    await api.credential()
    made = await failed(api)
    assert (made["health"], made["message"], made["hint"]) == ("failed", "It went wrong.", "Do something.")
    after = await api.patch(f"/v1/connections/{made['id']}", change)
    assert (after["health"], after["cause"], after["message"]) == ("pending", None, None)
    assert after["next_due_at"] <= to_text(await now(api))
    assert await column(api, made["id"], "next_check_at") is None


async def test_a_manual_connection_is_repaired_but_never_due(api: Api) -> None:
    made = await failed(api)
    await set_columns(api, made["id"], frequency="manually", next_due_at=None)
    after = await api.patch(f"/v1/connections/{made['id']}", {"url": "shelf.example/5"})
    assert (after["health"], after["next_due_at"]) == ("pending", None)


async def test_renaming_a_paused_connection_leaves_it_paused(api: Api) -> None:
    made = await failed(api)
    after = await api.patch(f"/v1/connections/{made['id']}", {"name": "still wrong"})
    assert (after["health"], after["next_due_at"]) == ("failed", made["next_due_at"])


async def test_disabling_and_enabling_is_told_and_makes_it_due(api: Api) -> None:
    made = await api.shelf(frequency="weekly")
    path = f"/v1/connections/{made['id']}"
    off = await api.patch(path, {"enabled": False})
    assert (off["health"], off["next_due_at"]) == ("disabled", None)
    await api.refused("POST", f"{path}/sync", {}, status=409)
    on = await api.patch(path, {"enabled": True})
    assert (on["health"], on["next_due_at"] <= to_text(await now(api))) == ("pending", True)
    told = [(data["health_before"], data["health"]) for _, _, data in await api.house.events(made["id"])]
    assert told == [("pending", "disabled"), ("disabled", "pending")]


async def test_a_completed_draft_is_due_at_once_and_can_become_a_draft_again(api: Api) -> None:
    draft = await api.shelf(None, frequency="monthly")
    path = f"/v1/connections/{draft['id']}"
    done = await api.patch(path, {"url": "shelf.example/2"})
    assert (done["cause"], done["next_due_at"] <= to_text(await now(api))) == (None, True)
    again = await api.patch(path, {"url": None})
    assert (again["cause"], again["next_due_at"]) == ("incomplete", None)


async def test_another_frequency_sets_another_time(api: Api) -> None:
    made = await api.shelf(frequency="hourly")
    path = f"/v1/connections/{made['id']}"
    await set_columns(api, made["id"], next_due_at=datetime(2099, 1, 1, tzinfo=UTC))
    daily = await api.patch(path, {"frequency": "daily at 02:30", "timezone": "Asia/Tokyo"})
    assert daily["next_due_at"][11:16] == "17:30"
    assert to_text(await now(api)) < daily["next_due_at"] < "2099"
    assert (await api.patch(path, {"frequency": "manually"}))["next_due_at"] is None
    assert list(await api.refused("PATCH", path, {"timezone": "Moon/Base"})) == ["timezone"]
    assert list(await api.refused("PATCH", path, {"frequency": "0 0 31 2 *"})) == ["frequency"]


async def test_a_first_sync_that_is_still_due_is_not_put_off_by_another_frequency(api: Api) -> None:
    made = await api.shelf(frequency="hourly")
    after = await api.patch(f"/v1/connections/{made['id']}", {"frequency": "monthly"})
    assert after["next_due_at"] == made["next_due_at"]


async def test_the_webhook_secret_is_sealed_for_its_place_and_kept_by_the_mask(api: Api) -> None:
    made = await api.shelf(webhook_secret="knock knock")
    path, place = f"/v1/connections/{made['id']}", f"connections/{made['id']}/webhook_secret"
    assert made["has_webhook_secret"]
    await api.patch(path, {"webhook_secret": "********"})
    sealed = await column(api, made["id"], "webhook_secret")
    assert api.context.vault.open(sealed, place) == "knock knock"
    await api.patch(path, {"webhook_secret": "who is there"})
    sealed = await column(api, made["id"], "webhook_secret")
    assert api.context.vault.open(sealed, place) == "who is there"
    assert not (await api.patch(path, {"webhook_secret": None}))["has_webhook_secret"]


async def test_a_system_is_not_changed(api: Api) -> None:
    made = await api.shelf()
    assert list(await api.refused("PATCH", f"/v1/connections/{made['id']}", {"system": "x"})) == ["system"]


@pytest.mark.parametrize(("query", "purge"), [("", False), ("?records=delete", True)])
async def test_a_removed_connection_is_gone_and_its_records_stay_unless_asked(
    api: Api, query: str, purge: bool
) -> None:
    made = await api.shelf()
    path = f"/v1/connections/{made['id']}"
    await api.synced(made["id"])
    opened = await api.post(f"{path}/sync", {}, 202)
    await api.delete(path + query)
    await api.refused("GET", path, status=404)
    await api.refused("DELETE", path, status=404)
    assert (await api.get("/v1/connections"))["connections"] == []
    assert (await api.get(f"/v1/syncs/{opened['id']}"))["state"] == "cancelled"
    assert await column(api, made["id"], "purge") == purge
    assert len(await api.house.keys("shelf", "books")) == 3


async def test_ids_are_never_used_again(api: Api) -> None:
    first = await api.shelf()
    await api.delete(f"/v1/connections/{first['id']}")
    assert (await api.shelf())["id"] > first["id"]


async def test_the_status_is_the_short_form(api: Api) -> None:
    made = await failed(api)
    status = await api.get(f"/v1/connections/{made['id']}/status")
    assert status == {name: made[name] for name in status}
    assert {"health", "cause", "since", "last_success_at", "next_due_at"} <= set(status)
