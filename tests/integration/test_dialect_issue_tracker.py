"""Issue tracker connections: what their document shows, sent as printed and answered in its shape."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from store.database import Database
from tests.shapes import assert_shape
from tests.tracker import CREATE, PATH, TEST, Tracker, tracking
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.sqlite_does

#: The answer that the document shows for a list, with names of our own.
LISTED: dict[str, Any] = {
    "id": 1,
    "alias": "Stories",
    "system": {"id": "rally", "short_name": "Agile", "name": "Agile Central"},
    "frequency": "manually",
    "command": "sync_rally",
    "debug_mode": False,
    "params": {
        "sde_project": "One",
        "issue_tracker_auth_mode": "basic",
        "issue_tracker_user": "ana",
        "sde_verification_filter": "none,partial,pass,fail",
        "rally_workspace": "Workspace",
        "issue_tracker_method": "https",
        "issue_tracker_validate_cert": True,
        "issue_tracker_title_format": "$task_id $title",
        "issue_tracker_server": "rally1.rallydev.com",
        "sde_businessunit": "General",
        "sde_application": "Shop",
        "issue_tracker_project": "Stories",
        "issue_tracker_pass": "********",
        "issue_tracker_phases": "requirements,architecture-design,development",
        "sde_statuses_in_scope": "TODO",
        "conflict_policy": "issue_tracker",
        "sde_min_priority": 7,
        "issue_tracker_reference_context": 14,
    },
    "inaccessible": False,
    "in_progress": False,
    "connector": 2,
    "project": 1,
}
#: The same of Jira, as the answer to making one.
MADE: dict[str, Any] = {
    **{name: value for name, value in LISTED.items() if name != "in_progress"},
    "system": {"id": "jira", "name": "JIRA", "short_name": "JIRA"},
    "params": {
        **{name: value for name, value in LISTED["params"].items() if name != "rally_workspace"},
        "jira_version": "5",
        "issue_tracker_parent_issue": "Parent",
        "session_capture_socket": "/somewhere",
    },
}
JOB = {
    "succeeded": False,
    "last_run": "2016-12-15T22:45:27.412Z",
    "result_message": "text",
    "user": 3,
    "triggered_by": 1,
    "ready": True,
    "automatic": False,
    "id": 4,
}


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


# The document's own requests.


async def test_the_list_has_the_documents_shape(tracker: Tracker) -> None:
    await tracker.connector()
    rally = await tracker.connector(system="rally", issue_tracker_server="rally1.rallydev.com")
    await tracker.connection(rally["id"])
    answer = await tracker.ask("GET", PATH)
    assert_shape(answer, {"results": [LISTED]})
    assert "last_job" not in answer["results"][0]
    assert await tracker.ask("GET", PATH.rstrip("/")) == answer


async def test_the_last_job_is_there_when_asked_for(tracker: Tracker, site: JiraCloud) -> None:
    made = await tracker.at_site(site)
    await tracker.api.synced(made["id"])
    params = {
        **{name: value for name, value in LISTED["params"].items() if name != "rally_workspace"},
        "last_successful_run": "2019-11-28T20:22:32.588388+00:00",
    }
    example = {**LISTED, "params": params, "last_job": JOB}
    assert_shape(await tracker.ask("GET", PATH + "?include=last_job"), {"results": [example]})


async def test_one_connection_has_the_documents_shape(tracker: Tracker) -> None:
    rally = await tracker.connector(system="rally")
    made = await tracker.connection(rally["id"])
    answer = await tracker.ask("GET", f"{PATH}{made['id']}/")
    assert_shape(answer, {name: value for name, value in LISTED.items() if name != "in_progress"})
    assert await tracker.ask("GET", f"{PATH}{made['id']}") == answer


async def test_making_one_is_answered_in_the_documents_shape(tracker: Tracker) -> None:
    await tracker.connector()
    answer = await tracker.ask("POST", PATH, CREATE, 201)
    assert_shape(answer, MADE)
    assert (answer["alias"], answer["frequency"], answer["debug_mode"]) == (
        "Example Connection",
        "hourly",
        True,
    )
    assert answer["system"] == {"id": "jira", "short_name": "JIRA", "name": "JIRA"}
    shown = answer["params"]
    assert shown["sde_project"] == "Project 1"
    assert shown["issue_tracker_server"] == "bugs.server.co"
    assert shown["issue_tracker_project"] == "Example Project"
    assert shown["issue_tracker_parent_issue"] == "Parent"
    assert shown["issue_tracker_user"] == "Sindy"
    assert shown["issue_tracker_pass"] == "********"


async def test_changing_one_is_answered_in_the_documents_shape(tracker: Tracker) -> None:
    await tracker.connector()
    await tracker.ask("POST", PATH, CREATE, 201)
    change = {
        "alias": "Example Connection Updated Name",
        "connector": 1,
        "project": 1,
        "frequency": "manually",
        "params": {"issue_tracker_project": "Project Name"},
    }
    answer = await tracker.ask("PATCH", PATH + "1/", change)
    without = {name: value for name, value in MADE["params"].items() if name != "session_capture_socket"}
    assert_shape(answer, {**MADE, "params": without})
    assert answer["params"]["issue_tracker_project"] == "Project Name"
    assert answer["params"]["issue_tracker_parent_issue"] == "Parent"
    assert (answer["alias"], answer["frequency"]) == ("Example Connection Updated Name", "manually")


async def test_deleting_one_is_answered_as_printed(tracker: Tracker) -> None:
    await tracker.connector()
    await tracker.ask("POST", PATH, CREATE, 201)
    assert await tracker.ask("DELETE", PATH + "1/", status=204) is None
    assert await tracker.ask("GET", PATH + "1/", status=404) == {"detail": "Not found."}
    assert await tracker.ask("DELETE", PATH + "1/", status=404) == {"detail": "Not found."}


def tried(server: str, system: str) -> dict[str, Any]:
    """The printed test, sent to a server of our own."""
    return {
        "connector": 2,
        "alias": "Issue Tracker Test",
        "project": 2,
        "system": {"id": system},
        "params": {
            "issue_tracker_server": server,
            "issue_tracker_auth_mode": "basic",
            "issue_tracker_user": "username",
            "issue_tracker_pass": "password",
            "issue_tracker_project": "rally_project",
            "issue_tracker_validate_cert": True,
        },
    }


async def test_the_printed_test_succeeds_at_a_jira(tracker: Tracker, site: JiraCloud) -> None:
    await tracker.connector()
    await tracker.connector("other")
    before = await tracker.counted()
    assert await tracker.ask("POST", TEST, tried(site.url, "jira")) == {"success": True}
    after = await tracker.counted()
    assert after[:2] == before[:2]
    assert_shape(await tracker.ask("POST", TEST.rstrip("/"), tried(site.url, "jira")), {"success": True})


async def test_the_printed_test_of_a_system_without_adapter_says_which_can_be_tested(
    tracker: Tracker,
) -> None:
    await tracker.connector()
    await tracker.connector("other", system="rally")
    answer = await tracker.ask("POST", TEST, tried("server.rallydev.com", "rally"), 400)
    assert "azure, jenkins, jira" in answer["system"][0]
