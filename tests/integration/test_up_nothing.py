"""`tidegate sync` with nothing set up: any URL into a file, by the worker's own path."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.tidegates import Ended, left_of, run
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(180)

MEMBERS = {"stream", "key", "parent", "updated_at", "version", "change", "deleted", "data"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "issues.ndjson"


async def sync(site: JiraCloud, output: Path, *more: str, token: str = "token-1", **environ: str) -> Ended:
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    return await run(
        output.parent / "data", "sync", "--system", "jira", "--url", url, "--output", str(output),
        "--username", "ana@example.com", "--secret-env", "TOKEN", *more, TOKEN=token, **environ,
    )  # fmt: skip


def before(output: Path) -> str:
    """What an earlier run wrote."""
    output.write_text("what was there\n")
    return "what was there\n"


def content(output: Path) -> str | None:
    return output.read_text() if output.exists() else None


def lines(output: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in output.read_bytes().splitlines()]


async def test_every_record_is_a_line_and_nothing_else_is_left(site: JiraCloud, output: Path) -> None:
    issues = site.seed(230)
    ended = await sync(site, output)
    assert ended.code == 0, ended.err
    written = lines(output)
    assert {line["key"] for line in written if line["stream"] == "issues"} == {str(i.id) for i in issues}
    assert all(set(line) >= MEMBERS and line["deleted"] is None for line in written)
    assert "succeeded" in ended.out
    assert "230" in ended.out
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert left_of(output.parent / "data") == []


async def test_with_a_state_the_second_run_writes_only_what_changed(site: JiraCloud, output: Path) -> None:
    issues = site.seed(120)
    state = str(output.with_suffix(".state"))
    assert (await sync(site, output, "--state", state)).code == 0
    assert len(lines(output)) == 120
    site.update_issue(issues[7].id, summary="Changed since")
    ended = await sync_again(site, output, state)
    assert ended.code == 0, ended.err
    written = [(line["stream"], line["parent"] or line["key"]) for line in lines(output)]
    # The issue, and the entry of its history that tells of the change.
    assert sorted(written) == [("changelogs", str(issues[7].id)), ("issues", str(issues[7].id))]


async def sync_again(site: JiraCloud, output: Path, state: str) -> Ended:
    """The same filter as before: a new one would be another target."""
    (number,) = [n for n, known in site.filters.items() if known.jql == "project = TG"][:1]
    return await run(
        output.parent / "data", "sync", "--system", "jira", "--url", f"{site.url}/issues/?filter={number}",
        "--output", str(output), "--username", "ana@example.com", "--secret-env", "TOKEN",
        "--state", state, TOKEN="token-1",
    )  # fmt: skip


async def test_a_state_of_another_url_is_refused(site: JiraCloud, output: Path) -> None:
    site.seed(3)
    state = str(output.with_suffix(".state"))
    assert (await sync(site, output, "--state", state)).code == 0
    ended = await sync(site, output, "--state", state)  # another filter
    assert ended.code == 2
    assert "name another state file" in ended.err


async def test_a_secret_does_not_stay_in_the_state(site: JiraCloud, output: Path) -> None:
    site.seed(3)
    state = output.with_suffix(".state")
    ended = await sync(site, output, "--state", str(state))
    assert b"token-1" not in state.read_bytes()
    assert "token-1" not in ended.out + ended.err
    assert state.stat().st_mode & 0o077 == 0


async def test_a_wrong_token_exits_1_says_why_and_leaves_the_file(site: JiraCloud, output: Path) -> None:
    site.seed(3)
    there = before(output)
    ended = await sync(site, output, token="wrong-token")
    assert ended.code == 1
    assert "auth" in ended.out
    assert content(output) == there
    assert "wrong-token" not in ended.out + ended.err
    assert "Traceback" not in ended.err


async def test_a_remote_that_is_away_for_longer_than_our_patience_exits_1(
    site: JiraCloud, output: Path
) -> None:
    site.faults.append(Fault("/rest/", status=503, times=1000))
    ended = await sync(site, output, "--patience", "2s")
    assert ended.code == 1
    assert "Gave up waiting" in ended.err
    assert content(output) is None


async def test_a_remote_that_goes_away_in_the_middle_exits_3_with_what_was_read(
    site: JiraCloud, output: Path
) -> None:
    site.seed(350)
    site.faults.append(Fault("/search/jql", status=503, times=1000, after=2))
    ended = await sync(site, output, "--patience", "2s")
    assert ended.code == 3, ended.err
    assert 0 < len(lines(output)) < 350


async def test_loopback_is_refused_unless_it_is_allowed(site: JiraCloud, output: Path) -> None:
    ended = await sync(site, output, TIDEGATE_ALLOW_NETWORKS="")
    assert ended.code == 1
    assert "TIDEGATE_ALLOW_NETWORKS" in ended.out
    assert site.ledger == []


async def test_the_receipt_is_there_as_json(site: JiraCloud, output: Path) -> None:
    site.seed(5)
    ended = await sync(site, output, "--json")
    told = msgspec.json.decode(ended.out)
    assert (told["state"], told["receipt"]["issues"]["stored"]) == ("succeeded", 5)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--system", "jira"), "--system, --url and --output"),
        (("tg", "--url", "x.example"), "leave the options out"),
        (("--system", "jira", "--url", "x.example?jql=a", "--output", "o", "--username", "ana"), "secret"),
        (("--system", "trello", "--url", "x.example", "--output", "o"), "trello"),
        (("--system", "jira", "--url", "x.example", "--output", "o"), "params.jql"),
        (("--system", "jira", "--url", "x.example?jql=a", "--output", "no/such/o"), "--output"),
        (("--patience", "soon"), "not a duration"),
    ],
)
async def test_wrong_use_exits_2_and_says_what_is_missing(
    tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    ended = await run(tmp_path / "data", "sync", *args)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
