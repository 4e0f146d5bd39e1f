"""A client of SD Elements' API finds the integrations of its projects here, as its document shows them."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event

from store.database import Database
from store.schema import connections
from tests import house
from tests.api_server import ADMIN_KEY, DESCRIBED, Api, serving_api
from tests.shapes import assert_shape
from tests.shelf import Shelf

ALL, OF_ONE = "/api/v2/integrations/", "/api/v2/projects/1/integrations/"
ONE = {
    "id": 1,
    "project_id": 2,
    "system": "Rally",
    "alias": "Stories",
    "frequency": "manually",
    "command": "sync_rally",
    "type": "ALM",
}
PARAMS = {
    "sde_project": "Demo Project",
    "alm_user": "rally_user",
    "sde_verification_filter": "none,partial,pass,fail",
    "rally_workspace": "Rally Workspace",
    "alm_method": "https",
    "alm_title_format": "$task_id $title",
    "alm_server": "rally1.rallydev.com",
    "sde_businessunit": "General",
    "sde_application": "Demo Application",
    "alm_project": "Rally Project",
    "alm_pass": "rally_password",
    "alm_phases": "requirements,architecture-design,development",
    "sde_statuses_in_scope": "TODO",
    "conflict_policy": "alm",
    "sde_min_priority": 7,
}
#: The document's answers by path, whether with `include=params` or without.
EXAMPLES: dict[str, dict[str, Any]] = {
    ALL: ONE,
    OF_ONE: {name: value for name, value in ONE.items() if name != "project_id"},
}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    """Two projects: in the first a Rally draft and a Jira, in the other a Jenkins; one belongs to none."""
    async with serving_api(database, {**house.ADAPTERS, "shelf": Shelf}) as served:
        for name in ("Demo", "Other"):
            await served.post("/v1/projects", {"name": name, "key": name})
        credential = await served.credential(system="jira", username="me", secret="hunter2")
        jira = {"url": "jira.company.com/projects/TG", "credential_id": credential["id"]}
        await connection(served, name="Stories", system="rally", project_id=1)
        await connection(served, name="Bugs", system="jira", project_id=1, frequency="hourly", **jira)
        await connection(served, name="Builds", system="jenkins", project_id=2, frequency="every 15m")
        await connection(served, name="Bugs", system="azure")
        yield served


async def connection(api: Api, **values: object) -> Any:
    return await api.post("/v1/connections", {"frequency": "manually", **values})


async def ask(api: Api, path: str, key: str | None = ADMIN_KEY) -> tuple[int, Any]:
    """Status and JSON of a request with the headers of the document and no others."""
    headers = {"Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f'Token "{key}"'
    async with aiohttp.ClientSession() as http, http.get(api.url + path, headers=headers) as answer:
        told = await answer.json()
        assert answer.content_type == "application/json"
        described = path if path.partition("?")[0].endswith("/") else f"{path}/"
        assert DESCRIBED.wrong_with("GET", described, answer.status, answer.headers, told) is None
        return answer.status, told


async def results(api: Api, path: str, key: str = ADMIN_KEY) -> list[Any]:
    status, told = await ask(api, path, key)
    assert status == 200, told
    assert list(told) == ["results"]
    found: list[Any] = told["results"]
    return found


async def key_of(api: Api, *permissions: str, projects: list[int] | None = None) -> str:
    body = {"name": "team", "permissions": list(permissions), "projects": projects}
    return str((await api.post("/v1/keys", body))["key"])


@pytest.mark.parametrize("path", EXAMPLES)
async def test_each_example_is_answered_as_it_is_printed(api: Api, path: str) -> None:
    for asked in (path, path.rstrip("/")):
        status, told = await ask(api, asked)
        assert status == 200
        assert_shape(told, {"results": [EXAMPLES[path]]}, exact=True)


@pytest.mark.parametrize("path", EXAMPLES)
async def test_each_example_with_parameters_is_answered_as_it_is_printed(api: Api, path: str) -> None:
    status, told = await ask(api, f"{path}?include=params")
    assert status == 200
    rally = {**EXAMPLES[path], "params": PARAMS}
    other = {
        **EXAMPLES[path],
        "params": {name: value for name, value in PARAMS.items() if name != "rally_workspace"},
    }
    assert_shape(told["results"][0], rally)
    assert_shape(told, {"results": [other]})
    for one in told["results"]:
        assert set(one) == set(rally)


async def test_the_integrations_of_all_projects_are_those_that_are_in_one(api: Api) -> None:
    rally, jira, jenkins = await results(api, ALL)
    assert rally == {**ONE, "project_id": 1}
    assert jira == {
        "id": 2,
        "project_id": 1,
        "system": "Jira",
        "alias": "Bugs",
        "frequency": "hourly",
        "command": "sync_jira",
        "type": "ALM",
    }
    assert (jenkins["system"], jenkins["command"], jenkins["type"], jenkins["project_id"]) == (
        "Jenkins",
        "sync_jenkins",
        "Build System",
        2,
    )
    assert [one["id"] for one in await results(api, OF_ONE)] == [1, 2]
    assert [one["id"] for one in await results(api, "/api/v2/projects/2/integrations/")] == [3]


async def test_systems_have_the_names_that_clients_know(api: Api) -> None:
    for system in ("azure", "github_issues", "zendesk", "shelf", "my-ledger"):
        await connection(api, name=system, system=system, project_id=2)
    told = await results(api, "/api/v2/projects/2/integrations")
    assert [(one["system"], one["command"]) for one in told] == [
        ("Jenkins", "sync_jenkins"),
        ("Azure DevOps", "sync_azure"),
        ("GitHub Issues", "sync_github_issues"),
        ("Zendesk", "sync_zendesk"),
        ("Shelf", "sync_shelf"),
        ("My Ledger", "sync_my_ledger"),
    ]


FILTERS: list[tuple[str, list[int]]] = [
    ("alias=Bugs", [2]),
    ("alias=bugs", []),
    ("alias=Bug", []),
    ("frequency=manually", [1]),
    ("frequency=hourly", [2]),
    ("frequency=Every%2015%20minutes", [3]),
    ("frequency=weekly", []),
    ("system=Rally", [1]),
    ("system=jira", [2]),
    ("system=JENKINS", [3]),
    ("system=azure%20devops", [5]),
    ("system=azure", [5]),
    ("system=Nothing", []),
    ("type=ALM", [1, 2, 5]),
    ("type=Build%20System", [3]),
    ("type=Analysis%20Tool", []),
    ("type=alm", []),
    ("type=ALM&frequency=hourly&system=Jira&alias=Bugs", [2]),
    ("type=ALM&system=jenkins", []),
    ("alias=&frequency=&system=&type=&include=", [1, 2, 3, 5]),
    ("colour=green&page=2", [1, 2, 3, 5]),
    ("alias=null", []),
    ("system=jira&system=rally", [1]),
]


@pytest.mark.parametrize("include", ["", "&include=params"])
async def test_filters_are_exact_and_all_of_them_count(api: Api, include: str) -> None:
    await connection(api, name="Items", system="azure", project_id=2, frequency="daily")
    for query, ids in FILTERS:
        found = [one["id"] for one in await results(api, f"{ALL}?{query}{include}")]
        there = await results(api, f"/api/v2/projects/2/integrations/?{query}{include}")
        assert (query, found, [one["id"] for one in there]) == (query, ids, [n for n in ids if n > 2])


@pytest.mark.parametrize("path", [ALL, OF_ONE])
async def test_a_frequency_that_is_none_is_refused(api: Api, path: str) -> None:
    status, told = await ask(api, f"{path}?frequency=often")
    assert (status, list(told)) == (400, ["frequency"])
    assert "manually, hourly" in told["frequency"][0]


async def test_parameters_are_what_is_known_of_the_connection(api: Api) -> None:
    (jira,) = await results(api, f"{ALL}?system=jira&include=params")
    known = {name: jira["params"][name] for name in ("sde_project", "alm_user", "alm_method", "alm_server")}
    assert known == {
        "sde_project": "Demo",
        "alm_user": "me",
        "alm_method": "https",
        "alm_server": "jira.company.com",
    }
    assert (jira["params"]["alm_project"], jira["params"]["alm_pass"]) == ("TG", "********")
    assert "hunter2" not in str(jira)
    (jenkins,) = await results(api, f"{ALL}?system=jenkins&include=params,more")
    assert (jenkins["params"]["alm_server"], jenkins["params"]["alm_pass"]) == ("", "")


async def test_parameters_that_clients_left_have_the_names_of_this_document(api: Api) -> None:
    left = {
        "issue_tracker_title_format": "$title",
        "sde_min_priority": 9,
        "rally_workspace": "Ours",
        "conflict_policy": "issue_tracker",
    }
    async with api.house.database.write() as database:
        kept = {"issue_tracker": {"params": left}, "other": {"params": {"sde_min_priority": 1}}}
        await database.execute(connections.update().values(attributes=kept))
    for one in await results(api, f"{ALL}?include=params"):
        params = one["params"]
        assert (params["alm_title_format"], params["sde_min_priority"]) == ("$title", 9)
        assert (params["rally_workspace"], params["conflict_policy"]) == ("Ours", "alm")
        assert not [name for name in params if name.startswith("issue_tracker")]


async def test_a_key_that_may_not_write_sees_no_parameters(api: Api) -> None:
    reading, writing = await key_of(api, "read"), await key_of(api, "write")
    for path in (ALL, OF_ONE):
        for one in await results(api, f"{path}?include=params", reading):
            assert "params" not in one
        for one in await results(api, f"{path}?include=params", writing):
            assert one["params"]


async def test_a_key_of_one_project_sees_nothing_of_another(api: Api) -> None:
    key = await key_of(api, "write", projects=[2])
    assert [one["id"] for one in await results(api, ALL, key)] == [3]
    assert [one["id"] for one in await results(api, f"{ALL}?include=params", key)] == [3]
    assert await ask(api, OF_ONE, key) == (404, {"detail": "Not found."})
    assert [one["id"] for one in await results(api, "/api/v2/projects/2/integrations/", key)] == [3]


async def test_without_a_right_key_there_is_nothing(api: Api) -> None:
    for path in (ALL, OF_ONE):
        for key in (None, "wrong"):
            status, told = await ask(api, path, key)
            assert (status, list(told)) == (401, ["detail"])


async def test_a_project_that_is_not_there_is_404(api: Api) -> None:
    for project in ("99", "0", "9" * 30, "Demo", "%00"):
        assert await ask(api, f"/api/v2/projects/{project}/integrations/") == (404, {"detail": "Not found."})


async def test_a_filter_that_no_value_can_have_is_refused(api: Api) -> None:
    status, told = await ask(api, f"{ALL}?alias=%00")
    assert (status, list(told)) == (400, ["alias"])


async def test_what_is_removed_is_listed_no_more(api: Api) -> None:
    await api.delete("/v1/connections/2")
    for query in ("", "?include=params"):
        assert [one["id"] for one in await results(api, f"{OF_ONE}{query}")] == [1]


@pytest.mark.parametrize("query", ["", "?include=params"])
async def test_a_long_list_costs_as_many_statements_as_a_short_one(api: Api, query: str) -> None:
    statements: list[str] = []
    engine = api.house.database.engine.sync_engine

    def counted(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    costs = []
    for more in (0, 9):
        for n in range(more):
            await connection(api, name=f"n{n}", system="jira", project_id=1)
        statements.clear()
        event.listen(engine, "before_cursor_execute", counted)
        assert len(await results(api, f"{ALL}{query}")) == 3 + more
        event.remove(engine, "before_cursor_execute", counted)
        costs.append(len(statements))
    assert costs[0] == costs[1] > 0
