"""Every command of the parser that shows something says it as JSON, on a real server; its errors, too."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import pytest
from aiohttp import web

from tests.tidegates import Ended, environ, run, running
from tidegate.cli import main
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(400)

TOKEN = "token-of-ana-61b2"
#: Those that run until they are stopped, or print text for a shell or a person only.
NO_JSON = {"demo", "up", "api", "scheduler", "worker", "help", "completion"}


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    for name in command.list_commands(click.Context(command)):
        found = command.get_command(click.Context(command), name)
        assert found is not None
        yield from leaves(found, (*path, name))


#: One call of each, in an order in which each finds what it needs, and members that its answer has.
CALLS = {
    "credentials add": (("me", "--system", "jira", "--username", "ana@example.com", "--secret-env", "TOKEN"),
                        {"id", "name", "has_secret"}),
    "credentials list": ((), {"id", "name", "system"}),
    "test": (("--system", "jira", "--url", "{url}", "--credential", "1"), {"ok", "streams", "error"}),
    "connections add": (("team", "--system", "jira", "--url", "{url}", "--credential", "1",
                         "--frequency", "hourly"), {"id", "name", "health"}),
    "connections list": ((), {"id", "name", "health", "cause"}),
    "connections show": (("team",), {"id", "name", "health", "cause"}),
    "connections debug": (("team",), {"id", "debug"}),
    "subscriptions add": (("chat", "{hook}"), {"id", "name", "secret"}),
    "sync": (("team",), {"id", "state", "counters", "receipt"}),
    "connections log": (("team",), {"sync_id", "event"}),
    "connections disable": (("team",), {"id", "enabled"}),
    "connections enable": (("team",), {"id", "enabled"}),
    "syncs list": ((), {"id", "state", "counters"}),
    "syncs show": (("1",), {"id", "state", "counters"}),
    "syncs cancel": (("2",), {"id", "state"}),
    "events": (("--since", "1h"), {"specversion", "id", "type", "data"}),
    "records export": (("team", "--output", "{folder}/all.ndjson"), {"written", "changed_after"}),
    "webhooks": (("team",), {"address", "registered"}),
    "top": ((), {"at", "processes", "connections", "queue", "syncs", "hosts"}),
    "health": (("--role", "api"), {"ready", "missing", "processes"}),
    "doctor": ((), {"ok", "findings"}),
    "migrate": ((), {"schema"}),
    "keys add": (("one",), {"id", "name", "key"}),
    "keys list": ((), {"id", "name", "permissions"}),
    "keys revoke": (("1",), {"id", "name", "revoked_at"}),
    "subscriptions list": ((), {"id", "name", "status"}),
    "subscriptions test": (("1",), {"ok", "response", "error"}),
    "subscriptions deliveries": (("1",), {"id", "state", "attempts"}),
    "subscriptions redeliver": (("1", "1"), {"ok", "response", "error"}),
    "subscriptions rotate": (("1",), {"id", "secret"}),
    "subscriptions disable": (("1",), {"id", "status"}),
    "subscriptions enable": (("1",), {"id", "status"}),
    "subscriptions remove": (("1",), {"id", "name", "removed"}),
    "secrets status": ((), {"key", "keys", "sealed"}),
    "backup": (("{folder}/all.zip",), {"path", "rows", "tables", "bytes"}),
    "restore": (("{folder}/all.zip",), {"rows", "tables", "made_at"}),
    "secrets rotate": ((), {"key", "count", "unreadable"}),
    "secrets forget": ((), {"removed"}),
    "apply": (("{folder}/declared.toml", "--plan"), {"steps", "unchanged", "undeclared", "applied"}),
    "connections remove": (("team", "--yes"), {"id", "name", "removed"}),
    "credentials remove": (("1",), {"id", "removed"}),
}  # fmt: skip

#: Exit codes that are not 0: of a plan that is not empty, and of a doctor who finds no worker.
CODES = {"apply": 3, "doctor": 1}
#: The scheduler or the relay must have done something before.
PATIENT = {"syncs cancel", "events", "subscriptions deliveries"}

#: Answered as JSON Lines: an object a line, and none where there is nothing.
LINES = {
    "credentials list", "connections list", "connections log", "syncs list", "syncs cancel", "events",
    "keys list", "keys revoke", "subscriptions list", "subscriptions deliveries",
}  # fmt: skip


#: Runs the command lines that it is given in one process, for starting Python forty times takes long.
CALLER = """
import io, json, os, sys, time
from contextlib import redirect_stderr, redirect_stdout
from tidegate.cli import main
told = []
for words, environ, patient in json.load(sys.stdin):
    ended = time.monotonic() + 60
    while True:
        out, err, code = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO()), 0
        before = dict(os.environ)
        os.environ.update(environ)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main(words)
            except SystemExit as e:
                code = e.code
        os.environ.clear()
        os.environ.update(before)
        said = [(each.flush(), each.buffer.getvalue().decode())[1] for each in (out, err)]
        if (said[0] and not code) or not patient or time.monotonic() > ended:
            break
        time.sleep(0.1)
    told.append([code, *said])
