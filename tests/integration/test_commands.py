"""Everyday commands as users run them: real processes on a database of their own."""

import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.tidegates import Ended, run, running
from tidegate.cli import main
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(240)

TOKEN = "token-of-ana-7f31"


class Desk:
    """A data folder, and a simulated Jira that is reached from it."""

    def __init__(self, folder: Path, site: JiraCloud) -> None:
        self.folder = folder
        self.site = site
        self.url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"

    async def run(self, *args: str, code: int = 0, **more: str) -> Ended:
        """Run a command that ends with this code, and prints neither a traceback nor the secret."""
        ended = await run(self.folder / "data", *args, TOKEN=TOKEN, **more)
        assert ended.code == code, ended.out + ended.err
        assert "Traceback" not in ended.err
        assert TOKEN not in ended.out + ended.err
        return ended

    async def json(self, *args: str, code: int = 0) -> Any:
        return json.loads((await self.run(*args, "--json", code=code)).out)

    async def synced(self, issues: int) -> None:
        """A connection called `team`, synced once."""
        self.site.seed(issues)
        await self.run("credentials", "add", "me", "--system", "jira", "--username", "ana@example.com",
                       "--secret-env", "TOKEN")  # fmt: skip
        await self.run("connections", "add", "team", "--system", "jira", "--url", self.url,
                       "--credential", "1", "--frequency", "manually")  # fmt: skip
        await self.run("sync", "team")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with JiraCloud() as site:
        site.add_account("ana@example.com", TOKEN)
        site.add_project("TG")
        yield Desk(tmp_path, site)


async def test_a_remote_is_tested_before_anything_is_stored(desk: Desk) -> None:
    desk.site.seed(7)
    given = ("--system", "jira", "--url", desk.url, "--username", "ana@example.com", "--secret-env", "TOKEN")
    ended = await desk.run("test", *given)
    assert "It works." in ended.err
    assert ("issues", "yes", "7") in [tuple(line.split("\t")[:3]) for line in ended.out.splitlines()]
    assert not (desk.folder / "data" / "tidegate.db").exists()
    told = await desk.json("test", *given)
    assert (told["ok"], told["streams"]["issues"]["count"], told["error"]) == (True, 7, None)


async def test_a_remote_that_refuses_us_exits_1_and_says_what_to_do(desk: Desk) -> None:
    given = ("--system", "jira", "--url", desk.url, "--username", "ana@example.com", "--secret-env", "OTHER")
    ended = await desk.run("test", *given, code=1, OTHER="not-the-token")
    assert "auth" in ended.err
    assert "credential" in ended.err
    assert "not-the-token" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "--system and --url"),
        (("team", "--url", "x.example"), "leave the options out"),
        (("--system", "jira", "--url", "x.example", "--username", "ana"), "secret"),
        (("--system", "jira", "--url", "x.example", "--credential", "1", "--username", "a"), "not both"),
    ],
)
def test_a_test_that_cannot_be_asked_exits_2(args: tuple[str, ...], said: str) -> None:
    ended = CliRunner().invoke(main, ["test", *args])
    assert (ended.exit_code, said in ended.output) == (2, True), ended.output


async def test_a_url_that_no_adapter_takes_exits_2_and_says_what_would_be(desk: Desk) -> None:
    ended = await desk.run("test", "--system", "jira", "--url", "x.example", code=2)
    assert "params.jql" in ended.err


async def test_a_stored_connection_is_tested_exported_and_its_syncs_are_shown(desk: Desk) -> None:
    await desk.synced(12)
    assert (await desk.json("test", "team"))["ok"]
    wanted = ("--system", "jira", "--url", desk.url, "--credential", "1")
    assert (await desk.json("test", *wanted))["account"]
    await desk.run("test", "nowhere", code=1)
    (listed,) = [line.split("\t") for line in (await desk.run("syncs", "list")).out.splitlines()]
    assert (listed[0], listed[1], listed[2], listed[7]) == ("1", "team", "succeeded", "12")
    assert (await desk.run("syncs", "list", "team", "--state", "failed")).out == ""
    shown = await desk.run("syncs", "show", "1")
    assert "Sync 1 succeeded" in shown.out
    assert (await desk.json("syncs", "show", "1"))["receipt"]["issues"]["stored"] == 12
    await desk.run("syncs", "show", "99", code=1)
    assert "ended already" in (await desk.run("syncs", "cancel", "1", code=1)).err
    await exported(desk)


