"""Syncs under `tidegate up`: what is killed goes on, what is stopped hands over."""

import os
import signal
from pathlib import Path

import pytest

from tests.tidegates import Up, redis_pid, run, running
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def connect(up: Up, site: JiraCloud) -> int:
    credential = {"name": "ana", "system": "jira", "kind": "basic", "username": "ana@example.com"}
    made = await up.call("POST", "/v1/credentials", {**credential, "secret": "token-1"})
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    wanted = {"name": "tg", "system": "jira", "url": url, "credential_id": made["id"]}
    connection = await up.call("POST", "/v1/connections", {**wanted, "frequency": "manually"})
    assert isinstance(connection["id"], int)
    return connection["id"]


async def test_syncs_go_on_after_redis_was_killed(data_dir: Path, site: JiraCloud) -> None:
    issues = site.seed(20)
    async with running(data_dir) as up:
        await up.ready()
        connection = await connect(up, site)
        assert (await up.synced(connection))["state"] == "succeeded"
        os.kill(redis_pid(data_dir), signal.SIGKILL)
        site.update_issue(issues[3].id, summary="Changed since")
        sync = await up.synced(connection)
        assert sync["state"] == "succeeded"
        assert sync["counters"]["issues"]["changed"] == 1


async def test_a_sync_that_sigterm_meets_goes_on_after_the_next_start(
    data_dir: Path, site: JiraCloud
) -> None:
    site.seed(250)
    site.latency = 0.4
    async with running(data_dir) as up:
        await up.ready()
        connection = await connect(up, site)
        sync = await up.call("POST", f"/v1/connections/{connection}/sync", {})
        while not (await up.call("GET", f"/v1/syncs/{sync['id']}"))["counters"]:
            pass
        assert await up.stop() == 0
    site.latency = 0.0
    async with running(data_dir) as up:
        await up.ready()
        ended = await up.ended(sync["id"])
    assert ended["state"] == "succeeded"
    assert ended["receipt"]["issues"]["stored"] == 250


async def test_the_command_line_asks_a_running_worker_and_follows(data_dir: Path, site: JiraCloud) -> None:
    site.seed(20)
    async with running(data_dir) as up:
        await up.ready()
        await connect(up, site)
        ended = await run(data_dir, "sync", "tg")
        assert ended.code == 0, ended.err
        assert "succeeded" in ended.out
        listed = await run(data_dir, "events", "--connection", "tg", "--json")
        assert '"type":"io.tidegate.status"' in listed.out
        assert "token-1" not in listed.out + ended.out + up.err


async def test_without_a_worker_the_command_line_works_on_the_sync_itself(
    data_dir: Path, site: JiraCloud
) -> None:
    site.seed(20)
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    added = await run(
        data_dir, "credentials", "add", "ana", "--system", "jira", "--username", "ana@example.com",
        "--secret-env", "TOKEN", TOKEN="token-1",
    )  # fmt: skip
    assert added.code == 0, added.err
    made = await run(
        data_dir, "connections", "add", "tg", "--system", "jira", "--url", url, "--credential", "1",
        "--frequency", "manually",
    )  # fmt: skip
    assert made.code == 0, made.err
    ended = await run(data_dir, "sync", "tg", "--json")
    assert ended.code == 0, ended.err
    assert '"state": "succeeded"' in ended.out
    assert "healthy" in (await run(data_dir, "connections", "list")).out
