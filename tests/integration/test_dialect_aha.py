"""A client of Aha!'s API makes, lists, enables and completes its integrations here, as its document shows."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event, func, select

from store.database import Database
from store.schema import audit, connections
from tests import house
from tests.api_server import ADMIN_KEY, DESCRIBED, PUBLIC_URL, Api, serving_api
from tests.shapes import Maybe, assert_shape
from tests.shelf import Shelf
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.sqlite_does

AT = "2019-01-01T00:00:00.000Z"
PRODUCTS = "/api/v1/products/PRJ1/integrations"
ACCOUNT = "/api/v1/integrations"


def example(owner: Mapping[str, str], service: str = "zendesk", name: str = "Zendesk") -> dict[str, Any]:
    """The document's answer of one integration."""
    one = {
        "id": "6776757454440039674",
        "service_name": service,
        "template_id": Maybe("204584239"),
        "name": name,
        "enabled": True,
        "callback_token": "5e0be1000087c7f9",
        "created_at": AT,
        "updated_at": AT,
        "last_error_at": Maybe(AT),
        "last_webhook_request_at": Maybe(AT),
        "url": "http://company.aha.io/integrations/6776757454440039674",
        "resource": "http://company.aha.io/api/v1/integrations/6776757454440039674",
        "owner": dict(owner),
        "problem": Maybe("ours: what stands in its way"),
    }
    return {"integration": one}


OF_ACCOUNT = {
    "type": "Account",
    "id": "303742481",
    "url": "http://company.aha.io/account/303742481",
    "resource": "http://company.aha.io/account/303742481",
}
OF_PRODUCT = {
    "type": "Project",
    "id": "131414752",
    "url": "http://company.aha.io/projects/PRJ1",
    "resource": "http://company.aha.io/projects/PRJ1",
}
LISTED = {
    "integrations": [
        {"id": "79015308", "name": "Salesforce", "service_name": "salesforce", "created_at": AT}
    ],
    "pagination": {"total_records": 9, "total_pages": 1, "current_page": 1},
}
#: The lists of the document: of the account, and of a product.
THERE = [
    ["salesforce", "salesforce", "audit_webhook", "trello", "zendesk", "slack", "security_webhook",
     "slack_commands", "slack_commands"],
    ["rally", "github_issues", "jira", "jira_connect", "jira", "vsts", "tfs", "rally", "trello"],
]  # fmt: skip


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    """A server with two products: PRJ1, whose id is 1, and PRJ2."""
    async with serving_api(database, {**house.ADAPTERS, "shelf": Shelf}) as served:
        for key in ("PRJ1", "PRJ2"):
            await served.post("/v1/projects", {"name": f"Product {key}", "key": key})
        yield served


