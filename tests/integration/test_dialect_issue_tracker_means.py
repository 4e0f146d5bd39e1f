"""Issue tracker connections: what fields mean, where they come from, and what other doors see of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event

from adapters.http import utc_now
from scheduler.dispatch import Request
from store.database import Database
from tests.tracker import CONNECTORS, PATH, Tracker, tracking
from tidegate.demo.remotes.jira import JiraCloud


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


async def listed(tracker: Tracker, query: str = "") -> list[Any]:
    results: list[Any] = (await tracker.ask("GET", PATH + query))["results"]
    return results


# Where a connection reads.


async def test_a_jira_connection_reads_the_project_and_the_parent_issue_that_are_named(
    tracker: Tracker,
) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"])
    native = await tracker.native(made["id"])
    assert (native["system"], native["url"]) == ("jira", "https://bugs.server.co")
    assert native["params"] == {"jql": 'project = "Example Project" AND parent = "Parent"'}
    assert (native["credential_id"], native["project_id"]) == (connector["id"], 1)


async def test_a_project_with_quotes_in_its_name_is_that_project_and_no_query(tracker: Tracker) -> None:
    connector = await tracker.connector()
    name = 'a" OR project = "b\\'
    made = await tracker.connection(connector["id"], params={"issue_tracker_project": name})
    native = await tracker.native(made["id"])
    assert native["params"] == {"jql": 'project = "a\\" OR project = \\"b\\\\"'}
    assert made["params"]["issue_tracker_project"] == name


async def test_a_project_at_azure_is_read_alone(tracker: Tracker) -> None:
    connector = await tracker.connector(
        system="tfs", issue_tracker_server="https://dev.azure.com/company", issue_tracker_auth_mode="pat"
    )
    assert connector["system"]["id"] == "azure"
    made = await tracker.connection(connector["id"], params={"issue_tracker_project": "newtwitterclone"})
    native = await tracker.native(made["id"])
    assert (native["url"], native["params"]) == (
        "https://dev.azure.com/company",
        {"project": "newtwitterclone"},
    )
    assert made["params"]["issue_tracker_server"] == "dev.azure.com/company"
    assert made["params"]["issue_tracker_project"] == "newtwitterclone"
    assert made["command"] == "sync_azure"


async def test_a_job_of_a_jenkins_is_its_project(tracker: Tracker) -> None:
    connector = await tracker.connector(
        system="jenkins", issue_tracker_server="http://ci.example.com/jenkins"
    )
    made = await tracker.connection(connector["id"], params={"issue_tracker_project": "team/nightly run"})
    assert (await tracker.native(made["id"]))["url"] == (
        "http://ci.example.com/jenkins/job/team/job/nightly%20run"
    )
    shown = made["params"]
    assert (shown["issue_tracker_method"], shown["issue_tracker_server"]) == (
        "http",
        "ci.example.com/jenkins",
    )
    assert shown["issue_tracker_project"] == "team/nightly run"


async def test_a_connection_of_a_system_without_adapter_is_a_draft(tracker: Tracker) -> None:
    connector = await tracker.connector(system="rally")
    params = {"issue_tracker_project": "Stories", "rally_workspace": "Ours"}
    made = await tracker.connection(connector["id"], params=params, frequency="hourly")
    assert {**made["params"], **params} == made["params"]
    native = await tracker.native(made["id"])
    assert (native["health"], native["cause"], native["next_due_at"]) == ("pending", "incomplete", None)


async def test_a_jira_connection_without_a_project_is_a_draft_until_it_has_one(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"], params={})
    assert (await tracker.native(made["id"]))["cause"] == "incomplete"
    assert made["params"]["issue_tracker_server"] == "bugs.server.co"
    await tracker.change(made["id"], {"params": {"issue_tracker_project": "TG"}})
    native = await tracker.native(made["id"])
    assert (native["url"], native["cause"]) == ("https://bugs.server.co", None)


async def test_the_server_among_the_parameters_outdoes_that_of_the_connector(tracker: Tracker) -> None:
    connector = await tracker.connector()
    params = {"issue_tracker_server": "other.server.co:8443/jira", "issue_tracker_method": "http"}
    made = await tracker.connection(connector["id"], params={**params, "issue_tracker_project": "TG"})
    assert (await tracker.native(made["id"]))["url"] == "http://other.server.co:8443/jira"
    assert {**made["params"], **params} == made["params"]


async def test_a_credential_made_elsewhere_needs_a_server_beside_it(tracker: Tracker) -> None:
    credential = await tracker.api.credential(system="jira")
    draft = await tracker.connection(credential["id"], params={"issue_tracker_project": "TG"})
    assert (await tracker.native(draft["id"]))["url"] is None
    there = {"issue_tracker_server": "bugs.server.co", "issue_tracker_project": "TG"}
    made = await tracker.connection(credential["id"], params=there)
    assert (await tracker.native(made["id"]))["url"] == "https://bugs.server.co"


# Made elsewhere.


async def made_elsewhere(tracker: Tracker, **values: object) -> Any:
    credential = await tracker.api.credential(system="jira", username="ana")
    body = {
        "name": "Elsewhere",
        "system": "jira",
        "url": "https://bugs.server.co/issues/?filter=12345",
        "credential_id": credential["id"],
        "project_id": 1,
        "frequency": "every 15m",
        "params": {"since": "2026-01-01"},
    }
    return await tracker.api.post("/v1/connections", {**body, **values})


async def test_one_made_elsewhere_is_shown_as_it_is(tracker: Tracker) -> None:
    made = await made_elsewhere(tracker)
    shown = await tracker.get(made["id"])
    assert (shown["alias"], shown["frequency"], shown["project"]) == ("Elsewhere", "every 15m", 1)
    assert shown["connector"] == made["credential_id"]
    assert shown["params"]["issue_tracker_server"] == "bugs.server.co"
    assert shown["params"]["issue_tracker_project"] == "filter=12345"
    assert shown["params"]["issue_tracker_user"] == "ana"
    assert [one["id"] for one in await listed(tracker)] == [made["id"]]


async def test_sending_back_what_was_read_changes_nothing(tracker: Tracker) -> None:
    made = await made_elsewhere(tracker)
    read = await tracker.get(made["id"])
    sent = {name: value for name, value in read.items() if name not in ("id", "system", "command")}
    assert await tracker.change(made["id"], sent) == read
    after = await tracker.native(made["id"])
    assert {**made, "updated_at": after["updated_at"], "next_due_at": after["next_due_at"]} == after
    assert (await tracker.api.get("/v1/credentials"))["next"] is None
    assert len((await tracker.api.get("/v1/credentials"))["credentials"]) == 1


@pytest.mark.parametrize(
    "jql", ["project in (A, B) OR assignee = ana", 'project = "A B" AND parent = A-1', "filter = 7"]
)
async def test_another_server_keeps_the_query_that_was_made_elsewhere(tracker: Tracker, jql: str) -> None:
    made = await made_elsewhere(tracker, url="https://bugs.server.co", params={"jql": jql})
    await tracker.change(made["id"], {"params": {"issue_tracker_server": "new.server.co"}})
    after = await tracker.native(made["id"])
    assert after["url"] == "https://new.server.co"
    asked = after["params"].get("jql") or f"filter = {after['params']['filter']}"
    assert asked.replace('"', "") == jql.replace('"', "")


async def test_another_project_takes_the_place_of_a_filter_and_leaves_the_rest(tracker: Tracker) -> None:
    made = await made_elsewhere(tracker)
    await tracker.change(made["id"], {"params": {"issue_tracker_project": "TG"}})
    after = await tracker.native(made["id"])
    assert (after["url"], after["params"]) == (
        "https://bugs.server.co",
        {"since": "2026-01-01", "jql": 'project = "TG"'},
    )


async def test_what_is_changed_elsewhere_is_seen_here(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"])
    news = {"name": "New", "url": "https://new.server.co/browse/NEW", "params": {}, "frequency": "daily"}
    await tracker.api.patch(f"/v1/connections/{made['id']}", {**news, "debug": False, "project_id": 2})
    shown = await tracker.get(made["id"])
    assert (shown["alias"], shown["frequency"], shown["debug_mode"]) == ("New", "daily", False)
    assert (shown["project"], shown["params"]["sde_project"]) == (2, "Project 2")
    assert shown["params"]["issue_tracker_server"] == "new.server.co"
    assert shown["params"]["issue_tracker_project"] == "NEW"
    assert "issue_tracker_parent_issue" not in shown["params"]


async def test_a_connection_of_the_account_is_in_no_list_and_has_no_project(tracker: Tracker) -> None:
    made = await made_elsewhere(tracker, project_id=None)
    assert await listed(tracker) == []
    shown = await tracker.get(made["id"])
    assert (shown["project"], shown["params"]["sde_project"]) == (None, "")


async def test_what_other_clients_keep_with_a_connection_stays(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"], params={"sde_min_priority": 9, "note": [1, None]})
    assert (made["params"]["sde_min_priority"], made["params"]["note"]) == (9, [1, None])
    await tracker.change(made["id"], {"params": {"sde_min_priority": 3}})
    shown = await tracker.change(made["id"], {"alias": "New"})
    assert (shown["params"]["sde_min_priority"], shown["params"]["note"]) == (3, [1, None])
    gone = await tracker.change(made["id"], {"params": {"note": None}})
    assert "note" not in gone["params"]


# Jobs, frequencies, health.


async def test_the_last_successful_run_is_there_after_the_first_success(
    tracker: Tracker, site: JiraCloud
) -> None:
    site.seed(5)
    made = await tracker.at_site(site)
    assert "last_successful_run" not in made["params"]
    before = utc_now()
    await tracker.api.synced(made["id"])
    shown = await tracker.get(made["id"])
    assert shown["params"]["last_successful_run"][:10] >= before.isoformat()[:10]
    assert shown["params"]["last_successful_run"].endswith("+00:00")
    native = await tracker.native(made["id"])
    assert shown["params"]["last_successful_run"][:23] == native["last_success_at"][:23]


async def test_a_job_says_who_asked_for_it_and_how_it_ended(tracker: Tracker, site: JiraCloud) -> None:
    made = await tracker.at_site(site)
    key = await tracker.key_with("write")
    path = f"{PATH}{made['id']}/"
    assert (await tracker.get(made["id"], "?include=last_job"))["last_job"] is None
    queued = await tracker.ask("POST", path + "sync/", status=202, key=key)
    assert (queued["ready"], queued["succeeded"]) == (False, False)
    assert (await tracker.get(made["id"]))["in_progress"] is True
    await tracker.api.house.work(queued["id"])
    shown = await tracker.get(made["id"], "?include=other,last_job")
    job = shown["last_job"]
    assert (job["id"], job["succeeded"], job["ready"]) == (queued["id"], True, True)
    assert (job["triggered_by"], job["automatic"], job["user"]) == (1, False, 1)
    assert job["result_message"].startswith("issues: ")
    assert shown["in_progress"] is False
    sync = await tracker.api.get(f"/v1/syncs/{job['id']}")
    assert job["last_run"] == sync["finished_at"]


async def test_the_last_job_is_the_last_that_ended_and_tells_its_error(
    tracker: Tracker, site: JiraCloud
) -> None:
    made = await tracker.at_site(site)
    await tracker.api.synced(made["id"])
    site.revoke("password")
    failed = await tracker.api.house.sync(made["id"], Request("schedule"))
    await tracker.api.house.open(made["id"])
    shown = await tracker.get(made["id"], "?include=last_job")
    assert shown["last_job"]["id"] == failed.id
    assert (shown["last_job"]["succeeded"], shown["last_job"]["automatic"]) == (False, True)
    assert (shown["last_job"]["triggered_by"], shown["last_job"]["user"]) == (2, 0)
    assert failed.error is not None
    assert failed.error.message in shown["last_job"]["result_message"]
    assert (shown["in_progress"], shown["inaccessible"]) == (True, True)
    connectors = (await tracker.ask("GET", CONNECTORS))["results"]
    assert [one["inaccessible"] for one in connectors] == [True]
    # Later than the failure, what succeeded once is still told.
    assert "last_successful_run" in shown["params"]


async def test_it_syncs_at_its_frequency_and_not_when_manually(tracker: Tracker) -> None:
    connector = await tracker.connector()
    body = {
        "alias": "x",
        "connector": connector["id"],
        "project": 1,
        "params": {"issue_tracker_project": "A"},
    }
    made = await tracker.ask("POST", PATH, body, 201)
    assert made["frequency"] == "manually"
    assert (await tracker.native(made["id"]))["next_due_at"] is None
    for frequency in ("hourly", "daily", "weekly", "monthly"):
        changed = await tracker.change(made["id"], {"frequency": frequency})
        assert changed["frequency"] == frequency
        assert (await tracker.native(made["id"]))["next_due_at"] is not None


async def test_debug_mode_is_the_debug_of_the_connection(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"], debug_mode=True)
    assert (await tracker.native(made["id"]))["debug"] is True
    log = await tracker.api.get(made["params"]["session_capture_socket"])
    assert log["next"] is None
    await tracker.change(made["id"], {"debug_mode": False})
    assert (await tracker.native(made["id"]))["debug"] is False


# Lists.


async def test_the_list_is_filtered_by_project(tracker: Tracker) -> None:
    connector = await tracker.connector()
    first = await tracker.connection(connector["id"], 1)
    second = await tracker.connection(connector["id"], 2)
    assert [one["id"] for one in await listed(tracker)] == [first["id"], second["id"]]
    assert [one["id"] for one in await listed(tracker, "?project=2")] == [second["id"]]
    assert len(await listed(tracker, "?project=")) == 2
    for unknown in ("9", "x", "0", "-1"):
        answer = await tracker.ask("GET", f"{PATH}?project={unknown}", status=400)
        assert list(answer) == ["project"]


async def test_the_list_comes_in_pages_when_asked_for(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = [(await tracker.connection(connector["id"]))["id"] for _ in range(5)]
    first = await tracker.ask("GET", PATH + "?page_size=2&project=1")
    assert ([one["id"] for one in first["results"]], first["count"]) == (made[:2], 5)
    assert first["previous"] is None
    assert "project=1" in first["next"]
    assert first["next"].endswith("page=2")
    last = await tracker.ask("GET", PATH + "?page=3&page_size=2")
    assert ([one["id"] for one in last["results"]], last["next"]) == (made[4:], None)
    await tracker.ask("GET", PATH + "?page=4&page_size=2", status=404)
    await tracker.ask("GET", PATH + "?page=0", status=400)


async def test_a_long_list_takes_no_more_statements_than_a_short_one(tracker: Tracker) -> None:
    connector = await tracker.connector()
    statements: list[str] = []

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    engine, counts = tracker.api.context.database.engine.sync_engine, []
    for _ in range(3):
        await tracker.connection(connector["id"])
        params = {"issue_tracker_project": "A", "issue_tracker_pass": "another secret"}
        await tracker.connection(connector["id"], params=params)
        statements.clear()
        event.listen(engine, "before_cursor_execute", count)
        await listed(tracker, "?include=last_job")
        event.remove(engine, "before_cursor_execute", count)
        counts.append(len([one for one in statements if "FROM" in one]))
    assert counts == [counts[0]] * 3
