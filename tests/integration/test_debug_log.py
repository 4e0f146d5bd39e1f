"""What syncs of a debugged connection do can be read line by line, and nothing of it is secret."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from aiohttp import web
from msgspec.structs import replace
from sqlalchemy import func, select, update

from adapters.base import Forbidden
from adapters.budget import Asked
from adapters.http import utc_now
from config.logs import Redactor
from scheduler.dispatch import Request
from scheduler.scheduler import Scheduler
from scheduler.upkeep import forget
from store import connections, debug_log
from store.database import Database, clock
from store.debug_log import MOST, Line, Note
from store.schema import debug_log as table
from tests.adapter_double import Script, thing
from tests.engine import claimed, connect, lose_lease
from tests.house import House
from tests.integration.test_purge import NoBell
from tests.servers import reply, serving
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud
from worker.journal import Journal
from worker.sync import run_slice

pytestmark = pytest.mark.sqlite_does

#: With characters that are written differently in URLs, in JSON and in base64.
SECRET = 'canary-log-7f>?/+%"\\1d'


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", SECRET)
        remote.seed(250)
        yield remote


async def jira(house: House, site: JiraCloud, **values: object) -> int:
    credential = await house.credential("jira", "basic", "ana@example.com", SECRET)
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    return (await house.connection("jira", url, credential, **{"debug": True, **values})).id


async def lines(house: House, connection_id: int, event: str | None = None) -> list[Line]:
    """The log, oldest first."""
    async with house.database.read() as connection:
        found = await debug_log.after(connection, connection_id, 0, 2 * MOST)
    return [line for line in found if event in (None, line.event)]


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_sync_tells_of_its_slices_its_requests_and_its_pages(house: House, site: JiraCloud) -> None:
    number = await jira(house, site)
    sync = await house.sync(number)
    log = await lines(house, number)
    assert {line.sync_id for line in log} == {sync.id}
    assert log[0].event == "slice_begun"
    assert log[0].detail == {
        "lane": "bulk", "scope": "incremental", "trigger": "api", "fence": 1, "keys": 0,
    }  # fmt: skip
    assert (log[-1].event, log[-1].detail) == ("slice_ended", {"outcome": "succeeded"})
    requests = [line.detail for line in log if line.event == "request"]
    asked = [(r["method"], urlsplit(r["url"]).path) for r in requests]
    assert asked == [(seen.method, seen.path) for seen in site.ledger]
    assert {r["status"] for r in requests} == {200}
    assert sum(r["bytes"] for r in requests) == sync.bytes
    assert all(r["ms"] >= 0 and r["url"].startswith(site.url) for r in requests)
    pages = [line.detail for line in log if line.event == "page"]
    assert sum(page["records"] for page in pages) == sum(c.read for c in sync.counters.values())
    assert sum(page["new"] for page in pages) == sum(c.new for c in sync.counters.values())
    assert pages[-1]["end"]
    assert all(page["feed"] == "issues" for page in pages)


async def test_lines_are_written_while_the_slice_still_runs(engine: House, script: Script) -> None:
    script.add("all", [thing("a")])
    script.silence = asyncio.Event()
    made = await connect(engine, debug=True)
    opened = await engine.open(made.id)
    running = asyncio.create_task(run_slice(engine.deps, opened.id))
    for _ in range(3000):
        if await count(engine.database):
            break
        await asyncio.sleep(0.01)
    assert await count(engine.database) == 1
    assert not running.done()
    script.silence.set()
    await running


async def test_a_sync_of_another_connection_costs_no_line(house: House, site: JiraCloud) -> None:
    number = await jira(house, site, debug=False)
    assert (await house.sync(number)).state == "succeeded"
    assert await count(house.database) == 0


async def test_each_slice_begins_and_ends(engine: House, script: Script) -> None:
    script.add("all", *([thing(str(n))] for n in range(3)))
    made = await connect(engine, debug=True)
    engine.deps = replace(engine.deps, slice_seconds=0.0)
    await engine.sync(made.id)
    log = [line for line in await lines(engine, made.id) if line.event.startswith("slice")]
    fences = [line.detail["fence"] for line in log if line.event == "slice_begun"]
    assert fences == list(range(1, len(fences) + 1))
    assert len(fences) > 2
    outcomes = [line.detail["outcome"] for line in log if line.event == "slice_ended"]
    assert set(outcomes[:-1]) == {"goes on"}
    assert outcomes[-1] == "succeeded"


async def test_what_goes_wrong_is_told_with_its_part(engine: House, script: Script) -> None:
    script.add("all", [thing("a")])
    script.add("other", [thing("b")])
    script.broken["other"] = Forbidden("The remote said no.", "Ask for more.")
    made = await connect(engine, debug=True)
    assert (await engine.sync(made.id)).state == "partial"
    told = {"kind": "forbidden", "message": "The remote said no.", "hint": "Ask for more."}
    errors = [line.detail for line in await lines(engine, made.id, "error")]
    assert errors[0] == {"feed": "things", "partition": "other", **told}
    assert errors[-1]["kind"] == "forbidden"


async def test_a_refused_plan_is_told_of(engine: House, script: Script) -> None:
    script.add("all", [thing("a")])
    script.refused_plans["extras"] = Forbidden("Not these.")
    made = await connect(engine, debug=True)
    assert (await engine.sync(made.id)).state == "partial"
    assert (await lines(engine, made.id, "error"))[0].detail["message"] == "Not these."


async def test_a_secret_is_masked_however_much_of_it_is_encoded(engine: House) -> None:
    made = await connect(engine, debug=True)
    sync = await claimed(engine, made.id)
    async with Journal(engine.database, Redactor(), sync, utc_now) as journal:

        async def answer() -> Any:
            return reply(200)

        for form in (quote(SECRET, safe="/?"), quote(quote(quote(SECRET))), quote(SECRET, safe=">").lower()):
            url = f"https://jira.example/?back={form}"
            await journal.watch(Asked("GET", url, f"Bearer {SECRET}", 0.0), answer())
        await journal.watch(Asked("GET", "https://jira.example/?q=a%20b", None, 0.0), answer())
    urls = [line.detail["url"] for line in await lines(engine, made.id, "request")]
    assert urls == ["https://jira.example/?back=********"] * 3 + ["https://jira.example/?q=a%20b"]


async def test_a_remote_that_asks_for_patience_is_told_of(house: House, site: JiraCloud) -> None:
    number = await jira(house, site)
    site.faults.append(Fault("/search", 429, headers={"Retry-After": "600"}, times=9))
    await house.work((await house.open(number)).id)
    log = await lines(house, number)
    assert [line.detail["status"] for line in log if line.event == "request"][-1] == 429
    assert [line.detail["kind"] for line in log if line.event == "error"] == ["rate_limited"]
    assert log[-1].detail["outcome"] == "waits"
    assert log[-1].detail["until"]


async def test_a_request_without_an_answer_is_told_with_the_reason(house: House, site: JiraCloud) -> None:
    number = await jira(house, site)
    site.faults.append(Fault("/search", cut=10))
    await house.until_ended((await house.open(number)).id)
    [broken] = [line.detail for line in await lines(house, number, "request") if "error" in line.detail]
    assert (broken["error"], "status" in broken) == ("unreachable", False)
    assert broken["message"]


async def test_a_census_tells_of_its_pages(house: House, site: JiraCloud) -> None:
    number = await jira(house, site)
    await house.sync(number)
    await house.sync(number, Request("api", "census"))
    counted = [line.detail["keys"] for line in await lines(house, number, "census")]
    assert sum(counted) == 250


async def test_a_slice_that_lost_its_lease_says_so(engine: House, script: Script) -> None:
    script.add("all", [thing("a")])
    script.silence = asyncio.Event()
    made = await connect(engine, debug=True)
    opened = await engine.open(made.id)
    asked = asyncio.Event()
    script.before_page = lambda _partition, _number: asked.set()
    running = asyncio.create_task(run_slice(engine.deps, opened.id))
    await asyncio.wait_for(asked.wait(), 30)
    await lose_lease(engine, opened.id)
    script.silence.set()
    await running
    assert [line.event for line in await lines(engine, made.id)] == ["slice_begun", "slice_lost"]


async def test_a_worker_that_stops_says_that_the_sync_is_handed_over(engine: House, script: Script) -> None:
    script.add("all", [thing("a")])
    script.silence = asyncio.Event()
    made = await connect(engine, debug=True)
    opened = await engine.open(made.id)
    asked = asyncio.Event()
    script.before_page = lambda _partition, _number: asked.set()
    running = asyncio.create_task(run_slice(engine.deps, opened.id))
    await asyncio.wait_for(asked.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    last = (await lines(engine, made.id))[-1]
    assert (last.event, last.detail["outcome"]) == ("slice_ended", "handed over: the worker stops")


def forms(secret: str) -> Iterator[str]:
    """The ways in which a secret may be written, as part of something longer."""
    yield from (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1])
    for before in range(3):
        whole = b64encode(bytes(before) + secret.encode()).decode()
        yield whole[4 if before else 0 : len(whole) // 4 * 4 - 4]


async def test_a_remote_that_says_the_secret_back_puts_nothing_of_it_into_the_log(house: House) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path_qs)
        header = request.headers.get("Authorization", "")
        if "back" not in request.query:
            # The answer leads to an address with the secret in it.
            location = f"{request.path}?back={quote(SECRET, safe='')}&token={quote(SECRET)}&h={quote(header)}"
            return web.Response(status=302, headers={"Location": location})
        said = {"errorMessages": [f"{SECRET} is refused, and so is {header}"], "errors": {SECRET: SECRET}}
        return web.json_response(said, status=400)

    async with serving(handler) as remote:
        credential = await house.credential("jira", "basic", "ana@example.com", SECRET)
        made = await house.connection("jira", f"{remote.url}/issues/?filter=1", credential, debug=True)
        sync = await house.sync(made.id)
    assert sync.state == "failed"
    assert any("back=" in path for path in asked)
    requests = await lines(house, made.id, "request")
    assert [line.detail["status"] for line in requests].count(400) == 1
    async with house.database.read() as connection:
        stored = (await connection.exec_driver_sql("SELECT * FROM debug_log")).all()
    text = "\n".join(map(str, stored))
    assert "********" in text
    for plain in (text, unquote(text), unquote(unquote(text))):
        assert [form for form in forms(SECRET) if form in plain] == []


async def test_a_secret_is_masked_before_a_long_text_is_cut(engine: House) -> None:
    made = await connect(engine, debug=True)
    sync = await claimed(engine, made.id)
    redactor = Redactor()
    async with Journal(engine.database, redactor, sync, utc_now) as journal:

        async def answer() -> Any:
            return reply(200)

        url = f"https://jira.example/{'x' * 1970}{SECRET}"
        assert (await journal.watch(Asked("GET", url, f"Bearer {SECRET}", 0.0), answer())).status == 200
    [line] = await lines(engine, made.id, "request")
    assert len(line.detail["url"]) <= 2000
    assert "canary" not in line.detail["url"]


async def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, engine: House) -> None:
    made = await connect(engine, debug=True)
    sync = await claimed(engine, made.id)
    # It has no tables.
    missing = Database(f"sqlite+aiosqlite:///{tmp_path}/empty.db")
    async with Journal(missing, Redactor(), sync, utc_now):
        pass
    await missing.close()
    assert await lines(engine, made.id) == []


async def test_the_newest_lines_are_kept_for_a_week(house: House, site: JiraCloud) -> None:
    number = await jira(house, site)
    async with house.database.write() as connection:
        at = await clock(connection)
        notes = [Note(at, "request", {"n": n}) for n in range(MOST + 7)]
        for start in range(0, len(notes), 1000):
            await debug_log.add(connection, number, 1, notes[start : start + 1000])
    await forget(house.database)
    kept = await lines(house, number)
    assert (len(kept), kept[0].detail["n"], kept[-1].detail["n"]) == (MOST, 7, MOST + 6)
    old = update(table).where(table.c.id < kept[-3].id).values(at=at - timedelta(days=8))
    async with house.database.write() as connection:
        await connection.execute(old)
    await forget(house.database)
    assert [line.id for line in await lines(house, number)] == [line.id for line in kept[-3:]]


async def test_a_sync_leaves_no_more_than_is_kept(engine: House, script: Script) -> None:
    script.add("all", [thing("a")])
    made = await connect(engine, debug=True)
    other = await connect(engine, 1, debug=True)
    async with engine.database.write() as connection:
        at = await clock(connection)
        for start in range(0, MOST, 1000):
            notes = [Note(at, "request", {"n": start + n}) for n in range(1000)]
            await debug_log.add(connection, made.id, 1, notes)
        await debug_log.add(connection, other.id, 1, [Note(at, "request", {})])
    await engine.sync(made.id)
    kept = await lines(engine, made.id)
    assert (len(kept), kept[-1].event) == (MOST, "slice_ended")
    assert len(await lines(engine, other.id)) == 1


async def test_a_log_goes_with_its_connection_only_where_that_was_asked(
    house: House, site: JiraCloud
) -> None:
    made = [await jira(house, site, callback_token=str(n)) for n in range(2)]
    for number, purge in zip(made, (False, True), strict=True):
        await house.sync(number)
        async with house.database.write() as connection:
            await connections.locked(connection, number)
            now = await clock(connection)
            values = {"deleted_at": now, "enabled": False, "purge": purge}
            await connections.change(connection, number, now, values)
    await Scheduler(house.database, house.deps.tables, NoBell()).purge()
    assert [bool(await lines(house, number)) for number in made] == [True, False]
