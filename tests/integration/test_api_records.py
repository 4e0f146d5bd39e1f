"""The copied records: in pages, as lines, and by the order of their changes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import Database, clock
from tests.api_server import Api, serving_api
from tests.shelf import BOOKS

LINES = "application/x-ndjson"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def filled(api: Api, books: int = 5) -> str:
    """The path of the records of a connection that has been synced."""
    made = await api.shelf(f"shelf.example/{books}")
    await api.synced(made["id"])
    return f"/v1/connections/{made['id']}/records"


async def bury(api: Api, key: str, change: int) -> None:
    """Mark a book as gone, as a worker would."""
    table = api.context.tables.get("shelf", BOOKS.name).table
    async with api.context.database.write() as connection:
        gone = {"gone_reason": "deleted", "gone_at": await clock(connection), "change": change}
        await connection.execute(update(table).where(table.c.key == key).values(gone))


async def pages(api: Api, path: str) -> list[dict[str, Any]]:
    """All records of a query, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await api.get(f"{path}&cursor={cursor}" if cursor else path)
        found += page["records"]
        cursor = page["next"]
    return found


async def lines(api: Api, path: str) -> list[dict[str, Any]]:
    async with api.http.get(api.url + path, headers={"Accept": LINES}) as answer:
        assert (answer.status, answer.content_type) == (200, LINES)
        return [json.loads(line) for line in (await answer.read()).splitlines()]


def keys(records: list[dict[str, Any]]) -> list[str]:
    return [record["key"] for record in records]


async def test_a_record_has_the_remotes_own_json_byte_for_byte(api: Api) -> None:
    path = await filled(api, 1)
    async with api.http.get(f"{api.url}{path}") as answer:
        raw = await answer.read()
    assert b'"data":{ "n": 1,\r\n  "title": "\\u00e9\\n/", "f": 1.10 }' in raw
    [record] = json.loads(raw)["records"]
    assert {name: record[name] for name in record if name not in ("data", "change")} == {
        "stream": "books",
        "key": "b01",
        "parent": None,
        "updated_at": None,
        "version": "1",
        "deleted": None,
    }
    assert isinstance(record["change"], int)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_go_through_all_streams_by_key(api: Api, limit: int) -> None:
    path = await filled(api)
    found = await pages(api, f"{path}?limit={limit}")
    assert keys(found) == ["b01", "b02", "b03", "b04", "b05", "l02", "l04"]
    assert found[-1]["parent"] == "b04"


async def test_the_page_that_ends_with_the_last_record_has_no_next(api: Api) -> None:
    path = await filled(api)
    assert (await api.get(f"{path}?limit=7"))["next"] is None
    assert (await api.get(f"{path}?limit=2&stream=loans"))["next"] is None


async def test_one_stream_can_be_read_alone(api: Api) -> None:
    path = await filled(api)
    assert keys(await pages(api, f"{path}?stream=loans&limit=1")) == ["l02", "l04"]
    assert "books, loans" in (await api.refused("GET", f"{path}?stream=films"))["stream"]


async def test_tombstones_are_shown_only_when_asked_for_with_their_last_body(api: Api) -> None:
    path = await filled(api)
    await bury(api, "b02", 8)
    assert "b02" not in keys(await pages(api, f"{path}?limit=2"))
    found = await pages(api, f"{path}?limit=2&deleted=include")
    [gone] = [record for record in found if record["key"] == "b02"]
    assert (gone["deleted"]["reason"], gone["data"]["n"]) == ("deleted", 2)
    assert gone["deleted"]["at"].endswith("Z")
    assert list(await api.refused("GET", f"{path}?deleted=yes")) == ["deleted"]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_changes_are_read_in_their_order_across_streams_with_tombstones(api: Api, limit: int) -> None:
    path = await filled(api)
    await bury(api, "b01", 8)
    found = await pages(api, f"{path}?changed_after=0&limit={limit}")
    assert [record["change"] for record in found] == [2, 3, 4, 5, 6, 7, 8]
    assert {record["stream"] for record in found} == {"books", "loans"}
    assert found[-1]["deleted"]["reason"] == "deleted"
    later = await pages(api, f"{path}?changed_after=5&limit={limit}")
    assert [record["change"] for record in later] == [6, 7, 8]
    only = await pages(api, f"{path}?changed_after=0&stream=loans&limit={limit}")
    assert keys(only) == ["l02", "l04"]


async def test_lines_are_all_records_one_each(api: Api) -> None:
    path = await filled(api, 450)  # more than are read in one transaction
    found = await lines(api, path)
    assert len(found) == 675
    assert keys(found)[:450] == sorted(keys(found)[:450])
    assert found == await pages(api, f"{path}?limit=1000")
    assert await lines(api, f"{path}?changed_after=600") == sorted(found, key=lambda one: one["change"])[600:]


async def test_lines_can_be_limited_and_gone_on_with(api: Api) -> None:
    path = await filled(api, 450)
    assert keys(await lines(api, f"{path}?limit=3")) == ["b01", "b02", "b03"]
    assert len(await lines(api, f"{path}?limit=300")) == 300
    cursor = (await api.get(f"{path}?limit=3"))["next"]
    assert keys(await lines(api, f"{path}?cursor={cursor}&limit=1")) == ["b04"]
    assert await lines(api, f"{path}?changed_after=100000") == []


class Tiring(Database):
    """A database that answers so many reads, and no more."""

    reads = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self.reads -= 1
        if self.reads < 0:
            raise OperationalError("SELECT", {}, ConnectionError("gone"))
        async with super().read() as connection:
            yield connection


async def test_lines_that_cannot_go_on_are_cut_off_and_never_look_complete(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    tiring = Tiring(url, database.schema)
    async with serving_api(database, database=tiring) as api:
        tiring.reads = 100
        path = await filled(api, 450)
        tiring.reads = 3  # the connection, and two batches of lines
        with pytest.raises(aiohttp.ClientPayloadError):
            await lines(api, path)
    await tiring.close()


async def test_a_cursor_by_key_is_none_by_change(api: Api) -> None:
    path = await filled(api)
    cursor = (await api.get(f"{path}?limit=1"))["next"]
    assert list(await api.refused("GET", f"{path}?changed_after=0&cursor={cursor}")) == ["cursor"]
    assert list(await api.refused("GET", f"{path}?changed_after=-1")) == ["changed_after"]


async def test_a_connection_shows_its_own_records_only(api: Api) -> None:
    await filled(api, 5)
    assert keys(await pages(api, f"{await filled(api, 1)}?limit=2")) == ["b01"]


async def test_a_draft_has_no_records(api: Api) -> None:
    draft = await api.shelf(None, system="papyrus")
    path = f"/v1/connections/{draft['id']}/records"
    assert await api.get(path) == {"records": [], "next": None}
    assert await api.get(f"{path}?changed_after=0") == {"records": [], "next": None}
    assert await lines(api, path) == []
