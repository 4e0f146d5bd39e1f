"""The commands that the documents show, run as they stand there, against simulated remotes."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from tests.chaos.servers import free_port
from tests.documents import TEXTS, command_lines, shown
from tests.tidegates import ROOT, environ, left_of
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter

pytestmark = pytest.mark.timeout(360)

PATIENCE = 300  # seconds for all commands of a document
#: Run from the first to the last line, as somebody would who follows the text.
FROM_THE_TOP = {"README.md", "docs/start.md", "docs/declared.md", "docs/webhooks.md"}
FOLLOWED = [path for path in TEXTS if shown(path) in FROM_THE_TOP or path.parent.name == "systems"]
#: What cannot be done here: test_readme.py looks at targets of make, test_deploy.py at containers and units.
ELSEWHERE = re.compile(r"(?:make (?!demo)|export PATH=|docker |sudo |redis-cli )")
SECRETS = {
    "JIRA_TOKEN": "a-token-of-jira",
    "JIRA_SCOPED_TOKEN": "a-token-with-scopes",
    "JIRA_PAT": "a-token-of-a-server",
    "JENKINS_TOKEN": "a-token-of-jenkins",
    "AZURE_PAT": "a-token-of-azure",
    "SERVER_PAT": "another-token-of-azure",
}
BLOCK = re.compile(r"^```(sh|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = """
set -eu
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
curl() { command curl --fail --silent --show-error "$@"; }
begun() { # log, command...: waits until it is so, as long as the program runs
    local log=$1 program=$!
    shift
    until "$@" >/dev/null 2>&1; do
        kill -0 $program || { cat "$log" >&2; exit 1; }
        sleep 0.2
    done
}
"""
UP = """
TIDEGATE_PORT={port} tidegate up >up.log 2>&1 &
begun up.log grep -q worker.ready up.log
"""
DEMO = """
TIDEGATE_PORT={port} tidegate demo >demo.log 2>&1 &
begun demo.log grep -q 'All connections are healthy' demo.log
"""


class World:
    """Everything that the documents name as an example, simulated. `words` says what stands for what."""

    def __init__(self) -> None:
        self.jira = JiraCloud()
        self.server = JiraDataCenter(context="/jira")
        self.azure = AzureDevOps("company")
        self.collection = AzureDevOps("DefaultCollection", above="tfs", hosted=False)
        self.jenkins = JenkinsController()

    @property
    def remotes(self) -> tuple[JiraCloud, JiraDataCenter, AzureDevOps, AzureDevOps, JenkinsController]:
        return self.jira, self.server, self.azure, self.collection, self.jenkins

    def populate(self) -> Mapping[str, str]:
        """Give each what the documents speak of; the words of the documents and what stands for them here."""
        you = self.jira.add_account("you@example.com", SECRETS["JIRA_TOKEN"])
        self.jira.administrators.add(you.account_id)
        self.jira.grant("you@example.com", SECRETS["JIRA_SCOPED_TOKEN"])
        self.jira.seed(12, project="TG")
        self.server.add_user("you", "password")
        self.server.add_pat("you", SECRETS["JIRA_PAT"])
        self.server.seed(3, project="TG")
        self.azure.access.tokens[SECRETS["AZURE_PAT"]] = self.azure.model.me
        self.azure.model.seed(5, Random(1), project="newtwitterclone")
        self.collection.access.tokens[SECRETS["SERVER_PAT"]] = self.collection.model.me
        self.collection.model.seed(3, Random(1), project="newtwitterclone")
        self.jenkins.users["you"] = SECRETS["JENKINS_TOKEN"]
        self.jenkins.seed(jobs=2, builds=3, randomness=Random(1))
        for name in ("api", "pipeline_1"):
            self.jenkins.add_job(name)
        filters = {self.jira.add_filter("project = TG"), self.server.add_filter("project = TG")}
        (number,) = filters
        host = self.jira.url.removeprefix("http://")
        return {
            "https://api.atlassian.com/ex/jira/YOUR-CLOUD-ID": self.jira.gateway,
            "https://your-site.atlassian.net": self.jira.url,
            "https://${JIRA_SITE:-your-site.atlassian.net}": f"http://${{JIRA_SITE:-{host}}}",
            "filter=12345": f"filter={number}",
            "https://jira.company.com/jira": self.server.base,
            "https://dev.azure.com/company": self.azure.base,
            "https://tfs.company.com/tfs/DefaultCollection": self.collection.base,
            "https://jenkins.example.com": self.jenkins.base,
            "https://jenkins.company.com": self.jenkins.base,
            "10.0.0.0/8": "127.0.0.1/32",
        }


@pytest.fixture
async def words() -> AsyncIterator[Mapping[str, str]]:
    world = World()
    async with AsyncExitStack() as stack:
        for remote in world.remotes:
            await stack.enter_async_context(remote)
        yield world.populate()


def content(path: Path) -> str:
    return path.read_text("utf-8")


def script(text: str, words: Mapping[str, str], port: int) -> str:
    """What somebody types who follows a text, in bash."""
    typed = [BEFORE]
    for language, block in BLOCK.findall(_with(text, {**words, ":8420": f":{port}"})):
        if language == "toml":
            typed.append(f"cat >connections.toml <<'END OF FILE'\n{block}END OF FILE")
        else:
            lines = command_lines(f"```sh\n{block}```")
            typed += [_typed(line, port, demo="make demo" in text) for line in lines]
    return "\n".join(typed)


def _with(text: str, words: Mapping[str, str]) -> str:
    for word, stands_for in words.items():
        text = text.replace(word, stands_for)
    return text


def _typed(line: str, port: int, *, demo: bool) -> str:
    if line == "make demo":
        return DEMO.format(port=port)
    if ELSEWHERE.match(line) or (line.startswith("curl ") and shutil.which("curl") is None):
        return f"# {line}"
    if line == "tidegate up":
        return UP.format(port=0 if demo else port)
    if line.endswith("tidegate events --follow"):
        return line.replace("tidegate", "timeout 3 tidegate") + " || test $? = 124"
    if line.startswith(
        "tidegate apply "
    ):  # which asks, or says by its exit code that there is something to do
        return f"{line} || test $? = 3" if line.endswith("--plan") else f"{line} --yes"
    if line.startswith("export "):
        return re.sub(r"(\w+)=\.\.\.", lambda m: f"{m[1]}={SECRETS.get(m[1], 'a-secret-of-docs')}", line)
    return line


def tools(folder: Path) -> Path:
    """A folder of programs: our command, and a reader of SQLite that every machine has."""
    folder.mkdir()
    read = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"
    for name, words in {"tidegate": ["-m", "tidegate"], "sqlite3": ["-c", read]}.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *words])} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def surroundings(folder: Path) -> dict[str, str]:
    given = environ(folder / ".local" / "share" / "tidegate", {})
    given |= {"HOME": str(folder), "PATH": f"{tools(folder / 'bin')}:{os.environ['PATH']}"}
    return {name: text for name, text in given.items() if name not in ("TIDEGATE_DATA_DIR", "TIDEGATE_PORT")}


@pytest.mark.parametrize("path", FOLLOWED, ids=shown)
async def test_whoever_follows_the_text_gets_to_its_end(
    path: Path, words: Mapping[str, str], tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script(content(path), words, free_port()),
        env=surroundings(tmp_path), cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    said = f"{out.decode()[-3000:]}\n{err.decode()[-3000:]}"
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert not [secret for secret in SECRETS.values() if secret in out.decode() + err.decode()]
    assert left_of(tmp_path) == []


def test_what_is_not_run_here_is_looked_at_elsewhere() -> None:
    """A line of another kind has to be decided on."""
    known = re.compile(
        r"(TIDEGATE_\w+=\S+ +)*tidegate |export \w+=|KEY=|curl |sqlite3 |make demo|cd deploy$|sh make-sec"
        r"|(python|node) docs/examples/"
    )
    # That of the API is run as a whole in test_docs_api.py.
    texts = [path for path in TEXTS if path.name != "api.md"]
    lines = [line for path in texts for line in command_lines(path.read_text("utf-8"))]
    assert len(lines) > 40
    assert [line for line in lines if not ELSEWHERE.match(line) and not known.match(line)] == []


def quoted(path: Path) -> Iterator[str]:
    """The messages that a text explains in its last table."""
    table = path.read_text("utf-8").partition("## If it does not work")[2]
    yield from re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("system", ["jira", "azure"])
def test_the_messages_that_are_explained_are_those_of_the_adapter(system: str) -> None:
    modules = (ROOT / "adapters" / system).glob("*.py")
    # Texts that are written in pieces are read as one.
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text("utf-8") for path in modules))
    messages = list(quoted(ROOT / "docs" / "systems" / f"{system}.md"))
    assert len(messages) > 6
    ours = [text for text in messages if not re.match(r"TF\d+|VS\d+|The Personal Access Token used", text)]
    unknown = [text for text in ours if any(piece not in source for piece in text.split("12345"))]
    assert unknown == []
