"""Lists: what is asked for and nothing else, in the order that is asked for, page by page."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import update

from store.database import Database, to_text
from store.schema import connections, syncs
from tests.api_server import Api, serving_api

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def put(api: Api, connection_id: int, **values: object) -> None:
    """Set columns as a worker would have."""
    async with api.context.database.write() as connection:
        row = update(connections).where(connections.c.id == connection_id)
        await connection.execute(row.values(values))


async def names(api: Api, query: str, what: str = "connections") -> list[str]:
    return [one["name"] for one in (await api.get(f"/v1/{what}?{query}"))[what]]


async def paged(api: Api, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await api.get(f"/v1/connections?{query}" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["connections"]) <= 2
        found += page["connections"]
        cursor = page["next"]
    return found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("system=shelf", "abcd"),
        ("system=jira", "e"),
        ("health=failed", "b"),
        ("cause=auth", "b"),
        ("cause=nothing", ""),
        ("enabled=true", "abde"),
        ("enabled=false", "c"),
        ("name=a", "a"),
        ("q=A", "a"),
        ("project_id=1", "d"),
        ("project_id=null", "abce"),
        ("credential_id=1", "a"),
        ("system=shelf&enabled=true&project_id=null", "ab"),
    ],
)
async def test_connections_are_filtered(api: Api, query: str, found: str) -> None:
    project = await api.post("/v1/projects", {"name": "p", "key": "p"})
    credential = await api.credential()
    await api.shelf(name="a", credential_id=credential["id"])
    failed = await api.shelf(name="b")
    await put(api, failed["id"], health="failed", cause="auth")
    await api.shelf(name="c", enabled=False)
    await api.shelf(name="d", project_id=project["id"])
    await api.post("/v1/connections", {"name": "e", "system": "jira"})
    assert "".join(await names(api, query)) == found


@pytest.mark.parametrize(
    ("part", "found"), [("50%", ["50% off"]), ("_", ["a_b"]), ("OFF", ["50% off"]), ("\\", [])]
)
async def test_a_part_of_a_name_is_taken_as_it_is_written(api: Api, part: str, found: list[str]) -> None:
    for name in ("50% off", "a_b", "aab"):
        await api.shelf(name=name)
    assert await names(api, f"q={quote(part)}") == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("sort=url", "sort"),
        ("sort=--name", "sort"),
        ("enabled=1", "enabled"),
        ("enabled=null", "enabled"),
        ("health=well", "health"),
        ("q=", "q"),
        ("credential_id=0", "credential_id"),
        ("limit=1001", "limit"),
        ("colour=red", "colour"),
    ],
)
async def test_what_cannot_be_asked_is_422(api: Api, query: str, field: str) -> None:
    assert list(await api.refused("GET", f"/v1/connections?{query}")) == [field]


async def sortable(api: Api) -> None:
    """Five connections: names not in the order of ids, times of which two are equal and two are none."""
    for name, minutes in (("b", 2), ("a", None), ("d", 1), ("c", 2), ("B", None)):
        made = await api.shelf(name=name)
        # PostgreSQL keeps microseconds, which no answer shows.
        at = None if minutes is None else START + timedelta(minutes=minutes, microseconds=7)
        await put(api, made["id"], last_success_at=at, next_due_at=at)


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        ("id", [1, 2, 3, 4, 5]),
        ("-id", [5, 4, 3, 2, 1]),
        ("last_success_at", [3, 1, 4, 2, 5]),
        ("-last_success_at", [4, 1, 3, 5, 2]),
        ("next_due_at", [3, 1, 4, 2, 5]),
        ("-next_due_at", [4, 1, 3, 5, 2]),
    ],
)
async def test_connections_are_sorted_across_pages(api: Api, sort: str, ids: Sequence[int]) -> None:
    await sortable(api)
    assert [one["id"] for one in await paged(api, f"limit=2&sort={sort}")] == ids


async def test_names_are_sorted_across_pages_as_the_database_sorts_them(api: Api) -> None:
    await sortable(api)
    whole = await names(api, "sort=name")
    assert sorted(whole) == ["B", "a", "b", "c", "d"]
    assert [name for name in whole if name != "B"] == ["a", "b", "c", "d"]
    assert [one["name"] for one in await paged(api, "limit=2&sort=name")] == whole
    assert [one["name"] for one in await paged(api, "limit=2&sort=-name")] == whole[::-1]


async def test_equal_names_are_all_there_across_pages(api: Api) -> None:
    for _ in range(5):
        await api.shelf(name="same")
    assert [one["id"] for one in await paged(api, "limit=2&sort=name")] == [1, 2, 3, 4, 5]
    assert [one["id"] for one in await paged(api, "limit=2&sort=-name")] == [5, 4, 3, 2, 1]


async def test_a_connection_in_a_list_is_as_it_is_by_itself(api: Api) -> None:
    project = await api.post("/v1/projects", {"name": "p", "key": "p"})
    whole = await api.shelf(name="é\n/", project_id=project["id"], streams=["books"], webhook_secret="hush")
    failed = await api.shelf("shelf.example/3?state=locked")
    for one in (whole, failed):
        await api.synced(one["id"])
    await api.post(
        "/v1/connections", {"name": "draft", "system": "jira", "params": {"jql": 'a = "ü" \u2028'}}
    )
    reader = await api.post("/v1/keys", {"name": "r", "permissions": ["read"]})
    for key in ({}, {"X_API_Key": reader["key"]}):
        for one in (await api.get("/v1/connections", **key))["connections"]:
            assert one == await api.get(f"/v1/connections/{one['id']}", **key)


@pytest.mark.parametrize("other", ["sort=-name", "sort=name&q=b", "sort=name&enabled=true", ""])
async def test_a_cursor_goes_on_with_its_own_query_only(api: Api, other: str) -> None:
    await sortable(api)
    cursor = (await api.get("/v1/connections?sort=name&limit=2"))["next"]
    await api.get(f"/v1/connections?sort=name&limit=3&cursor={cursor}")
    assert list(await api.refused("GET", f"/v1/connections?{other}&cursor={cursor}")) == ["cursor"]


async def test_syncs_are_filtered_by_when_they_were_queued(api: Api) -> None:
    made = await api.shelf()
    for day in (1, 2, 3):
        sync = await api.synced(made["id"])
        async with api.context.database.write() as connection:
            at = START + timedelta(days=day)
            await connection.execute(update(syncs).where(syncs.c.id == sync["id"]).values(queued_at=at))
    second = to_text(START + timedelta(days=2))

    async def found(query: str) -> list[int]:
        both = [
            await api.get(f"{path}?{query}") for path in ("/v1/syncs", f"/v1/connections/{made['id']}/syncs")
        ]
        assert both[0] == both[1]
        return [one["id"] for one in both[0]["syncs"]]

    assert await found(f"since={second}") == [3, 2]
    assert await found(f"until={second}") == [1]
    assert await found(f"since={second}&until={to_text(START + timedelta(days=3))}") == [2]
    assert await found(f"since={quote('2030-01-04T05:04:05+02:00')}") == [3, 2]


@pytest.mark.parametrize(
    "moment", ["2030-02-31T00:00:00Z", "2030-01-01", "2030-01-01T00:00:00", "0", "yesterday"]
)
async def test_what_is_no_time_is_422(api: Api, moment: str) -> None:
    assert list(await api.refused("GET", f"/v1/syncs?since={moment}")) == ["since"]


@pytest.mark.parametrize(
    "query", ["state=succeeded", "lane=bulk", "trigger=api", "scope=incremental", "connection_id=1"]
)
async def test_syncs_are_filtered(api: Api, query: str) -> None:
    made = await api.shelf()
    await api.synced(made["id"])
    assert len((await api.get(f"/v1/syncs?{query}"))["syncs"]) == 1
    name, _, value = query.partition("=")
    other = {"state": "failed", "lane": "records", "trigger": "cli", "scope": "full", "connection_id": "2"}
    assert (await api.get(f"/v1/syncs?{name}={other[name]}"))["syncs"] == []
    assert value


async def test_credentials_are_filtered(api: Api) -> None:
    await api.credential(name="a")
    await api.post("/v1/credentials", {"name": "b", "system": "jira", "kind": "bearer", "secret": "s"})
    assert await names(api, "system=jira", "credentials") == ["b"]
    assert await names(api, "name=a", "credentials") == ["a"]


async def test_records_are_filtered_by_what_they_belong_to(api: Api) -> None:
    made = await api.shelf("shelf.example/5")
    await api.synced(made["id"])
    path = f"/v1/connections/{made['id']}/records"
    loans = (await api.get(f"{path}?stream=loans"))["records"]
    parent = loans[0]["parent"]
    mine = [one for one in loans if one["parent"] == parent]
    for query in (f"parent={parent}", f"parent={parent}&changed_after=0"):
        assert (await api.get(f"{path}?{query}"))["records"] == mine
    assert (await api.get(f"{path}?parent=nobody"))["records"] == []