async def exported(desk: Desk) -> None:
    out = desk.folder / "issues.csv"
    export = ("records", "export", "team", "--output")
    ended = await desk.run(*export, str(out), "--stream", "issues")
    assert "12 records written" in ended.err
    with out.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 12
    plain = await desk.run(*export, "-")
    assert len([line for line in plain.out.splitlines() if json.loads(line)["stream"] == "issues"]) == 12
    told = await desk.json(*export, str(desk.folder / "all.ndjson"), "--changed-after", "10")
    assert told == {"written": 2, "changed_after": 12}
    again = await desk.json(*export, str(desk.folder / "all.ndjson"), "--changed-after", "12")
    assert again == {"written": 0, "changed_after": 12}
    assert "--stream" in (await desk.run(*export, str(out), code=2)).err
    assert "has no stream" in (await desk.run(*export, str(out), "--stream", "x", code=2)).err
    assert "--output" in (await desk.run(*export, str(desk.folder / "no" / "x.csv"), "--stream", "issues",
                                         code=2)).err  # fmt: skip


async def test_parquet_without_its_extra_names_the_extra(desk: Desk) -> None:
    lacking = desk.folder / "lacking" / "pyarrow"
    lacking.mkdir(parents=True)
    (lacking / "__init__.py").write_text("raise ImportError('No module named pyarrow')\n")
    path = f"{lacking.parent}:{Path(__file__).parent.parent.parent}"
    ended = await desk.run("records", "export", "team", "--stream", "issues", "--output",
                           str(desk.folder / "x.parquet"), code=2, PYTHONPATH=path)  # fmt: skip
    assert "tidegate[parquet]" in ended.err
    assert not (desk.folder / "x.parquet").exists()


async def test_keys_made_by_a_command_open_the_api_until_they_are_revoked(desk: Desk) -> None:
    async with running(desk.folder / "data") as up:
        await up.ready()
        project = await up.call("POST", "/v1/projects", {"name": "Web", "key": "WEB"})
        made = await desk.run("keys", "add", "dashboard", "--permission", "read", "--project", "WEB")
        text = made.out.strip()
        assert text.startswith("tg_")
        assert text not in made.err
        listed = [json.loads(line) for line in (await desk.run("keys", "list", "--json")).out.splitlines()]
        assert [(one["name"], one["permissions"], one["projects"]) for one in listed] == [
            ("dashboard", ["read"], [project["id"]])
        ]
        assert text not in str(listed)
        await desk.run("keys", "add", "x", "--project", "NOWHERE", code=1)
        await desk.run("keys", "revoke", str(listed[0]["id"]))
        assert (await desk.run("keys", "list")).out == ""
        assert "dashboard" in (await desk.run("keys", "list", "--all")).out
        noted = (await up.call("GET", "/v1/audit?subject=key"))["audit"]
        assert [(one["actor"], one["action"]) for one in noted] == [
            ("command line", "revoke"),
            ("command line", "create"),
        ]
        found = json.loads((await desk.run("doctor", "--json")).out)
        assert found["ok"], found
        assert text not in up.err


async def test_a_doctor_that_finds_a_failure_exits_1(desk: Desk) -> None:
    ended = await desk.run("doctor", code=1, TIDEGATE_REDIS_URL="redis://127.0.0.1:1/0")
    assert "fail  redis" in ended.out
    assert "-> Check TIDEGATE_REDIS_URL" in ended.out
    assert "1 failed" in ended.out


async def test_changes_by_commands_are_in_the_audit_log(desk: Desk) -> None:
    await desk.synced(1)
    async with running(desk.folder / "data", "api") as up:
        await up.says("api.ready")
        noted = (await up.call("GET", "/v1/audit"))["audit"]
    assert [(one["actor"], one["action"], one["subject"]) for one in reversed(noted)] == [
        ("command line", "create", "credential"),
        ("command line", "create", "connection"),
        ("command line", "sync", "connection"),
    ]
