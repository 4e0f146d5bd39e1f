"""`tidegate` alone and `tidegate top`: how things stand, and what to type next."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.tidegates import Ended, environ, run, running
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(240)

TOKEN = "token-of-ana-55c0"


class Desk:
    """A data folder, and a simulated Jira that is reached from it."""

    def __init__(self, folder: Path, site: JiraCloud) -> None:
        self.data = folder / "data"
        self.url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"

    async def run(self, *args: str, code: int = 0, **more: str) -> Ended:
        ended = await run(self.data, *args, TOKEN=TOKEN, **more)
        assert ended.code == code, ended.out + ended.err
        assert TOKEN not in ended.out + ended.err
        return ended

    async def connection(self, secret: str = TOKEN) -> None:
        """A connection called `team`, synced when asked."""
        await self.run("credentials", "add", "me", "--system", "jira", "--username", "ana@example.com",
                       "--secret-env", "GIVEN", GIVEN=secret)  # fmt: skip
        await self.run("connections", "add", "team", "--system", "jira", "--url", self.url,
                       "--credential", "1", "--frequency", "manually")  # fmt: skip


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with JiraCloud() as site:
        site.add_account("ana@example.com", TOKEN)
        site.add_project("TG")
        site.seed(7)
        yield Desk(tmp_path, site)


async def test_before_anything_is_set_up_it_says_how_to_begin_and_makes_nothing(desk: Desk) -> None:
    ended = await desk.run()
    assert "Nothing is set up here yet." in ended.out
    assert "tidegate demo" in ended.out
    assert not (desk.data / "tidegate.db").exists()


async def test_a_connection_that_fails_is_told_with_its_hint_and_the_command_to_look_closer(
    desk: Desk,
) -> None:
    await desk.connection("not-the-token")
    await desk.run("sync", "team", code=1)
    ended = await desk.run()
    assert "team is failed" in ended.out
    assert "tidegate test 1" in ended.out
    assert "not running: api, scheduler, worker" in ended.out
    assert "tidegate up" in ended.out


async def test_with_everything_running_it_names_the_page_and_offers_no_start(desk: Desk) -> None:
    await desk.connection()
    async with running(desk.data, "up") as up:
        await up.ready()
        ended = await desk.run()
    assert "running" in ended.out
    assert "not running" not in ended.out
    assert "http://127.0.0.1:" in ended.out
    assert "tidegate up" not in ended.out


async def test_top_tells_what_is_urgent_as_json(desk: Desk) -> None:
    await desk.connection("not-the-token")
    await desk.run("sync", "team", code=1)
    told = json.loads((await desk.run("top", "--json")).out)
    assert told["connections"]["failed"] == 1
    assert [(one["name"], one["cause"]) for one in told["urgent"]] == [("team", "auth")]
    assert told["queue"]["queued"] == 0
    assert told["processes"] == {"api": 0, "scheduler": 0, "relay": 0, "worker": 0}


async def test_top_shows_what_waits_for_a_worker_once_when_piped(desk: Desk) -> None:
    await desk.connection()
    async with running(desk.data, "api") as api:
        await api.ready()
        await api.call("POST", "/v1/connections/1/sync", {})
        ended = await desk.run("top")
    assert "queued 1" in ended.out
    assert "incremental, api" in ended.out


async def test_top_follows_on_a_terminal_until_ctrl_c(desk: Desk) -> None:
    await desk.connection()
    ours, theirs = os.openpty()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate", "top", "--every", "0.2"),
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=environ(desk.data, {"TERM": "xterm"}),
    )  # fmt: skip
    os.close(theirs)
    try:
        shown = ""
        while "pending" not in shown:
            shown += await asyncio.to_thread(lambda: os.read(ours, 4096).decode(errors="replace"))
        await desk.run("connections", "disable", "team")
        while "disabled" not in shown:
            shown += await asyncio.to_thread(lambda: os.read(ours, 4096).decode(errors="replace"))
        child.send_signal(signal.SIGINT)
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
        os.close(ours)