json.dump(told, sys.__stdout__)
"""


class Office:
    """A data folder, a simulated Jira, and someone who takes webhooks."""

    def __init__(self, folder: Path, site: JiraCloud, hook: str) -> None:
        self.folder = folder
        self.given = {
            "url": f"{site.url}/issues/?filter={site.add_filter('project = TG')}",
            "hook": hook,
            "folder": str(folder),
        }

    async def called(self) -> dict[str, Ended]:
        """All of `CALLS`, one after the other."""
        calls = [self._call(path) for path in CALLS]
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALLER),
            env=environ(self.folder / "data", {"TOKEN": TOKEN}),
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(300):
            out, _ = await child.communicate(json.dumps(calls).encode())
        return {path: Ended(*told) for path, told in zip(CALLS, json.loads(out), strict=True)}

    def _call(self, path: str) -> tuple[list[str], dict[str, str], bool]:
        """Its words, variables that it alone has, and whether it is asked until it has something to say."""
        args = [one.format(**self.given) for one in CALLS[path][0]]
        more = {}
        if path == "restore":  # which needs an empty database, and the key of the other one
            (self.folder / "other").mkdir()
            shutil.copy(self.folder / "data" / "secret.key", self.folder / "other")
            more = {"TIDEGATE_DATA_DIR": str(self.folder / "other")}
        return [*path.split(), *args, "--json"], more, path in PATIENT


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async def taken(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", taken)
    async with serving(app) as hook, JiraCloud() as jira:
        jira.add_account("ana@example.com", TOKEN)
        jira.add_project("TG")
        jira.seed(3)
        (tmp_path / "declared.toml").write_text('[projects.WEB]\nname = "Web"\n')
        yield Office(tmp_path, jira, f"{hook}/hook")


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


def test_every_command_is_called_here_or_shows_nothing() -> None:
    assert set(leaves(main)) == {*CALLS, *NO_JSON}


async def test_every_command_answers_json_on_a_real_server(office: Office) -> None:
    data = office.folder / "data"
    # Without a worker a sync stays open, to be cancelled.
    async with running(data, "api") as api, running(data, "scheduler"):
        await api.ready()
        called = await office.called()
    wrong = [said for path, ended in called.items() for said in amiss(path, ended)]
    assert not wrong, "\n".join(wrong)


def amiss(path: str, ended: Ended) -> list[str]:
    """What is wrong with the answer of a command, if anything is."""
    said = f"{path}: exit code {ended.code}: {ended.out}{ended.err}"
    if ended.code != CODES.get(path, 0):
        return [said]
    try:
        found = [json.loads(text) for text in (ended.out.splitlines() if path in LINES else [ended.out])]
    except json.JSONDecodeError as e:
        return [f"{said}: {e}"]
    lacking = [sorted(CALLS[path][1] - set(one)) for one in found]
    return [f"{said}: lacks {lacking}"] if any(lacking) or not found else []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("connections", "show", "nowhere"), 1, "connections list"),
        (("connections", "remove", "nowhere"), 1, "connections list"),
        (("syncs", "show", "99"), 1, "syncs list"),
        (("credentials", "remove", "99"), 1, "credential"),
        (("test", "--system", "jira"), 2, "--url"),
        (("restore", "nowhere.zip"), 1, "nowhere.zip"),
        (("apply", "nowhere.toml"), 2, "nowhere.toml"),
        (("conections",), 2, "tidegate connections"),
        (("keys", "revoke", "x"), 2, "'x'"),
    ],
)
async def test_an_error_is_one_json_object_on_standard_error(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    ended = await run(tmp_path / "data", *words, "--json")
    told = json.loads(ended.err)
    assert (ended.code, ended.out) == (code, "")
    assert (set(told), told["exit_code"]) == ({"type", "title", "detail", "exit_code"}, code)
    assert said in told["detail"]


async def test_how_things_stand_is_json_before_and_after_anything_is_set_up(tmp_path: Path) -> None:
    before = json.loads((await run(tmp_path / "data", "--json")).out)
    assert (before["set_up"], before["next"][0]) == (False, "tidegate demo")
    await run(tmp_path / "data", "migrate")
    after = json.loads((await run(tmp_path / "data", "--json")).out)
    assert (after["set_up"], after["missing"]) == (True, ["api", "scheduler", "worker"])
    assert after["next"][0] == "tidegate up"
