"""Issue tracker connections: what is refused, how that is worded, and that nothing is half-made."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from store.database import Database
from tests.tracker import CONNECTORS, CREATE, PATH, TEST, Tracker, tracking

pytestmark = pytest.mark.sqlite_does


@pytest.fixture
async def tracker(database: Database) -> AsyncIterator[Tracker]:
    async with tracking(database) as client:
        await client.connector()
        yield client


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"project": 9}, "project"),
        ({"project": "x"}, "project"),
        ({"project": None}, "project"),
        ({"project": 0}, "project"),
        ({"project": True}, "project"),
        ({"connector": 9}, "connector"),
        ({"connector": 2**70}, "connector"),
        ({"connector": [1]}, "connector"),
        ({"alias": ""}, "alias"),
        ({"alias": 5}, "alias"),
        ({"alias": "x" * 201}, "alias"),
        ({"frequency": "yearly"}, "frequency"),
        ({"frequency": "every 15m"}, "frequency"),
        ({"frequency": 60}, "frequency"),
        ({"debug_mode": "yes"}, "debug_mode"),
        ({"params": None}, "params"),
        ({"params": []}, "params"),
        ({"params": "issue_tracker_project=TG"}, "params"),
    ],
)
async def test_what_does_not_fit_is_named_by_its_field(
    tracker: Tracker, values: dict[str, object], field: str
) -> None:
    before = await tracker.counted()
    answer = await tracker.ask("POST", PATH, {**CREATE, **values}, 400)
    assert list(answer) == [field]
    assert all(isinstance(message, str) for message in answer[field])
    assert await tracker.counted() == before


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"issue_tracker_server": "not a host"}, "issue_tracker_server"),
        ({"issue_tracker_server": "me:secret@host"}, "issue_tracker_server"),
        ({"issue_tracker_server": "host:port"}, "issue_tracker_server"),
        ({"issue_tracker_server": 5}, "issue_tracker_server"),
        ({"issue_tracker_method": "ftp"}, "issue_tracker_method"),
        ({"issue_tracker_project": 5}, "issue_tracker_project"),
        ({"issue_tracker_validate_cert": "yes"}, "issue_tracker_validate_cert"),
        ({"sde_min_priority": "7"}, "sde_min_priority"),
        ({"issue_tracker_auth_mode": "magic", "issue_tracker_pass": "secret"}, "issue_tracker_auth_mode"),
        ({"issue_tracker_user": "a:b", "issue_tracker_pass": "secret"}, "issue_tracker_user"),
        ({"issue_tracker_pass": "with\nbreak"}, "issue_tracker_pass"),
    ],
)
async def test_a_parameter_that_does_not_fit_is_named(
    tracker: Tracker, params: dict[str, object], field: str
) -> None:
    body = {**CREATE, "params": {"issue_tracker_project": "TG", **params}}
    before = await tracker.counted()
    answer = await tracker.ask("POST", PATH, body, 400)
    assert list(answer) == ["params"]
    assert list(answer["params"]) == [field]
    assert await tracker.counted() == before
    made = await tracker.connection(1)
    unchanged = await tracker.native(made["id"])
    await tracker.change(made["id"], {"params": params}, 400)
    assert await tracker.native(made["id"]) == unchanged


@pytest.mark.parametrize("field", ["alias", "connector", "project", "params"])
async def test_a_missing_field_is_named(tracker: Tracker, field: str) -> None:
    body = {name: value for name, value in CREATE.items() if name != field}
    assert list(await tracker.ask("POST", PATH, body, 400)) == [field]


async def test_a_credential_that_was_made_first_is_not_left_behind(tracker: Tracker) -> None:
    before = await tracker.counted()
    params = {"issue_tracker_pass": "secret", "issue_tracker_server": "bugs.server.co/browse/TG-1"}
    await tracker.ask("POST", PATH, {**CREATE, "params": {"issue_tracker_project": "A", **params}}, 400)
    assert await tracker.counted() == before


async def test_a_failed_change_leaves_credential_and_connection_as_they_were(tracker: Tracker) -> None:
    made = await tracker.connection(1, params={"issue_tracker_project": "A", "issue_tracker_pass": "first"})
    native = await tracker.native(made["id"])
    params = {"issue_tracker_pass": "second", "issue_tracker_server": "bugs.server.co/browse/TG-1"}
    await tracker.change(made["id"], {"params": params}, 400)
    assert await tracker.native(made["id"]) == native
    assert await tracker.secret(native["credential_id"]) == "first"


async def test_another_system_takes_another_connection(tracker: Tracker) -> None:
    made = await tracker.connection(1)
    other = await tracker.connector(system="rally")
    answer = await tracker.change(made["id"], {"connector": other["id"]}, 400)
    assert list(answer) == ["connector"]
    assert list(
        await tracker.ask("PATCH", f"{CONNECTORS}{other['id']}/", {"system": {"id": "jira"}}, 400)
    ) == ["system"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"system": {"id": "jira"}, "params": {}}, "name"),
        ({"name": "x", "params": {}}, "system"),
        ({"name": "x", "system": {"id": "jira"}}, "params"),
        ({"name": "x", "system": {"id": "jira"}, "params": {}, "connector": 9}, "connector"),
        ({"name": "x", "system": {"id": "jira"}, "params": {}, "connector": "x"}, "connector"),
        ({"name": "x", "system": {}, "params": {}}, "system"),
        ({"name": "x", "system": "no such thing", "params": {}}, "system"),
        ({"name": "x", "system": {"id": "jira"}, "params": {}}, "params"),
        ({"name": "x", "system": {"id": "azure"}, "params": {}, "connector": 1}, "connector"),
    ],
)
async def test_a_test_of_what_cannot_be_is_refused(
    tracker: Tracker, body: dict[str, Any], field: str
) -> None:
    given = {"issue_tracker_server": "dev.azure.com/company"} if body.get("system") == {"id": "azure"} else {}
    sent = {**body, "params": {**body["params"], **given}} if "params" in body else body
    assert list(await tracker.ask("POST", TEST, sent, 400)) == [field]


async def test_a_test_in_an_unknown_project_is_refused(tracker: Tracker) -> None:
    params = {"issue_tracker_server": "bugs.server.co", "issue_tracker_project": "A"}
    body = {"name": "x", "system": {"id": "jira"}, "params": params, "project": 9}
    assert list(await tracker.ask("POST", TEST, body, 400)) == ["project"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("POST", PATH),
        ("GET", PATH + "1/"),
        ("PATCH", PATH + "1/"),
        ("DELETE", PATH + "1/"),
        ("POST", PATH + "1/test/"),
        ("POST", PATH + "1/sync/"),
        ("POST", TEST),
        ("GET", CONNECTORS),
        ("POST", CONNECTORS),
        ("GET", CONNECTORS + "1/"),
        ("PATCH", CONNECTORS + "1/"),
        ("DELETE", CONNECTORS + "1/"),
    ],
)
async def test_without_a_right_key_nothing_is_told(tracker: Tracker, method: str, path: str) -> None:
    for key in (None, "wrong"):
        answer = await tracker.ask(method, path, {} if method in ("POST", "PATCH") else None, 401, key)
        assert list(answer) == ["detail"]


async def test_a_key_that_only_reads_changes_nothing_and_sees_no_parameters(tracker: Tracker) -> None:
    made = await tracker.connection(1)
    key = await tracker.key_with("read")
    path = f"{PATH}{made['id']}/"
    before = await tracker.counted()
    for method, where, body in (
        ("POST", PATH, CREATE),
        ("PATCH", path, {"alias": "x"}),
        ("DELETE", path, None),
        ("POST", path + "test/", None),
        ("POST", path + "sync/", None),
        ("POST", TEST, {}),
        ("POST", CONNECTORS, {}),
        ("PATCH", CONNECTORS + "1/", {}),
        ("DELETE", CONNECTORS + "1/", None),
    ):
        assert "permission" in (await tracker.ask(method, where, body, 403, key))["detail"]
    assert await tracker.counted() == before
    for shown in (
        await tracker.ask("GET", path, key=key),
        (await tracker.ask("GET", PATH, key=key))["results"][0],
        await tracker.ask("GET", CONNECTORS + "1/", key=key),
    ):
        assert "params" not in shown


async def test_a_key_of_one_project_sees_and_makes_only_what_is_in_it(tracker: Tracker) -> None:
    mine = await tracker.connection(1, 1)
    other = await tracker.connection((await tracker.connector("Second"))["id"], 2)
    key = await tracker.key_with("write", projects=[1])
    assert [one["id"] for one in (await tracker.ask("GET", PATH, key=key))["results"]] == [mine["id"]]
    assert list(await tracker.ask("GET", PATH + "?project=2", status=400, key=key)) == ["project"]
    path = f"{PATH}{other['id']}/"
    for method, where in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", path + "test/"),
        ("POST", path + "sync/"),
    ):
        assert await tracker.ask(method, where, {} if method == "PATCH" else None, 404, key) == {
            "detail": "Not found."
        }
    before = await tracker.counted()
    assert list(await tracker.ask("POST", PATH, {**CREATE, "project": 2}, 400, key)) == ["project"]
    assert list(await tracker.ask("POST", PATH, {**CREATE, "connector": 2}, 400, key)) == ["connector"]
    moved = await tracker.ask("PATCH", f"{PATH}{mine['id']}/", {"project": 2}, 400, key)
    assert list(moved) == ["project"]
    assert await tracker.counted() == before
    await tracker.ask("GET", CONNECTORS, status=403, key=key)


async def test_a_key_of_one_project_gives_a_connection_a_secret_of_its_own(tracker: Tracker) -> None:
    await tracker.connection(1, 1)
    key = await tracker.key_with("write", projects=[1])
    params = {"issue_tracker_project": "A", "issue_tracker_pass": "secret"}
    made = await tracker.ask("POST", PATH, {**CREATE, "params": params}, 201, key)
    assert await tracker.secret((await tracker.native(made["id"]))["credential_id"]) == "secret"
    body = {"params": {"issue_tracker_pass": "another"}, "alias": "x"}
    await tracker.ask("PATCH", f"{PATH}{made['id']}/", body, key=key)
    assert await tracker.secret((await tracker.native(made["id"]))["credential_id"]) == "another"
    await tracker.ask("DELETE", f"{PATH}{made['id']}/", status=204, key=key)
    assert [one["id"] for one in (await tracker.ask("GET", CONNECTORS))["results"]] == [1]


@pytest.mark.parametrize("which", ["x", "0", "99", "1.5", "99999999999999999999"])
async def test_what_is_no_connection_is_not_found(tracker: Tracker, which: str) -> None:
    assert await tracker.ask("GET", f"{PATH}{which}/", status=404) == {"detail": "Not found."}
    assert await tracker.ask("GET", f"{CONNECTORS}{which}/", status=404) == {"detail": "Not found."}


async def test_a_body_that_is_not_json_is_told_in_a_sentence(tracker: Tracker) -> None:
    api = tracker.api
    async with api.http.post(
        api.url + PATH, data=b"{", headers={"Content-Type": "application/json"}
    ) as answer:
        assert (answer.status, list(await answer.json())) == (400, ["detail"])


async def test_a_draft_is_neither_synced_nor_tested(tracker: Tracker) -> None:
    rally = await tracker.connector(system="rally")
    made = await tracker.connection(rally["id"])
    path = f"{PATH}{made['id']}/"
    assert "draft" in (await tracker.ask("POST", path + "sync/", status=409))["detail"]
    answer = await tracker.ask("POST", path + "test/", status=400)
    assert answer["success"] is False
    assert "rally" in answer["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "system": {"id": "jira"}, "params": {}}, "name"),
        ({"system": {"id": "jira"}, "params": {}}, "name"),
        ({"name": "x", "system": {"id": "Not One!"}, "params": {}}, "system"),
        ({"name": "x", "system": {"id": "jira"}, "params": {}}, "params"),
        (
            {
                "name": "x",
                "system": "jira",
                "params": {"issue_tracker_pass": "s", "issue_tracker_server": "a b"},
            },
            "params",
        ),
    ],
)
async def test_a_connector_that_cannot_be_is_refused(
    tracker: Tracker, body: dict[str, object], field: str
) -> None:
    before = await tracker.counted()
    assert list(await tracker.ask("POST", CONNECTORS, body, 400)) == [field]
    assert await tracker.counted() == before
