"""A client of Flow's API finds its integrations and how their data stand, as its document shows them."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event

from adapters.jira import Jira
from api.dialects import flow_sources as sources
from api.dialects.flow_sources import BUILD, PULL_REQUEST, REPO, TICKET
from store.database import Database
from store.health import HEALTHS, Problem
from tests.api_server import ADMIN_KEY, PUBLIC_URL, Api, serving_api
from tests.house import ADAPTERS
from tests.shapes import Maybe, assert_shape
from tests.shelf import Shelf
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud

TIME = "2024-03-20T22:09:54.828795"
PERSON = {
    "id": 19994,
    "audit_created_at": "2020-01-10T15:21:38.635131",
    "avatar_url": "https://pictures.example/someone.jpg",
    "is_active": True,
    "saml_integration": None,
    "login_email": "someone@example.com",
    "login_enabled": True,
    "signup_method": "saml",
    "needs_password_reset": False,
    "password_change_allowed": False,
    "user_id": 19994,
    "name": "Someone",
    "email": "someone@example.com",
    "apex_user_id": 4458255,
}
SOURCE_TYPE = {
    "id": 24894,
    "status": "active",
    "source_type_name": "pull_request",
    "integration": 10649,
    "source_type": 2,
    "vendor_name": "bitbucket",
    "created_by": "19994",
    "agent_enabled": False,
}
#: The document's answer, with other people.
EXAMPLE = {
    "id": 10649,
    "name": "Engineering BB",
    "org": 1234,
    "vendor_type": "bitbucket",
    "auth_type": "oauth",
    "webhooks_enabled": False,
    "auto_import_all_repo_groups_enabled": False,
    "enabled_source_types": [SOURCE_TYPE],
    "created_at": TIME,
    "updated_at": TIME,
    "created_by": PERSON,
    "updated_by": PERSON,
    "source_type_names": ["ticket", "pull_request", "repo"],
    "username": Maybe("someone"),
    "vendor_meta": {
        "name": "bitbucket",
        "title": "BitBucket Cloud",
        "services": [{"name": "repo", "display": "Repos"}],
        "icon": "vendors/bitbucket",
        "auth_types": ["oauth", "userpass"],
        "is_cloud": True,
        "enable_webhooks": True,
        "allow_multiple_accounts": False,
    },
    "has_repos": False,
    "excluded_project_owners": [],
    "url": "",
    "api_url": Maybe("https://jira.example.com"),
    "source_projects_last_updated": Maybe(TIME),
    "integration_type": 1,
    "processing_status": "UNPROCESSED",
    "connected_accounts_count": 0,
    "deployment_source": "none",
    "exclusion_rule_count": 1,
    "push_projects_enabled": False,
}
STATUS = {
    "integration": 1,
    "status": "Healthy",
    "cause": Maybe("auth"),
    "message": Maybe("What happened."),
    "hint": Maybe("What to do."),
    "since": TIME,
    "source_projects_last_updated": Maybe(TIME),
    "source_types": [
        {
            "id": 11,
            "source_type": 1,
            "source_type_name": "ticket",
            "status": "Healthy",
            "cause": Maybe("auth"),
            "message": Maybe("What happened."),
            "hint": Maybe("What to do."),
        }
    ],
}
JIRA_URL = "https://company.atlassian.net/issues/?filter=12345"
PREFIXES = ("", "/v3/customer/core")
SECRET = "token-of-flow-7f31"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, {**ADAPTERS, "shelf": Shelf}) as served:
        yield served


@pytest.fixture
async def jira() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as site:
        site.add_account("ana@example.com", SECRET)
        site.seed(7)
        yield site


async def on(api: Api, site: JiraCloud, **values: object) -> int:
    """A connection to the site, synced only when asked."""
    credential = await api.credential(SECRET, system="jira", username="ana@example.com")
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    body = {"name": "Issues", "system": "jira", "url": url, "credential_id": credential["id"]}
    return int((await api.post("/v1/connections", {**body, "frequency": "manually", **values}))["id"])


async def connection(api: Api, **values: object) -> int:
    body = {"name": "Issues", "system": "jira", "url": JIRA_URL, "frequency": "manually", **values}
    return int((await api.post("/v1/connections", body))["id"])


async def status_of(api: Api, number: int) -> Any:
    told = await api.get(f"/integrations/{number}/connection_status")
    assert_shape(told, {**STATUS, "source_types": STATUS["source_types"] if told["source_types"] else []})
    return told


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_each_method_answers_in_the_shape_of_the_document(
    api: Api, jira: JiraCloud, prefix: str
) -> None:
    number = await on(api, jira)
    await api.synced(number)
    for path, example in (
        ("/integrations", {"count": 1, "next": Maybe(""), "previous": Maybe(""), "results": [EXAMPLE]}),
        (f"/integrations/{number}", EXAMPLE),
        (f"/integrations/{number}/connection_status", STATUS),
    ):
        async with api.http.get(f"{api.url}{prefix}{path}") as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            assert_shape(await answer.json(), example)


async def test_an_integration_tells_what_the_connection_is(api: Api, jira: JiraCloud) -> None:
    number = await on(api, jira)
    before = await api.get(f"/integrations/{number}")
    assert (before["processing_status"], before["source_projects_last_updated"]) == ("UNPROCESSED", None)
    await api.synced(number)
    told = await api.get(f"/integrations/{number}")
    assert (told["id"], told["name"], told["org"]) == (number, "Issues", 1)
    assert (told["vendor_type"], told["auth_type"], told["username"]) == (
        "jira",
        "userpass",
        "ana@example.com",
    )
    assert told["source_type_names"] == ["ticket"]
    [ticket] = told["enabled_source_types"]
    assert (ticket["id"], ticket["source_type"], ticket["status"]) == (10 * number + 1, 1, "active")
    assert told["processing_status"] == "PROCESSED"
    assert told["source_projects_last_updated"] is not None
    assert told["connected_accounts_count"] == 1
    assert told["vendor_meta"]["auth_types"] == ["oauth", "userpass", "token", "none"]
    assert not told["vendor_meta"]["is_cloud"]
    assert SECRET not in str(told)


async def test_vendors_are_called_as_flow_calls_them(api: Api) -> None:
    azure = await connection(api, system="azure", url="https://dev.azure.com/company/app")
    draft = await connection(api, system="zendesk", url=None)
    told = await api.get(f"/integrations/{azure}")
    assert (told["vendor_type"], told["vendor_meta"]["title"]) == ("azure_devops", "Azure DevOps")
    assert (told["auth_type"], told["connected_accounts_count"]) == ("none", 0)
    assert told["vendor_meta"]["is_cloud"]
    assert told["source_type_names"] == ["ticket", "build"]
    told = await api.get(f"/integrations/{draft}")
    assert (told["vendor_type"], told["enabled_source_types"]) == ("zendesk", [])
    assert (told["vendor_meta"]["title"], told["api_url"]) == ("Zendesk", None)


async def test_only_the_source_types_of_chosen_streams_are_enabled(api: Api) -> None:
    made = {"system": "azure", "url": "https://dev.azure.com/company/app", "streams": ["builds"]}
    number = await connection(api, **made, enabled=False)
    [build] = (await api.get(f"/integrations/{number}"))["enabled_source_types"]
    assert (build["source_type_name"], build["status"]) == ("build", "inactive")


async def test_webhooks_are_enabled_with_a_secret_for_them(api: Api) -> None:
    plain, secret = await connection(api), await connection(api, webhook_secret="a secret for webhooks")
    told = [(await api.get(f"/integrations/{one}"))["webhooks_enabled"] for one in (plain, secret)]
    assert told == [False, True]


async def test_who_made_and_who_changed_it_are_told_by_the_audit_log(api: Api) -> None:
    key = await api.post("/v1/keys", {"name": "dashboard", "permissions": ["write"]})
    number = await connection(api)
    told = await api.get(f"/integrations/{number}")
    assert told["created_by"]["name"] == told["updated_by"]["name"] == "admin key"
    status, _ = await api.ask("PATCH", f"/v1/connections/{number}", {"name": "B"}, X_API_Key=key["key"])
    assert status == 200
    told = await api.get(f"/integrations/{number}")
    assert (told["created_by"]["name"], told["created_by"]["signup_method"]) == ("admin key", "admin_key")
    assert (told["updated_by"]["name"], told["updated_by"]["id"]) == ("dashboard", 10 * key["id"])
    assert told["updated_by"]["is_active"]
    await api.delete(f"/v1/keys/{key['id']}")
    assert not (await api.get(f"/integrations/{number}"))["updated_by"]["is_active"]


async def test_what_the_audit_log_does_not_know_is_by_someone_unknown(api: Api) -> None:
    made = await api.house.connection("shelf", "shelf.example/1")
    told = await api.get(f"/integrations/{made.id}")
    assert_shape(told["created_by"], PERSON)
    assert (told["created_by"]["name"], told["created_by"]["is_active"]) == ("unknown", False)


async def test_a_list_is_paged_by_limit_and_offset(api: Api) -> None:
    numbers = [await connection(api, name=f"n{n}") for n in range(5)]
    seen = []
    url: str | None = f"{api.url}/integrations?limit=2&page_size=9"
    while url is not None:
        async with api.http.get(url) as answer:
            told = await answer.json()
        assert told["count"] == 5
        seen.append([one["id"] for one in told["results"]])
        url, last = told["next"], told
    assert seen == [numbers[:2], numbers[2:4], numbers[4:]]
    assert last["previous"] == f"{api.url}/integrations?limit=2&offset=2"
    for limit in (5, 6):
        whole = await api.get(f"/integrations?limit={limit}")
        assert (whole["next"], whole["previous"]) == (None, None)
    assert (await api.get("/integrations?offset=50"))["results"] == []


async def test_the_pages_of_the_public_address_are_there(api: Api) -> None:
    await connection(api)
    await connection(api)
    told = await api.get("/v3/customer/core/integrations?limit=1", Host="tidegate.example")
    assert told["next"] == f"{PUBLIC_URL}/v3/customer/core/integrations?limit=1&offset=1"


async def test_a_long_list_costs_as_many_statements_as_a_short_one(api: Api) -> None:
    statements: list[str] = []
    engine = api.house.database.engine.sync_engine

    def counted(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    counts = []
    for more in (1, 5):
        for n in range(more):
            await connection(api, name=f"{more}-{n}", webhook_secret="one for webhooks")
        statements.clear()
        event.listen(engine, "before_cursor_execute", counted)
        await api.get("/integrations")
        event.remove(engine, "before_cursor_execute", counted)
        counts.append(len(statements))
    assert counts[0] == counts[1] > 0


async def test_data_that_were_never_read_are_processing(api: Api) -> None:
    told = await status_of(api, await connection(api))
    assert (told["status"], told["cause"]) == ("Processing", None)
    assert "never synced" in told["message"]
    assert [one["status"] for one in told["source_types"]] == ["Processing"]


async def test_data_that_were_read_are_healthy(api: Api, jira: JiraCloud) -> None:
    number = await on(api, jira)
    await api.synced(number)
    told = await status_of(api, number)
    assert (told["status"], told["cause"], told["message"], told["hint"]) == ("Healthy", None, None, None)
    [ticket] = told["source_types"]
    assert (ticket["source_type_name"], ticket["status"]) == ("ticket", "Healthy")


async def test_a_refused_credential_fails_the_integration(api: Api, jira: JiraCloud) -> None:
    wrong = await api.credential("wrong", system="jira", username="ana@example.com")
    number = await on(api, jira, credential_id=wrong["id"])
    await api.synced(number)
    told = await status_of(api, number)
    assert (told["status"], told["cause"]) == ("Failed integration", "auth")
    assert told["message"]
    assert told["hint"]
    assert [one["status"] for one in told["source_types"]] == ["Failed integration"]


async def test_a_remote_that_asks_for_patience_is_rate_limited(api: Api, jira: JiraCloud) -> None:
    number = await on(api, jira)
    jira.faults.append(Fault("/search", 429, headers={"Retry-After": "600"}, times=9))
    opened = await api.post(f"/v1/connections/{number}/sync", {}, 202)
    await api.house.work(opened["id"])
    told = await status_of(api, number)
    assert told["status"] == "Rate limited"
    assert [one["status"] for one in told["source_types"]] == ["Rate limited"]


async def test_one_part_that_fails_is_named_and_the_others_are_healthy(api: Api) -> None:
    async with AzureDevOps() as remote:
        remote.model.create_project("newtwitterclone")
        remote.model.seed(5, Random(1))
        credential = await api.credential("azure-token", system="azure", kind="pat", username=None)
        number = await connection(api, system="azure", url=remote.base, credential_id=credential["id"])
        remote.faults.append(Fault("/_apis/wit/wiql", 403, times=99))
        await api.synced(number)
        told = await status_of(api, number)
        assert (told["status"], told["cause"]) == ("Failed ticket project", "forbidden")
        by_name = {one["source_type_name"]: one for one in told["source_types"]}
        ticket, build = by_name["ticket"], by_name["build"]
        assert (ticket["status"], ticket["cause"]) == ("Failed ticket project", "forbidden")
        assert ticket["hint"]
        assert (build["status"], build["cause"], build["message"]) == ("Healthy", None, None)
        assert (await api.get(f"/integrations/{number}"))["processing_status"] == "PROCESSED"


async def test_drafts_and_disabled_ones_are_failed_and_say_what_to_do(api: Api) -> None:
    for values, cause, said in (
        ({"url": None}, "incomplete", "URL"),
        ({"system": "zendesk", "url": None}, "incomplete", "URL"),
        ({"enabled": False}, None, "disabled"),
    ):
        told = await status_of(api, await connection(api, **values))
        assert (told["status"], told["cause"]) == ("Failed integration", cause)
        assert said in told["message"]
        assert told["hint"]


def test_every_health_has_a_data_status() -> None:
    for health in HEALTHS:
        for cause in (None, "auth", "unreachable", "rate_limited", "incomplete"):
            assert sources.status_of(health, cause, [TICKET])


def test_what_is_partial_has_the_status_of_the_first_that_fails() -> None:
    assert sources.status_of("partial", "forbidden", [PULL_REQUEST, REPO]) == "Failed PR project"
    assert sources.status_of("partial", "forbidden", [REPO]) == "Failed repo"
    assert sources.status_of("partial", "forbidden", [BUILD]) == "Failed repo"
    assert sources.status_of("partial", "rate_limited", [TICKET]) == "Rate limited"


def test_a_receipt_that_falls_short_tells_which_source_type_fails() -> None:
    assert sources.failing(Jira, [], ["comments"]) == {TICKET.number: None}
    refused = Problem("forbidden", "No.", "Ask.")
    assert sources.failing(Jira, [("issues", refused)], ["builds"]) == {1: refused, 4: None}


async def test_unknown_ids_are_404_in_the_documents_form(api: Api) -> None:
    for prefix in PREFIXES:
        for asked in ("99", "0", "mine", "9" * 30):
            for path in (
                f"{prefix}/integrations/{asked}",
                f"{prefix}/integrations/{asked}/connection_status",
            ):
                status, told = await api.ask("GET", path)
                assert (status, told) == (404, {"detail": f"There is no integration {asked}."})


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "offset=-1", "offset=x"])
async def test_a_page_that_cannot_be_is_400(api: Api, query: str) -> None:
    status, told = await api.ask("GET", f"/integrations?{query}")
    assert status == 400
    assert query.partition("=")[0] in told["detail"]


async def test_keys_are_told_apart(api: Api) -> None:
    number = await connection(api)
    paths = ("/integrations", f"/integrations/{number}", f"/integrations/{number}/connection_status")
    async with aiohttp.ClientSession() as stranger:
        for path in paths:
            async with stranger.get(api.url + path) as answer:
                assert (answer.status, list(await answer.json())) == (401, ["detail"])
    reading = (await api.post("/v1/keys", {"name": "r", "permissions": ["read"]}))["key"]
    for path in paths:
        for header in ({"X_API_Key": reading}, {"Authorization": f"Bearer {ADMIN_KEY}", "X_API_Key": ""}):
            assert (await api.ask("GET", path, **header))[0] == 200
    for method in ("POST", "PUT", "DELETE"):
        assert (await api.ask(method, paths[1]))[0] == 405


async def test_a_key_of_another_project_sees_nothing_here(api: Api) -> None:
    mine, other = [(await api.post("/v1/projects", {"name": k, "key": k}))["id"] for k in ("mine", "other")]
    await connection(api)
    await connection(api, project_id=other)
    number = await connection(api, project_id=mine)
    body = {"name": "k", "permissions": ["read"], "projects": [mine]}
    key = (await api.post("/v1/keys", body))["key"]
    status, told = await api.ask("GET", "/integrations", X_API_Key=key)
    assert (status, told["count"], [one["id"] for one in told["results"]]) == (200, 1, [number])
    for path in ("/integrations/1", "/integrations/2/connection_status"):
        assert (await api.ask("GET", path, X_API_Key=key))[0] == 404
