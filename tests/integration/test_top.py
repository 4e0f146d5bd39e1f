"""`tidegate` alone and `tidegate top`: how things stand, and what to type next."""

import asyncio
import fcntl
import io
import json
import os
import re
import select
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from store.connections import Connection
from store.glance import Glance, Pause
from store.health import Problem
from tests.tidegates import Ended, environ, run, running
from tidegate.commands.picture import Frame, Rates, picture
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(240)

TOKEN = "token-of-ana-55c0"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
#: What a terminal is told when a screen of its own is left: the lines of before, and the cursor.
LEFT = "\x1b[?1049l"


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


class Watched:
    """`tidegate top` on a terminal of its own. `shown` is what it wrote so far."""

    def __init__(self, child: asyncio.subprocess.Process, ours: int) -> None:
        self.child = child
        self.ours = ours
        self.shown = ""

    async def shows(self, words: str) -> None:
        """Wait until it has written this."""
        async with asyncio.timeout(60):
            while words not in self.shown:
                self.shown += await asyncio.to_thread(
                    lambda: os.read(self.ours, 65536).decode(errors="replace")
                )

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.child.send_signal(signal.SIGWINCH)

    async def left(self) -> int:
        """Its exit code, and all that it wrote to the end."""
        async with asyncio.timeout(60):
            code = await self.child.wait()
        while select.select([self.ours], [], [], 0)[0]:
            self.shown += os.read(self.ours, 65536).decode(errors="replace")
        return code


@asynccontextmanager
async def watching(desk: Desk, every: str = "0.2", **more: str) -> AsyncIterator[Watched]:
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    plain = environ(desk.data, {"TERM": "xterm-256color", **more})
    given = {name: value for name, value in plain.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    before = termios.tcgetattr(theirs)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate", "top", "--every", every),
        stdin=theirs, stdout=theirs, stderr=theirs, env={**given, **more},
    )  # fmt: skip
    try:
        yield Watched(child, ours)
        # The terminal takes lines and shows what is typed, as it did.
        assert termios.tcgetattr(theirs)[:4] == before[:4]
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        os.close(theirs)
        os.close(ours)


async def test_top_follows_on_a_terminal_until_ctrl_c(desk: Desk) -> None:
    await desk.connection()
    async with watching(desk) as seen:
        await seen.shows("pending")
        await desk.run("connections", "disable", "team")
        await seen.shows("disabled")
        seen.child.send_signal(signal.SIGINT)
        assert await seen.left() == 0
    assert LEFT in seen.shown
    assert "Traceback" not in seen.shown


async def test_top_fits_a_screen_as_it_grows_and_q_leaves_the_terminal_clean(desk: Desk) -> None:
    await desk.connection()
    # It looks again after an hour only: what it shows sooner is shown for the new size, and for the key.
    async with watching(desk, every="3600") as seen:
        await seen.shows("q leaves")
        assert "SYSTEM" not in seen.shown
        seen.resize(140, 40)
        await seen.shows("SYSTEM")
        seen.type("q")
        assert await seen.left() == 0
    assert LEFT in seen.shown


async def test_top_has_no_colour_where_none_is_wanted(desk: Desk) -> None:
    async with watching(desk, NO_COLOR="1") as seen:
        await seen.shows("q leaves")
        seen.type("q")
        assert await seen.left() == 0
    assert re.search(r"\x1b\[(?:\d+;)*3\d", seen.shown) is None


async def test_top_goes_on_through_a_restart(desk: Desk) -> None:
    await desk.connection()
    async with watching(desk) as seen:
        await seen.shows("api none!")
        for _ in range(2):
            seen.shown = ""
            async with running(desk.data, "api") as api:
                await api.ready()
                await seen.shows("api 1")
            seen.shown = ""
            await seen.shows("api none!")
        seen.type("q")
        assert await seen.left() == 0


def test_a_picture_of_very_many_connections_has_no_more_lines_than_the_screen() -> None:
    many = [failing(number) for number in range(200)]
    seen = Glance(
        at=NOW, processes=[], healths={"failed": 200}, connections=many, live={"queued": 0, "running": 0},
        work=[], due=None, unsent=None, hosts=[Pause(f"h{n}.example", NOW, "429") for n in range(9)],
    )  # fmt: skip
    for width, height in ((80, 24), (120, 40), (60, 15)):
        console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
        console.print(picture(seen, Rates(), Frame(width, height - 1, "q leaves")))
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert len(lines) <= height - 1, (width, height)
        assert max(map(len, lines)) <= width
        assert any("connection-0" in line for line in lines)
        assert "q leaves" in lines[-1]


def failing(number: int) -> Connection:
    nothing: dict[str, Any] = dict.fromkeys(Connection.__struct_fields__)
    told = {
        "id": number,
        "name": f"connection-{number}",
        "system": "jira",
        "health": "failed",
        "cause": "auth",
        "failure": Problem("auth", "Jira does not know this account.", "Give the credential its new token."),
    }
    return Connection(**{**nothing, **told})
