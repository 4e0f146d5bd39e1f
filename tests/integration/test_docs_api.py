"""The commands of docs/api.md, run from the first to the last, answer what is shown below them."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from json import JSONDecoder
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.jira import Jira
from api.openapi import problems
from api.routes import ROUTES
from store import outbox
from store.database import Database
from store.outbox import RELAY
from store.syncs import Ring
from tests.api_server import ADMIN_KEY, Api, Rope, serving_api
from tests.house import House
from tests.tree import ROOT
from tidegate.demo.remotes.jira import JiraCloud

TEXT = (ROOT / "docs" / "api.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(sh|json)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [block for language, block in BLOCKS if language == "sh"]
#: Between what one block printed and what the next did.
EDGE = "@@@@ the next block"
ISSUES = 12


class Worked(Rope):
    """A bell that works on what it is rung for, and publishes what happened, before the answer goes out."""

    house: House

    async def ring(self, rings: Sequence[Ring]) -> None:
        for ring in rings:
            await self.house.work(ring.sync_id)
        async with self.house.database.write() as connection:
            fence = await outbox.take_duty(connection, RELAY, "test", 60)
            assert fence is not None
            await outbox.give_positions(connection, fence)


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("you@example.com", "an API token", zone="UTC")
        remote.add_project("TG")
        remote.seed(ISSUES)
        yield remote


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    bell = Worked()
    async with serving_api(database, {"jira": Jira}, bell=bell) as served:
        bell.house = served.house
        yield served


async def shell(api: Api, folder: Path, script: str) -> str:
    """What a script prints. `curl` is the one of the tests: it is on every machine."""
    (folder / "bin").mkdir()
    curl = folder / "bin" / "curl"
    curl.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests" / "curl.py"}" "$@"\n')
    curl.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-eu",
        "-c",
        script,
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert not err, err.decode()
    return out.decode()


def script(api: Api, filter_url: str) -> str:
    """All blocks as one script, with this server and this site in the places of those in the text."""
    whole = f"\necho; echo '{EDGE}'\n".join(COMMANDS)
    for shown, here in (
        ("http://127.0.0.1:8420", api.url),
        ("$(cat ~/.local/share/tidegate/admin.key)", ADMIN_KEY),
        ("https://your-site.atlassian.net/issues/?filter=12345", filter_url),
    ):
        assert shown in whole
        whole = whole.replace(shown, here)
    return whole


def last_answer(printed: str) -> Any:
    """The last JSON that a block printed: answers follow each other without a break."""
    decoder, found = JSONDecoder(), None
    text = printed.strip()
    while text:
        found, end = decoder.raw_decode(text)
        text = text[end:].strip()
    return found


def differs(shown: Any, answered: Any, path: str = "") -> list[str]:
    """What is shown and not answered so; `...` and times stand for any."""
    match shown:
        case dict():
            if not isinstance(answered, dict):
                return [f"{path} is {answered}"]
            return [
                each
                for name, value in shown.items()
                for each in (
                    differs(value, answered[name], f"{path}.{name}")
                    if name in answered
                    else [f"{path}.{name} is not there"]
                )
            ]
        case list():
            if not isinstance(answered, list) or len(shown) != len(answered):
                return [f"{path} is {answered}"]
            return [each for s, a in zip(shown, answered, strict=True) for each in differs(s, a, path)]
        case str() if shown.endswith("...") or re.fullmatch(r"2030-.*Z", shown):
            return (
                []
                if isinstance(answered, str)
                and answered.startswith(shown.partition("...")[0].partition("2030")[0])
                else [path]
            )
        case _:
            return [] if shown == answered else [f"{path} is {answered!r}"]


async def test_the_commands_of_the_text_answer_what_it_shows(
    api: Api, site: JiraCloud, tmp_path: Path
) -> None:
    number = site.add_filter("project = TG")
    folder = tmp_path / "shell"
    folder.mkdir()
    printed = await shell(api, folder, script(api, f"{site.url}/issues/?filter={number}"))
    outputs = printed.split(EDGE)
    assert len(outputs) == len(COMMANDS)
    at, wrong = -1, []
    for language, block in BLOCKS:
        if language == "sh":
            at += 1
            continue
        answered = last_answer(outputs[at])
        wrong += [f"{each}, below\n{COMMANDS[at]}" for each in differs(msgspec.json.decode(block), answered)]
    assert wrong == []
    lines = (folder / "issues.ndjson").read_bytes().splitlines()
    assert len(lines) == ISSUES
    assert len((folder / "changes.ndjson").read_bytes().splitlines()) >= ISSUES - 1
    assert printed.count("io.tidegate.status") >= 3


def test_the_statuses_in_the_text_are_those_of_the_description() -> None:
    told = {int(status) for status in re.findall(r"^\| (\d{3}) \|", TEXT, re.MULTILINE)}
    assert told == {status for route in ROUTES for status in problems(route)}