async def send(
    api: Api, method: str, path: str, body: object = None, key: str | None = ADMIN_KEY
) -> tuple[int, Any]:
    """Status and JSON of a request with the headers of the document and no others."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, api.url + path, data=data, headers=headers) as answer,
    ):
        told = await answer.json() if await answer.read() else None
        assert answer.status == 204 or answer.content_type == "application/json"
        assert DESCRIBED.wrong_with(method, path, answer.status, answer.headers, told) is None
        return answer.status, told


async def made(api: Api, path: str = PRODUCTS, /, **integration: object) -> Any:
    status, told = await send(api, "POST", path, {"integration": integration})
    assert status == 200, told
    return told["integration"]


async def put(api: Api, path: str, /, **integration: object) -> Any:
    status, told = await send(api, "PUT", path, {"integration": integration})
    assert status == 200, told
    return told["integration"]


async def counts(api: Api) -> tuple[int, int]:
    """How many connections there are, and how many changes of such were noted."""
    async with api.house.database.read() as connection:
        rows = select(func.count()).select_from(connections)
        noted = select(func.count()).select_from(audit).where(audit.c.subject == "connection")
        return int((await connection.execute(rows)).scalar_one()), int(
            (await connection.execute(noted)).scalar_one()
        )


@pytest.mark.parametrize(
    ("path", "owner"), [(ACCOUNT, OF_ACCOUNT), (PRODUCTS, OF_PRODUCT)], ids=["account", "product"]
)
async def test_an_integration_is_made_as_the_example_shows(
    api: Api, path: str, owner: Mapping[str, str]
) -> None:
    status, told = await send(
        api, "POST", path, {"integration": {"service_name": "zendesk", "enabled": True}}
    )
    assert status == 200
    assert_shape(told, example(owner), exact=True)
    one = told["integration"]
    assert (one["name"], one["service_name"], one["enabled"]) == ("Zendesk", "zendesk", True)
    assert one["url"] == f"{PUBLIC_URL}/integrations/{one['id']}"
    assert one["resource"] == f"{PUBLIC_URL}/api/v1/integrations/{one['id']}"
    where = "account/1" if path == ACCOUNT else "projects/PRJ1"
    assert (one["owner"]["type"], one["owner"]["id"]) == (owner["type"], "1")
    assert one["owner"]["url"] == one["owner"]["resource"] == f"{PUBLIC_URL}/{where}"
    assert (await send(api, "GET", f"{ACCOUNT}/{one['id']}"))[1] == told


@pytest.mark.parametrize(("path", "services"), [(ACCOUNT, THERE[0]), (PRODUCTS, THERE[1])])
async def test_every_service_of_the_lists_can_be_made_and_is_listed(
    api: Api, path: str, services: list[str]
) -> None:
    for service in services:
        await made(api, path, service_name=service)
    await made(api, PRODUCTS if path == ACCOUNT else ACCOUNT, service_name="jira")
    status, told = await send(api, "GET", path)
    assert status == 200
    assert_shape(told, LISTED, exact=True)
    assert [one["service_name"] for one in told["integrations"]] == services
    assert told["pagination"] == {"total_records": 9, "total_pages": 1, "current_page": 1}


@pytest.mark.parametrize("which", ["id", "jira"])
async def test_a_specific_integration_is_got_and_enabled_as_the_examples_show(api: Api, which: str) -> None:
    template = await made(api, service_name="jira", url="jira.company.com/issues/?filter=12", enabled=False)
    one = f"{PRODUCTS}/{template['id'] if which == 'id' else which}"
    status, told = await send(api, "GET", one)
    assert status == 200
    assert_shape(told, example(OF_PRODUCT, "jira", "Jira"), exact=True)
    assert (told["integration"]["id"], told["integration"]["enabled"]) == (template["id"], False)
    status, told = await send(api, "PUT", one, {"integration": {"enabled": True}})
    assert status == 200
    assert_shape(told, example(OF_PRODUCT, "jira", "Jira"), exact=True)
    assert told["integration"]["enabled"]


async def test_an_integration_is_made_like_a_template_with_its_credential(api: Api) -> None:
    credential = (await api.credential(system="jira"))["id"]
    setup = {"url": "jira.company.com/issues/?filter=12", "params": {"since": "2026-01-01"},
             "streams": ["issues"], "frequency": "daily at 02:30", "timezone": "Europe/Berlin"}  # fmt: skip
    template = await made(api, service_name="jira", credential_id=credential, name="Mould", **setup)
    body = {"service_name": "jira", "enabled": True, "template_id": int(template["id"])}
    status, told = await send(api, "POST", PRODUCTS, {"integration": body})
    assert status == 200
    assert_shape(told, example(OF_PRODUCT, "jira", "Jira"), exact=True)
    one = told["integration"]
    assert (one["name"], one["template_id"], one["problem"]) == ("Jira", None, None)
    stored = await api.get(f"/v1/connections/{one['id']}")
    assert {name: stored[name] for name in setup} == setup
    assert (stored["credential_id"], stored["enabled"]) == (credential, True)
    assert stored["next_due_at"] is not None
    assert stored["callback_token"] != template["callback_token"]


async def test_what_is_said_counts_more_than_the_template(api: Api) -> None:
    template = await made(api, service_name="shelf", url="shelf.example/3", frequency="daily")
    body = {"service_name": "shelf", "template_id": template["id"], "frequency": "weekly", "name": "Other"}
    stored = await api.get(f"/v1/connections/{(await made(api, **body))['id']}")
    assert (stored["url"], stored["frequency"], stored["name"]) == ("shelf.example/3", "weekly", "Other")


async def test_a_draft_says_what_is_missing_and_is_completed_here_until_it_syncs(api: Api) -> None:
    async with JiraCloud() as site:
        site.add_account("me", "a secret of the tests")
        site.seed(7)
        draft = await made(api, service_name="jira", enabled=True)
        assert draft["problem"] == "It has no URL yet. Give it a URL."
        assert (await api.get(f"/v1/connections/{draft['id']}"))["cause"] == "incomplete"
        credential = (await api.credential(system="jira"))["id"]
        url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
        done = await put(api, f"{PRODUCTS}/{draft['id']}", url=url, credential_id=str(credential))
        assert (done["problem"], done["enabled"], done["name"]) == (None, True, "Jira")
        assert (await api.get(f"/v1/connections/{draft['id']}"))["next_due_at"] is not None
        sync = await api.synced(int(draft["id"]))
    assert (sync["state"], sync["counters"]["issues"]["new"]) == ("succeeded", 7)


async def test_a_draft_of_a_service_that_nothing_can_read_says_so_also_while_it_is_disabled(api: Api) -> None:
    draft = await made(api, service_name="trello", url="trello.com/b/1")
    assert "no adapter for trello" in draft["problem"]
    assert (draft["enabled"], (await api.get(f"/v1/connections/{draft['id']}"))["health"]) == (
        False,
        "disabled",
    )


@pytest.mark.parametrize(
    ("service", "system", "url"),
    [
        ("jira", "jira", "jira.company.com/issues/?filter=12"),
        ("jira_connect", "jira", "company.atlassian.net/issues/?filter=12"),
        ("vsts", "azure", "dev.azure.com/company"),
        ("tfs", "azure", "tfs.company.com/tfs/Collection"),
        ("jenkins", "jenkins", "jenkins.company.com/job/one"),
    ],
)
async def test_the_services_of_our_systems_are_real(api: Api, service: str, system: str, url: str) -> None:
    one = await made(api, service_name=service, url=url, enabled=True)
    stored = await api.get(f"/v1/connections/{one['id']}")
    assert (stored["system"], stored["next_due_at"] is None, one["problem"]) == (system, False, None)
    assert (await send(api, "GET", f"{PRODUCTS}/{service}"))[1]["integration"] == one


async def test_enabled_starts_and_stops_the_schedule(api: Api) -> None:
    one = await made(api, service_name="shelf", url="shelf.example/3")
    path, stored = f"{ACCOUNT}/{one['id']}", f"/v1/connections/{one['id']}"
    assert (one["enabled"], (await api.get(stored))["next_due_at"]) == (False, None)
    assert (await put(api, path, enabled=True))["enabled"]
    assert (await api.get(stored))["next_due_at"] is not None
    assert not (await put(api, path, enabled=False))["enabled"]
    assert ((await api.get(stored))["next_due_at"], (await api.get(stored))["health"]) == (None, "disabled")


async def test_the_time_of_a_webhook_is_that_of_the_last_one_to_the_callback_token(api: Api) -> None:
    one = await made(api, service_name="shelf", url="shelf.example/3")
    async with aiohttp.ClientSession() as stranger:
        address = f"{api.url}/webhooks/{one['callback_token']}"
        async with stranger.post(address, data=b'{"books": ["b01"]}') as answer:
            assert answer.status == 202
    now = (await send(api, "GET", f"{PRODUCTS}/{one['id']}"))[1]["integration"]
    stored = await api.get(f"/v1/connections/{one['id']}")
    assert now["last_webhook_request_at"] == stored["last_webhook_at"] is not None
    assert_shape(now["last_webhook_request_at"], AT)


async def test_the_time_of_an_error_is_told_with_what_went_wrong(api: Api) -> None:
    async with JiraCloud() as site:
        credential = (await api.credential(system="jira"))["id"]
        url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
        one = await made(api, service_name="jira", url=url, credential_id=credential, enabled=True)
        assert (await api.synced(int(one["id"])))["state"] == "failed"
    now = (await send(api, "GET", f"{PRODUCTS}/{one['id']}"))[1]["integration"]
    stored = await api.get(f"/v1/connections/{one['id']}")
    assert now["last_error_at"] == stored["last_error_at"] is not None
    assert_shape(now["last_error_at"], AT)
    assert now["problem"].startswith(stored["message"])


async def test_what_is_made_elsewhere_has_the_service_that_fits(api: Api) -> None:
    places = [
        ("azure", "company.visualstudio.com", "vsts"),
        ("azure", "dev.azure.com/company/shop", "vsts"),
        ("azure", "tfs.company.com/tfs/Collection", "tfs"),
        ("azure", None, "vsts"),
        ("jira", "jira.company.com/issues/?filter=12", "jira"),
        ("shelf", "shelf.example/3", "shelf"),
    ]
    for system, url, _ in places:
        body = {"name": "there", "system": system, "url": url, "project_id": 1, "frequency": "manually"}
        await api.post("/v1/connections", body)
    told = (await send(api, "GET", PRODUCTS))[1]["integrations"]
    assert [one["service_name"] for one in told] == [service for _, _, service in places]
    assert (await send(api, "GET", f"{PRODUCTS}/tfs"))[1]["integration"]["id"] == told[2]["id"]


async def test_by_the_name_of_a_service_it_is_the_oldest_of_that_in_the_product(api: Api) -> None:
    ids = [
        (await made(api, path, service_name=service))["id"]
        for path, service in [
            (ACCOUNT, "jira"),
            ("/api/v1/products/2/integrations", "jira"),
            (PRODUCTS, "jira_connect"),
            (PRODUCTS, "jira"),
            (PRODUCTS, "jira"),
        ]
    ]

    async def found(path: str) -> str:
        return str((await send(api, "GET", path))[1]["integration"]["id"])

    assert await found(f"{PRODUCTS}/jira") == ids[3]
    assert await found(f"{PRODUCTS}/jira_connect") == ids[2]
    assert await found(f"{ACCOUNT}/jira") == ids[0]
    assert (await send(api, "DELETE", f"{PRODUCTS}/jira"))[0] == 204
    assert await found(f"{PRODUCTS}/jira") == ids[4]


async def test_an_answer_that_is_sent_back_changes_nothing(api: Api) -> None:
    one = await made(api, service_name="jira_connect", url="company.atlassian.net/issues/?filter=12")
    stored = await api.get(f"/v1/connections/{one['id']}")
    again = await put(api, f"{PRODUCTS}/{one['id']}", **one)
    assert again == {**one, "updated_at": again["updated_at"]}
    after = await api.get(f"/v1/connections/{one['id']}")
    assert after == {**stored, "updated_at": after["updated_at"]}
    copy = await made(api, **one)
    assert (await api.get(f"/v1/connections/{copy['id']}"))["url"] is None


async def test_what_other_documents_keep_with_it_stays(api: Api) -> None:
    one = await made(api, service_name="jira")
    async with api.house.database.write() as connection:
        mine = {"aha": {"service_name": "jira"}, "other": {"kept": 1}}
        await connection.execute(connections.update().values(attributes=mine))
    await put(api, f"{PRODUCTS}/{one['id']}", service_name="jira_connect", integration_version="2")
    stored = await api.house.get(int(one["id"]))
    assert stored.attributes == {
        "aha": {"service_name": "jira_connect", "integration_version": 2},
        "other": {"kept": 1},
    }


@pytest.mark.parametrize("version", [1, 2, "2", None])
async def test_the_version_may_stand_inside_or_beside(api: Api, version: object) -> None:
    inside = {"integration": {"service_name": "zendesk", "integration_version": version}}
    beside = {"service_name": "zendesk", "integration_version": version, "integration": {"enabled": True}}
    for body in (inside, beside):
        status, told = await send(api, "POST", PRODUCTS, body)
        assert (status, told["integration"]["service_name"]) == (200, "zendesk")
        kept = (await api.house.get(int(told["integration"]["id"]))).attributes["aha"]
        assert kept.get("integration_version") == (None if version is None else int(str(version)))


async def test_a_product_may_be_named_beside_and_by_its_id(api: Api) -> None:
    for body in (
        {"product_id": "PRJ1", "integration": {"service_name": "zendesk"}},
        {"integration": {"service_name": "zendesk", "product_id": 1}},
    ):
        status, told = await send(api, "POST", ACCOUNT, body)
        assert (status, told["integration"]["owner"]["type"]) == (200, "Project")
    assert (await send(api, "GET", "/api/v1/products/1/integrations"))[1]["pagination"]["total_records"] == 2


async def test_a_key_of_digits_is_found_unless_it_is_an_id(api: Api) -> None:
    await api.post("/v1/projects", {"name": "Digits", "key": "77"})
    status, told = await send(
        api, "POST", "/api/v1/products/77/integrations", {"integration": {"service_name": "jira"}}
    )
    assert (status, told["integration"]["owner"]["id"]) == (200, "3")


async def test_lists_go_page_by_page(api: Api) -> None:
    ids = [(await made(api, service_name="rally"))["id"] for _ in range(5)]

    async def page(query: str) -> tuple[list[str], dict[str, int]]:
        status, told = await send(api, "GET", f"{PRODUCTS}?{query}")
        assert status == 200, told
        return [one["id"] for one in told["integrations"]], told["pagination"]

    three = {"total_records": 5, "total_pages": 3, "current_page": 1}
    assert await page("per_page=2") == (ids[:2], three)
    assert await page("per_page=2&page=3") == (ids[4:], {**three, "current_page": 3})
    assert await page("per_page=2&page=4") == ([], {**three, "current_page": 4})
    assert await page("per_page=1000") == (ids, {**three, "total_pages": 1})
    status, told = await send(api, "GET", ACCOUNT)
    assert (status, told) == (
        200,
        {"integrations": [], "pagination": {"total_records": 0, "total_pages": 0, "current_page": 1}},
    )
    for query in ("page=0", "page=-1", "page=x", "per_page=0", "per_page=many"):
        status, told = await send(api, "GET", f"{PRODUCTS}?{query}")
        assert (status, list(told["errors"])) == (422, [query.partition("=")[0]])


async def test_a_page_has_thirty_and_at_most_two_hundred(api: Api) -> None:
    async with api.house.database.write() as connection:
        from_one = {"system": "rally", "url": None, "frequency": "manually", "project_id": 1}
        at = (await connection.execute(select(func.max(audit.c.at)))).scalar_one()
        await connection.execute(
            connections.insert(),
            [
                {"name": f"r{n}", "timezone": "UTC", "params": {}, "enabled": True, "callback_token": f"t{n}",
                 "created_at": at, "updated_at": at, "since": at, "health": "pending", **from_one}
                for n in range(201)
            ],
        )  # fmt: skip
    for query, size, pages in (("", 30, 7), ("?per_page=200", 200, 2), ("?per_page=201", 200, 2)):
        told = (await send(api, "GET", PRODUCTS + query))[1]
        assert (len(told["integrations"]), told["pagination"]["total_pages"]) == (size, pages)


async def test_a_long_list_costs_as_many_statements_as_a_short_one(api: Api) -> None:
    statements: list[str] = []
    engine = api.house.database.engine.sync_engine

    def counted(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    costs = []
    for more in (1, 9):
        for _ in range(more):
            await made(api, service_name="vsts")
        statements.clear()
        event.listen(engine, "before_cursor_execute", counted)
        await send(api, "GET", PRODUCTS)
        event.remove(engine, "before_cursor_execute", counted)
        costs.append(len(statements))
    assert costs[0] == costs[1] > 0


BAD: dict[str, tuple[dict[str, object], str]] = {
    "no service": ({"enabled": True}, "service_name"),
    "a service of null": ({"service_name": None}, "service_name"),
    "a service of another type": ({"service_name": 5}, "service_name"),
    "an unknown service": ({"service_name": "faxes"}, "service_name"),
    "an empty service": ({"service_name": ""}, "service_name"),
    "a version that there is not": (
        {"service_name": "jira", "integration_version": 3},
        "integration_version",
    ),
    "a version of nought": ({"service_name": "jira", "integration_version": 0}, "integration_version"),
    "enabled as a text": ({"service_name": "jira", "enabled": "yes"}, "enabled"),
    "an unknown template": ({"service_name": "jira", "template_id": 99}, "template_id"),
    "a template that is no id": ({"service_name": "jira", "template_id": "mine"}, "template_id"),
    "an unknown credential": ({"service_name": "jira", "credential_id": 99}, "credential_id"),
    "an unknown frequency": ({"service_name": "jira", "frequency": "often"}, "frequency"),
    "an unknown stream": ({"service_name": "jira", "streams": ["fish"]}, "streams"),
    "an empty name": ({"service_name": "jira", "name": ""}, "name"),
    "a URL with a password": ({"service_name": "jira", "url": "https://a:hunter2@jira.x/browse/A"}, "url"),
}


@pytest.mark.parametrize("path", [ACCOUNT, PRODUCTS])
@pytest.mark.parametrize("what", BAD)
async def test_what_does_not_fit_makes_nothing_and_names_the_field(api: Api, what: str, path: str) -> None:
    integration, field = BAD[what]
    status, told = await send(api, "POST", path, {"integration": integration})
    assert (status, told["status"], told["error"]) == (422, 422, "Validation failed")
    assert list(told["errors"]) == [field]
    assert "hunter2" not in str(told)
    assert await counts(api) == (0, 0)


async def test_an_unknown_service_is_told_which_there_are(api: Api) -> None:
    told = (await send(api, "POST", ACCOUNT, {"integration": {"service_name": "faxes"}}))[1]
    for service in ("jenkins", "jira_connect", "vsts", "zendesk"):
        assert service in told["errors"]["service_name"][0]


async def test_what_does_not_fit_changes_nothing(api: Api) -> None:
    one = await made(api, service_name="jira", url="jira.company.com/issues/?filter=12")
    path = f"{PRODUCTS}/{one['id']}"
    before = await counts(api)
    for integration, field in (
        ({"enabled": None}, "enabled"),
        ({"service_name": "vsts"}, "service_name"),
        ({"frequency": "often", "enabled": True}, "frequency"),
        ({"url": "jira.company.com"}, "url"),
    ):
        status, told = await send(api, "PUT", path, {"integration": integration})
        assert (status, list(told["errors"])) == (422, [field])
    assert (await send(api, "PUT", path, {}))[1]["errors"] == {"integration": ["This field is needed."]}
    assert (await send(api, "PUT", path, {"integration": 5}))[0] == 422
    assert (await send(api, "GET", path))[1]["integration"] == one
    assert await counts(api) == before


async def test_a_template_of_another_system_is_refused(api: Api) -> None:
    template = await made(api, service_name="vsts")
    body = {"service_name": "jira", "template_id": template["id"]}
    status, told = await send(api, "POST", PRODUCTS, {"integration": body})
    assert (status, list(told["errors"])) == (422, ["template_id"])
    assert await counts(api) == (1, 1)


async def test_what_is_no_json_is_400(api: Api) -> None:
    async with api.http.post(f"{api.url}{PRODUCTS}", data=b"{") as answer:
        assert (answer.status, answer.content_type) == (400, "application/json")
        assert (await answer.json())["message"].startswith("The body is not JSON")
    assert await counts(api) == (0, 0)


async def test_what_is_not_there_is_404_in_the_words_of_the_document(api: Api) -> None:
    one = (await made(api, service_name="jira"))["id"]
    other = "/api/v1/products/PRJ2/integrations"
    paths = [f"{PRODUCTS}/99", f"{other}/{one}", f"{other}/jira", f"{PRODUCTS}/rally", f"{PRODUCTS}/%00"]
    paths += [f"{ACCOUNT}/{'9' * 30}", "/api/v1/products/NONE/integrations/1"]
    for path in paths:
        for method in ("GET", "PUT", "DELETE"):
            body = {"integration": {"enabled": True}} if method == "PUT" else None
            status, told = await send(api, method, path, body)
            assert (status, told["error"], told["status"]) == (404, "Record not found", 404)
    for path in ("/api/v1/products/NONE/integrations", "/api/v1/products/%00/integrations"):
        assert (await send(api, "GET", path))[0] == 404
        assert (await send(api, "POST", path, {"integration": {"service_name": "jira"}}))[0] == 404
    assert await counts(api) == (1, 1)


async def test_keys_are_told_apart(api: Api) -> None:
    one = (await made(api, service_name="jira"))["id"]
    before = await counts(api)
    reading = (await api.post("/v1/keys", {"name": "r", "permissions": ["read"]}))["key"]
    body = {"integration": {"service_name": "jira", "enabled": True}}
    calls = [
        ("POST", ACCOUNT),
        ("POST", PRODUCTS),
        ("PUT", f"{PRODUCTS}/{one}"),
        ("DELETE", f"{ACCOUNT}/{one}"),
    ]
    for method, path in [*calls, ("GET", ACCOUNT), ("GET", PRODUCTS), ("GET", f"{PRODUCTS}/{one}")]:
        sent = body if method in ("POST", "PUT") else None
        for key in (None, "wrong"):
            status, told = await send(api, method, path, sent, key)
            assert (status, told["error"], told["status"]) == (401, "Unauthorized", 401)
        status, told = await send(api, method, path, sent, reading)
        assert status == (200 if method == "GET" else 403), told
        if path.endswith(one) and method == "GET":
            assert told["integration"]["callback_token"] is None
    assert await counts(api) == before


async def test_a_key_of_one_product_sees_and_uses_nothing_of_another(api: Api) -> None:
    body = {"name": "team", "permissions": ["write"], "projects": [1]}
    key = (await api.post("/v1/keys", body))["key"]
    theirs = (await api.credential(system="jira"))["id"]
    mine = (await api.credential(system="jira"))["id"]
    url = "jira.company.com/issues/?filter=12"
    other = "/api/v1/products/PRJ2/integrations"
    foreign = await made(api, other, service_name="jira", url=url, credential_id=theirs)
    account = await made(api, ACCOUNT, service_name="jira", url=url, credential_id=theirs)
    own = await made(api, service_name="jira", url=url, credential_id=mine)
    before = await counts(api)
    for path in (f"{ACCOUNT}/{foreign['id']}", f"{ACCOUNT}/{account['id']}", f"{other}/jira"):
        for method in ("GET", "PUT", "DELETE"):
            sent = {"integration": {"enabled": True}} if method == "PUT" else None
            assert (await send(api, method, path, sent, key))[0] == 404
    assert (await send(api, "GET", other, key=key))[0] == 404
    assert (await send(api, "GET", ACCOUNT, key=key))[1]["integrations"] == []
    jira: dict[str, object] = {"service_name": "jira"}
    assert (await send(api, "POST", ACCOUNT, {"integration": jira}, key))[0] == 403
    assert (await send(api, "POST", other, {"integration": jira}, key))[0] == 404
    for wrong in ({"template_id": foreign["id"]}, {"template_id": account["id"]}, {"credential_id": theirs}):
        status, told = await send(api, "POST", PRODUCTS, {"integration": jira | wrong}, key)
        assert (status, list(told["errors"])) == (422, list(wrong))
    assert await counts(api) == before
    status, told = await send(api, "POST", PRODUCTS, {"integration": {**jira, "template_id": own["id"]}}, key)
    assert status == 200
    assert (await api.get(f"/v1/connections/{told['integration']['id']}"))["credential_id"] == mine


async def test_a_product_in_the_path_and_not_its_neighbours_is_changed_and_removed(api: Api) -> None:
    one = await made(api, service_name="shelf", url="shelf.example/3", name="Mine")
    await api.synced(int((await put(api, f"{PRODUCTS}/{one['id']}", enabled=True))["id"]))
    assert (await put(api, f"{ACCOUNT}/{one['id']}", name="Yours"))["name"] == "Yours"
    assert (await send(api, "DELETE", f"{ACCOUNT}/{one['id']}")) == (204, None)
    assert (await send(api, "GET", f"{PRODUCTS}/{one['id']}"))[0] == 404
    assert (await send(api, "GET", PRODUCTS))[1]["pagination"]["total_records"] == 0
    assert len(await api.house.keys("shelf", "books")) == 3


async def test_asked_twice_with_one_idempotency_key_it_is_made_once(api: Api) -> None:
    body = {"integration": {"service_name": "zendesk"}}
    told = [await api.ask("POST", PRODUCTS, body, Idempotency_Key="once") for _ in range(2)]
    assert told[0] == told[1]
    assert await counts(api) == (1, 1)
