"""Issue tracker connections: secrets among parameters go in, and never out."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from store.database import Database
from store.schema import metadata
from tests.tracker import CONNECTORS, PATH, Tracker, tracking

pytestmark = pytest.mark.sqlite_does

SECRET = "a secret given with the connection"


@pytest.fixture
async def tracker(database: Database) -> AsyncIterator[Tracker]:
    async with tracking(database) as client:
        yield client


async def own(tracker: Tracker, **params: object) -> tuple[Any, Any]:
    """A connection with a secret of its own, and its connector."""
    connector = await tracker.connector()
    given = {"issue_tracker_project": "TG", "issue_tracker_pass": SECRET, **params}
    return await tracker.connection(connector["id"], params=given), connector


async def test_a_secret_among_the_parameters_becomes_a_credential_of_its_own(tracker: Tracker) -> None:
    made, connector = await own(tracker)
    assert made["connector"] == connector["id"]
    assert made["params"]["issue_tracker_pass"] == "********"
    native = await tracker.native(made["id"])
    assert native["credential_id"] != connector["id"]
    assert await tracker.secret(native["credential_id"]) == SECRET
    credential = await tracker.api.get(f"/v1/credentials/{native['credential_id']}")
    assert (credential["system"], credential["kind"], credential["username"]) == ("jira", "basic", "Sindy")
    assert SECRET not in str([await tracker.ask("GET", path) for path in (PATH, CONNECTORS)])
    assert SECRET not in str(
        [await tracker.api.get(f"/v1/{kind}") for kind in ("connections", "credentials")]
    )


async def test_the_mask_keeps_the_secret_and_another_one_takes_its_place(tracker: Tracker) -> None:
    made, _ = await own(tracker)
    id_ = (await tracker.native(made["id"]))["credential_id"]
    await tracker.change(made["id"], {"params": {"issue_tracker_pass": "********"}})
    assert await tracker.secret(id_) == SECRET
    changed = await tracker.change(
        made["id"], {"params": {"issue_tracker_user": "ben", "issue_tracker_pass": "another secret"}}
    )
    assert changed["params"]["issue_tracker_user"] == "ben"
    assert (await tracker.native(made["id"]))["credential_id"] == id_
    assert await tracker.secret(id_) == "another secret"


async def test_a_secret_under_another_name_is_one_too_and_shown_as_a_mask(tracker: Tracker) -> None:
    connector = await tracker.connector()
    given = {"issue_tracker_project": "TG", "jira_api_token": SECRET, "issue_tracker_auth_mode": "pat"}
    made = await tracker.connection(connector["id"], params=given)
    assert made["params"]["jira_api_token"] == "********"
    assert made["params"]["issue_tracker_auth_mode"] == "pat"
    native = await tracker.native(made["id"])
    assert await tracker.secret(native["credential_id"]) == SECRET
    assert SECRET not in str(native)


@pytest.mark.parametrize(
    "params",
    [
        {"extra": {"password": SECRET}},
        {"extra": [{"deep": {"api_key": SECRET}}]},
        {"proxy": f"http://me:{SECRET.replace(' ', '-')}@proxy"},
        {"issue_tracker_pass": SECRET, "jira_api_token": "another"},
        {"issue_tracker_pass": 17},
    ],
)
async def test_a_secret_that_would_be_kept_in_clear_is_refused(
    tracker: Tracker, params: dict[str, object]
) -> None:
    connector = await tracker.connector()
    before = await tracker.counted()
    body = {"alias": "x", "connector": connector["id"], "project": 1, "params": params}
    answer = await tracker.ask("POST", PATH, body, 400)
    assert set(answer["params"]) <= set(params)
    assert SECRET not in str(answer)
    assert await tracker.counted() == before


async def test_another_user_without_a_secret_is_refused(tracker: Tracker) -> None:
    connector = await tracker.connector()
    made = await tracker.connection(connector["id"])
    answer = await tracker.change(made["id"], {"params": {"issue_tracker_user": "ben"}}, 400)
    assert list(answer["params"]) == ["issue_tracker_pass"]


async def test_another_connector_takes_the_place_of_a_credential_of_its_own(tracker: Tracker) -> None:
    made, _ = await own(tracker)
    id_ = (await tracker.native(made["id"]))["credential_id"]
    other = await tracker.connector("Other", issue_tracker_server="other.server.co")
    changed = await tracker.change(made["id"], {"connector": str(other["id"])})
    assert changed["connector"] == other["id"]
    native = await tracker.native(made["id"])
    assert (native["credential_id"], native["url"]) == (other["id"], "https://other.server.co")
    await tracker.ask("GET", f"{CONNECTORS}{id_}/", status=404)


async def test_deleting_a_connection_deletes_its_own_credential_unless_another_uses_it(
    tracker: Tracker,
) -> None:
    made, connector = await own(tracker)
    id_ = (await tracker.native(made["id"]))["credential_id"]
    other = await tracker.connection(id_, alias="Other", params={"issue_tracker_project": "TG"})
    await tracker.ask("DELETE", f"{PATH}{made['id']}/", status=204)
    await tracker.ask("GET", f"{CONNECTORS}{id_}/")
    again, _ = await own(tracker)
    mine = (await tracker.native(again["id"]))["credential_id"]
    await tracker.ask("DELETE", f"{PATH}{again['id']}/", status=204)
    await tracker.ask("GET", f"{CONNECTORS}{mine}/", status=404)
    await tracker.ask("GET", f"{CONNECTORS}{connector['id']}/")
    assert (await tracker.get(other["id"]))["connector"] == id_


async def test_a_credential_changed_through_another_door_is_the_connector_then(tracker: Tracker) -> None:
    made, _ = await own(tracker)
    other = await tracker.api.credential(system="jira")
    await tracker.api.patch(f"/v1/connections/{made['id']}", {"credential_id": other["id"]})
    assert (await tracker.get(made["id"]))["connector"] == other["id"]


async def test_no_table_holds_a_secret_in_clear(tracker: Tracker) -> None:
    made, _ = await own(tracker, jira_api_token=SECRET)
    await tracker.change(made["id"], {"params": {"jira_api_token": f"{SECRET}, changed"}})
    async with tracker.api.context.database.read() as connection:
        rows = [(await connection.execute(select(table))).all() for table in metadata.sorted_tables]
    assert "jira_api_token" in str(rows)
    assert SECRET not in str(rows)
