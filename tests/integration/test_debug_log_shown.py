"""The debug log of a connection is read over the API and on the command line."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store.database import Database
from tests.api_server import Api, serving_api
from tests.house import ADAPTERS
from tests.tidegates import PATIENCE, run, spawn
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(240)

TOKEN = "token-of-log-7f31"


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("ana@example.com", TOKEN)
        remote.seed(7)
        yield remote


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, ADAPTERS) as served:
        yield served


async def debugged(api: Api, site: JiraCloud, **values: object) -> int:
    credential = await api.credential(TOKEN, system="jira", username="ana@example.com")
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    body = {"name": "Issues", "system": "jira", "url": url, "credential_id": credential["id"]}
    made = await api.post("/v1/connections", {**body, "frequency": "manually", "debug": True, **values})
    return int(made["id"])


async def test_the_newest_lines_come_first_page_by_page(api: Api, site: JiraCloud) -> None:
    number = await debugged(api, site)
    first = await api.synced(number)
    second = await api.synced(number)
    whole = await api.get(f"/v1/connections/{number}/log")
    assert whole["next"] is None
    ids = [line["id"] for line in whole["lines"]]
    assert ids == sorted(ids, reverse=True)
    newest = whole["lines"][0]
    assert (newest["event"], newest["sync_id"]) == ("slice_ended", second["id"])
    assert newest["detail"] == {"outcome": "succeeded"}
    path, seen = f"/v1/connections/{number}/log?limit=3", []
    page = await api.get(path)
    while page["next"]:
        seen += page["lines"]
        page = await api.get(f"{path}&cursor={page['next']}")
    assert [*seen, *page["lines"]] == whole["lines"]
    of_first = await api.get(f"/v1/connections/{number}/log?sync_id={first['id']}")
    assert of_first["lines"] == [line for line in whole["lines"] if line["sync_id"] == first["id"]]
    assert (await api.get(f"/v1/connections/{number}/log?sync_id=99"))["lines"] == []


async def test_debugging_is_switched_on_and_off_by_a_change(api: Api, site: JiraCloud) -> None:
    number = await debugged(api, site, debug=False)
    await api.synced(number)
    assert (await api.get(f"/v1/connections/{number}/log"))["lines"] == []
    await api.patch(f"/v1/connections/{number}", {"debug": True})
    await api.synced(number)
    log = await api.get(f"/v1/connections/{number}/log")
    assert log["lines"]
    await api.patch(f"/v1/connections/{number}", {"debug": False})
    await api.synced(number)
    assert await api.get(f"/v1/connections/{number}/log") == log


async def test_a_log_is_for_keys_that_may_write_in_its_project(api: Api, site: JiraCloud) -> None:
    mine, other = [(await api.post("/v1/projects", {"name": k, "key": k}))["id"] for k in ("mine", "other")]
    number = await debugged(api, site, project_id=mine)
    await api.synced(number)
    for permission, projects, expected in (
        ("read", None, 403),
        ("write", None, 200),
        ("write", [mine], 200),
        ("write", [other], 404),
    ):
        body = {"name": "k", "permissions": [permission], "projects": projects}
        key = (await api.post("/v1/keys", body))["key"]
        status, _ = await api.ask("GET", f"/v1/connections/{number}/log", X_API_Key=key)
        assert status == expected, (permission, projects)
    assert (await api.ask("GET", "/v1/connections/99/log"))[0] == 404


class Desk:
    """A data folder with a connection called `team`."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"

    async def run(self, *args: str) -> str:
        ended = await run(self.data, *args, TOKEN=TOKEN)
        assert ended.code == 0, ended.out + ended.err
        assert TOKEN not in ended.out + ended.err
        return ended.out

    async def lines(self, *args: str) -> list[Any]:
        out = await self.run("connections", "log", "team", "--json", *args)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
async def desk(tmp_path: Path, site: JiraCloud) -> Desk:
    made = Desk(tmp_path)
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    await made.run("credentials", "add", "me", "--system", "jira", "--username", "ana@example.com",
                   "--secret-env", "TOKEN")  # fmt: skip
    await made.run("connections", "add", "team", "--system", "jira", "--url", url,
                   "--credential", "1", "--frequency", "manually")  # fmt: skip
    return made


async def test_the_command_line_switches_it_on_and_shows_it(desk: Desk) -> None:
    said = await run(desk.data, "connections", "log", "team")
    assert (said.code, said.out) == (0, "")
    assert "tidegate connections debug 1" in said.err
    assert "debugged from now on" in await desk.run("connections", "debug", "team")
    await desk.run("sync", "team")
    lines = await desk.lines()
    assert lines[0]["event"] == "slice_begun"
    assert lines[-1]["detail"] == {"outcome": "succeeded"}
    assert await desk.lines("--limit", "2") == lines[-2:]
    assert await desk.lines("--sync", "99") == []
    plain = await desk.run("connections", "log", "team")
    assert len(plain.splitlines()) == len(lines)
    assert "request  method=GET" in plain
    assert "debugged no more" in await desk.run("connections", "debug", "team", "--off")
    await desk.run("sync", "team")
    assert await desk.lines() == lines


async def test_what_happens_is_followed(desk: Desk) -> None:
    await desk.run("connections", "debug", "team")
    follower = await spawn(desk.data, "connections", "log", "team", "--follow", "--json")
    assert follower.stdout is not None
    try:
        await desk.run("sync", "team")
        async with asyncio.timeout(PATIENCE):
            seen = [json.loads(await follower.stdout.readline())]
            while seen[-1]["event"] != "slice_ended":
                seen.append(json.loads(await follower.stdout.readline()))
    finally:
        follower.kill()
        await follower.wait()
    assert [line["id"] for line in seen] == [line["id"] for line in await desk.lines()]
