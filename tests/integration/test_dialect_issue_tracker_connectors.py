"""Issue tracker connections: connectors, and tests before and after saving."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from store.database import Database
from tests.tracker import CONNECTORS, PATH, TEST, Tracker, tracking
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.sqlite_does


@pytest.fixture
async def tracker(database: Database) -> AsyncIterator[Tracker]:
    async with tracking(database) as client:
        yield client


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        remote.add_account("username", "password")
        remote.add_project("RALLY_PROJECT")
        yield remote


async def test_a_saved_connection_is_tested(tracker: Tracker, site: JiraCloud) -> None:
    made = await tracker.at_site(site)
    path = f"{PATH}{made['id']}/test/"
    assert await tracker.ask("POST", path) == {"success": True}
    site.revoke("password")
    answer = await tracker.ask("POST", path, status=400)
    assert answer["success"] is False
    assert answer["params"] == {"issue_tracker_user": [answer["detail"]]}


def trial(site: str, **params: object) -> dict[str, Any]:
    given = {
        "issue_tracker_server": site,
        "issue_tracker_user": "username",
        "issue_tracker_pass": "password",
        "issue_tracker_project": "rally_project",
    }
    return {"name": "x", "system": {"id": "jira", "name": "JIRA"}, "params": {**given, **params}}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"issue_tracker_pass": "wrong"}, "issue_tracker_user"),
        ({"issue_tracker_project": "OTHER"}, "issue_tracker_project"),
        ({"issue_tracker_server": "127.0.0.1:1", "issue_tracker_method": "http"}, "issue_tracker_server"),
        ({"issue_tracker_project": None}, "issue_tracker_project"),
        ({"issue_tracker_server": ""}, "issue_tracker_server"),
        ({"issue_tracker_pass": None}, "issue_tracker_pass"),
        ({"issue_tracker_auth_mode": "magic"}, "issue_tracker_auth_mode"),
    ],
)
async def test_a_test_that_fails_names_what_is_wrong(
    tracker: Tracker, site: JiraCloud, params: dict[str, object], named: str
) -> None:
    answer = await tracker.ask("POST", TEST, trial(site.url, **params), 400)
    assert list(answer["params"]) == [named], answer


async def test_a_test_with_a_connector_uses_its_secret(tracker: Tracker, site: JiraCloud) -> None:
    connector = await tracker.connector(
        issue_tracker_server=site.url, issue_tracker_user="username", issue_tracker_pass="password"
    )
    params = {"issue_tracker_project": "rally_project", "issue_tracker_pass": "********"}
    body = {"alias": "x", "connector": connector["id"], "system": "jira", "params": params}
    assert await tracker.ask("POST", TEST, body) == {"success": True}


# Connectors.


async def test_a_connector_is_the_view_of_a_credential(tracker: Tracker) -> None:
    made = await tracker.connector(some_option=5)
    assert made == {
        "id": 1,
        "name": "Bugs",
        "system": {"id": "jira", "short_name": "JIRA", "name": "JIRA"},
        "inaccessible": False,
        "params": {
            "issue_tracker_server": "bugs.server.co",
            "issue_tracker_method": "https",
            "issue_tracker_auth_mode": "basic",
            "issue_tracker_user": "Sindy",
            "issue_tracker_pass": "********",
            "issue_tracker_validate_cert": True,
            "some_option": 5,
        },
    }
    native = await tracker.api.get("/v1/credentials/1")
    assert (native["name"], native["kind"], native["username"]) == ("Bugs", "basic", "Sindy")
    assert await tracker.ask("GET", CONNECTORS + "1/") == made
    elsewhere = await tracker.api.credential(system="azure", kind="pat", username=None)
    every = (await tracker.ask("GET", CONNECTORS))["results"]
    assert [one["id"] for one in every] == [1, elsewhere["id"]]
    assert every[1]["params"]["issue_tracker_server"] == ""


async def test_changing_a_connector_keeps_what_is_not_spoken_of(tracker: Tracker) -> None:
    made = await tracker.connector()
    path = f"{CONNECTORS}{made['id']}/"
    sent = {"name": "New", "params": made["params"], "system": made["system"]}
    assert await tracker.ask("PATCH", path, sent) == {**made, "name": "New"}
    assert await tracker.secret(made["id"]) == "a secret of the tests"
    await tracker.ask("PATCH", path, {"params": {"issue_tracker_pass": "another one"}})
    assert await tracker.secret(made["id"]) == "another one"


async def test_connections_go_with_their_connector_to_another_server(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"])
    mine = await tracker.connection(
        connector["id"], params={"issue_tracker_project": "A", "x_pass": "a secret"}
    )
    away = await tracker.connection(
        connector["id"], params={"issue_tracker_server": "away.server.co", "issue_tracker_project": "A"}
    )
    path = f"{CONNECTORS}{connector['id']}/"
    await tracker.ask("PATCH", path, {"params": {"issue_tracker_server": "new.server.co"}})
    urls = [(await tracker.native(one["id"]))["url"] for one in (made, mine, away)]
    assert urls == ["https://new.server.co", "https://new.server.co", "https://away.server.co"]
    assert (await tracker.get(made["id"]))["params"]["issue_tracker_project"] == "Example Project"


async def test_a_connector_in_use_is_not_deleted(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"])
    path = f"{CONNECTORS}{connector['id']}/"
    assert "used" in (await tracker.ask("DELETE", path, status=409))["detail"]
    await tracker.ask("DELETE", f"{PATH}{made['id']}/", status=204)
    await tracker.ask("DELETE", path, status=204)
    await tracker.ask("GET", path, status=404)


async def test_a_jenkins_connection_is_tested_and_synced(tracker: Tracker) -> None:
    async with JenkinsController(anonymous_read=True) as remote:
        remote.add_job("nightly")
        params = {"issue_tracker_server": remote.url, "issue_tracker_auth_mode": "anonymous"}
        body = {"name": "CI", "system": "jenkins", "params": params}
        connector = await tracker.ask("POST", CONNECTORS, body, 201)
        made = await tracker.connection(connector["id"], params={})
        assert await tracker.ask("POST", f"{PATH}{made['id']}/test/") == {"success": True}


async def test_a_secret_stays_with_the_server_that_it_was_given_for(
    tracker: Tracker, site: JiraCloud
) -> None:
    connector = await tracker.connector(
        issue_tracker_server=site.url, issue_tracker_user="username", issue_tracker_pass="password"
    )
    key = await tracker.key_with("write")
    async with JiraCloud() as other:
        other.add_account("username", "password")
        other.add_project("RALLY_PROJECT")
        params = {"issue_tracker_server": other.url, "issue_tracker_project": "rally_project"}
        body = {"alias": "x", "connector": connector["id"], "project": 1, "params": params}
        assert list(await tracker.ask("POST", PATH, body, 400, key)) == ["connector"]
        assert list(await tracker.ask("POST", TEST, {**body, "system": "jira"}, 400, key)) == ["connector"]
        path = f"{CONNECTORS}{connector['id']}/"
        assert list(await tracker.ask("PATCH", path, {"params": params}, 400, key)) == ["params"]
        assert other.requests() == []
        own = {**params, "issue_tracker_user": "username", "issue_tracker_pass": "password"}
        assert await tracker.ask("POST", TEST, {**body, "system": "jira", "params": own}, 200, key)
        await tracker.ask("POST", PATH, {**body, "params": own}, 201, key)
        await tracker.ask("PATCH", path, {"params": {**params, "issue_tracker_pass": "new"}}, key=key)
