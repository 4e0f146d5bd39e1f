"""`tidegate apply` as its users run it: what it prints, asks and answers, and what it never shows."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

from tests.tidegates import PATIENCE, Ended, environ, run

pytestmark = pytest.mark.timeout(180)

SECRET = "canary-5f1c90"
FILE = """
[credentials.jira]
system = "jira"
username = "a@example.com"
secret_env = "JIRA_TOKEN"

[connections.payments]
system = "jira"
url = "https://${SITE:-a.atlassian.net}/issues/?filter=12345"
credential = "jira"
webhook_secret = "canary-5f1c90"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "connections.toml"
    path.write_text(FILE)
    return path


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def apply(file: Path, *more: str, **variables: str) -> Ended:
    given = {"JIRA_TOKEN": SECRET, **variables}
    ended = await run(file.parent / "data", "apply", str(file), *more, **given)
    assert SECRET not in ended.out + ended.err
    assert "Traceback" not in ended.err
    return ended


async def answered(file: Path, answer: str) -> tuple[int, str]:
    """The command on a terminal, where someone types an answer: its exit code and the screen."""
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidegate", "apply", str(file),
            env=environ(file.parent / "data", {"JIRA_TOKEN": SECRET, "TERM": "xterm", "NO_COLOR": ""}),
            cwd=file.parent, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
    finally:
        os.close(theirs)
    screen = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while "[y/N]" not in screen:
                screen += (await asyncio.to_thread(os.read, ours, 10_000)).decode()
            os.write(ours, f"{answer}\n".encode())
            code = await process.wait()
            screen += os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
    return code, screen


async def test_a_plan_is_shown_with_exit_code_3_and_an_empty_one_with_0(file: Path) -> None:
    planned = await apply(file, "--plan")
    assert planned.code == 3, planned.err
    assert "+ connection payments" in planned.out
    assert "url: https://a.atlassian.net/issues/?filter=12345" in planned.out
    applied = await apply(file, "--yes")
    assert (applied.code, applied.out.splitlines()[-1]) == (0, "Applied: 2 created.")
    again = await apply(file, "--plan")
    assert (again.code, again.out.splitlines()[-1]) == (0, "Everything is as declared.")
    assert "= connection payments" in again.out
    changed = await apply(file, "--plan", SITE="b.atlassian.net", JIRA_TOKEN=f"{SECRET}-new")
    assert changed.code == 3
    assert "~ credential jira\n    secret: (changed)\n" in changed.out
    assert "url: https://a.atlassian.net/issues/?filter=12345 -> https://b.atlas" in changed.out


async def test_where_nobody_can_be_asked_yes_is_needed(file: Path) -> None:
    ended = await apply(file)
    assert ended.code == 2
    assert "add --yes" in ended.err
    assert (await apply(file, "--plan")).code == 3


async def test_as_json_the_plan_says_what_was_done(file: Path) -> None:
    planned = msgspec.json.decode((await apply(file, "--plan", "--json")).out)
    assert planned["applied"] is False
    done = msgspec.json.decode((await apply(file, "--yes", "--json")).out)
    assert done == {**planned, "applied": True}
    assert [step["name"] for step in done["steps"]] == ["jira", "payments"]
    assert done["steps"][1]["fields"]["webhook_secret"] == [None, "(given)"]
    again = msgspec.json.decode((await apply(file, "--json")).out)
    assert (again["steps"], len(again["unchanged"])) == ([], 2)


async def test_each_mistake_is_a_line_that_names_file_place_and_what_would_work(file: Path) -> None:
    write(file, FILE + 'frequency = "often"\ncolour = "blue"\n[connections.b]\nsystem = "jira"\nurl = "x"\n')
    ended = await apply(file, "--yes", JIRA_TOKEN="")
    assert ended.code == 2
    lines = {line.removeprefix("Error: ") for line in ended.err.splitlines()}
    for place, said in {
        "credentials.jira.secret_env": "JIRA_TOKEN is not set",
        "connections.payments.frequency": "allowed are manually",
        "connections.payments.colour": "There is no such field.",
        "connections.b.url": "filter=12345",
    }.items():
        assert any(line.startswith(f"{file}: {place}: ") and said in line for line in lines), ended.err
    assert "Nothing was changed." in lines
    assert (await run(file.parent / "data", "connections", "list")).out == ""


async def test_on_a_terminal_the_plan_is_coloured_and_the_answer_decides(file: Path) -> None:
    code, screen = await answered(file, "n")
    assert (code, "Nothing was changed." in screen) == (1, True)
    assert "\x1b[32m+ connection payments" in screen
    code, screen = await answered(file, "y")
    assert (code, "Applied: 2 created." in screen) == (0, True)
    assert SECRET not in screen


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nowhere.toml",), "nowhere.toml cannot be read"),
        ((), "Missing argument"),
        (("a", "b"), "unexpected"),
    ],
)
async def test_wrong_use_exits_2(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    ended = await run(tmp_path / "data", "apply", *args)
    assert ended.code == 2
    assert said in ended.err + ended.out
