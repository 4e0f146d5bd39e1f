"""A client of Accidental Quality's API finds its integrations and tokens here, as its document shows them."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event, func, select

from store.database import Database
from store.schema import audit, connections
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.house import ADAPTERS
from tests.shapes import assert_shape
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.sqlite_does

#: The document's list, with names of our own.
EXAMPLE = [
    {
        "id": "1",
        "integration_type": "jira",
        "name": "Nine people and one month",
        "url": "jira.company.com/rest/api/latest/search?jql=filter=12345",
    },
    {
        "id": "2",
        "integration_type": "azure",
        "name": "The cloud mists calls",
        "url": "https://dev.azure.com/company/newtwitterclone",
    },
    {
        "id": "3",
        "integration_type": "jenkins",
        "name": "The pipelines of late",
        "url": "jenkins.company.com/job/pipeline_1",
    },
]
TOKEN = {"id": "1", "name": "reader", "integ_type": "jira", "created_at": "2026-01-02T03:04:05.000Z",
         "updated_at": "2026-01-02T03:04:05.000Z"}  # fmt: skip
#: As the document's two examples send it: by curl, and by a browser's fetch.
CURL = {"X-API-Key": ADMIN_KEY}
FETCH = {"Content-type": "application/json;charset=UTF-8", "X-API-Key": ADMIN_KEY}
KINDS = {"jira": "basic", "azure": "pat", "jenkins": "basic"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, ADAPTERS) as served:
        await served.post("/v1/projects", {"name": "Web shop", "key": "WEB"})
        yield served


async def send(
    api: Api, method: str, path: str, headers: Mapping[str, str], body: object = None
) -> tuple[int, str, Any]:
    """Status, media type and JSON of a request that has these headers and no others."""
    data = None if body is None else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as http,
        http.request(method, api.url + path, data=data, headers=headers) as answer,
    ):
        return answer.status, answer.content_type, await answer.json()


async def token_of(api: Api, system: str) -> int:
    made = await api.credential(name="reader", system=system, kind=KINDS[system])
    return int(made["id"])


async def integration(api: Api, example: Mapping[str, str], **values: object) -> dict[str, object]:
    """The body that makes what the document's list shows."""
    kind = example["integration_type"]
    named = {name: example[name] for name in ("integration_type", "name", "url")}
    given = {**named, "project_id": "1", "token_id": str(await token_of(api, kind)), **values}
    return {"integration": given}


async def counts(api: Api) -> tuple[int, int]:
    async with api.house.database.read() as connection:
        made = select(func.count()).select_from(connections)
        noted = select(func.count()).select_from(audit).where(audit.c.subject == "connection")
        return int((await connection.execute(made)).scalar_one()), int(
            (await connection.execute(noted)).scalar_one()
        )


@pytest.mark.parametrize("headers", [CURL, FETCH], ids=["curl", "fetch"])
async def test_each_example_is_made_and_listed_as_it_is_printed(api: Api, headers: Mapping[str, str]) -> None:
    for example in EXAMPLE:
        status, media, made = await send(
            api, "POST", "/api/integrations", headers, await integration(api, example)
        )
        assert (status, media) == (201, "application/json"), made
        assert made == example
    status, media, listed = await send(api, "GET", "/api/integrations/1", headers)
    assert (status, media) == (200, "application/json")
    assert listed == EXAMPLE
    assert_shape(listed, EXAMPLE, exact=True)
    assert await api.get("/api/integrations/WEB") == EXAMPLE


async def test_the_example_without_a_body_says_what_is_needed(api: Api) -> None:
    for headers in (CURL, FETCH):
        status, media, told = await send(api, "POST", "/api/integrations", headers)
        assert (status, media) == (422, "application/json")
        assert told["errors"] == {"integration": ["This field is needed."]}
    assert await counts(api) == (0, 0)


async def test_ids_are_taken_as_numbers_as_texts_and_of_a_project_as_its_key(api: Api) -> None:
    token = await token_of(api, "jira")
    for project, of in ((1, token), ("1", str(token)), ("WEB", token)):
        body = await integration(api, EXAMPLE[0], project_id=project, token_id=of)
        made = await api.post("/api/integrations", body)
        stored = await api.get(f"/v1/connections/{made['id']}")
        assert (stored["project_id"], stored["credential_id"]) == (1, token)


async def test_what_a_client_sends_besides_is_passed_over(api: Api) -> None:
    body = await integration(api, EXAMPLE[2], colour="green")
    made = await api.post("/api/integrations?page=2", {**body, "client": "script"})
    assert made["integration_type"] == "jenkins"


async def test_without_a_token_it_asks_anonymously(api: Api) -> None:
    made = await api.post("/api/integrations", await integration(api, EXAMPLE[2], token_id=None))
    assert (await api.get(f"/v1/connections/{made['id']}"))["credential_id"] is None


async def test_an_integration_made_here_is_synced_hourly_and_really(api: Api) -> None:
    async with JiraCloud() as site:
        site.add_account("me", "a secret of the tests")
        site.seed(7)
        body = await integration(api, {**EXAMPLE[0], "url": f"{site.url}/issues/?filter="
                                       f"{site.add_filter('project = TG')}"})  # fmt: skip
        made = await api.post("/api/integrations", body)
        stored = await api.get(f"/v1/connections/{made['id']}")
        assert (stored["frequency"], stored["next_due_at"] is None) == ("hourly", False)
        sync = await api.synced(int(made["id"]))
    assert (sync["state"], sync["counters"]["issues"]["new"]) == ("succeeded", 7)


async def test_what_is_made_elsewhere_is_listed_unless_the_document_knows_no_such_type(api: Api) -> None:
    common = {"project_id": 1, "frequency": "manually"}
    await api.post("/v1/connections", {"name": "a draft", "system": "jira", **common})
    await api.post("/v1/connections", {"name": "elsewhere", "system": "zendesk", **common})
    await api.post("/v1/connections", {"name": "of nobody", "system": "jira", "frequency": "manually"})
    listed = await api.get("/api/integrations/1")
    assert listed == [{"id": "1", "integration_type": "jira", "name": "a draft", "url": ""}]
    await api.delete("/v1/connections/1")
    assert await api.get("/api/integrations/1") == []


async def test_tokens_are_the_credentials_without_their_secrets(api: Api) -> None:
    ids = [await token_of(api, system) for system in ("jira", "azure", "jenkins")]
    await api.credential(system="zendesk", secret="another secret")
    status, media, listed = await send(api, "GET", "/api/tokens", CURL)
    assert (status, media) == (200, "application/json")
    assert_shape(listed, [TOKEN], exact=True)
    assert [(one["id"], one["integ_type"]) for one in listed] == [
        (str(n), system) for n, system in zip(ids, ("jira", "azure", "jenkins"), strict=True)
    ]
    assert await api.get(f"/api/tokens/{ids[1]}") == listed[1]
    assert "secret" not in str(listed)
    for asked in ("4", "99", "mine"):
        told = await api.ask("GET", f"/api/tokens/{asked}")
        assert told == (404, {"error": f"There is no token {asked}."})


BAD: dict[str, tuple[dict[str, object], str]] = {
    "an unknown type": ({"integration_type": "github"}, "integration_type"),
    "a type of the wrong type": ({"integration_type": 5}, "integration_type"),
    "an unknown project": ({"project_id": 99}, "project_id"),
    "an unknown key of a project": ({"project_id": "NOPE"}, "project_id"),
    "a project of the wrong type": ({"project_id": True}, "project_id"),
    "no project": ({"project_id": None}, "project_id"),
    "an unknown token": ({"token_id": 99}, "token_id"),
    "a token that is no id": ({"token_id": "mine"}, "token_id"),
    "an empty name": ({"name": ""}, "name"),
    "a URL that is none": ({"url": "http://["}, "url"),
    "a URL with a password": ({"url": "https://me:hunter2@jenkins.company.com/job/a"}, "url"),
    "no URL": ({"url": ""}, "url"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_does_not_fit_makes_nothing_and_names_the_field(api: Api, what: str) -> None:
    values, field = BAD[what]
    status, told = await api.ask("POST", "/api/integrations", await integration(api, EXAMPLE[2], **values))
    assert status == 422, told
    assert list(told["errors"]) == [field]
    assert all(isinstance(text, str) for text in told["errors"][field])
    assert field in told["error"]
    assert "hunter2" not in str(told)
    assert await counts(api) == (0, 0)


@pytest.mark.parametrize("name", ["integration_type", "name", "project_id", "token_id", "url"])
async def test_each_field_of_the_document_is_needed(api: Api, name: str) -> None:
    body: Any = await integration(api, EXAMPLE[0])
    del body["integration"][name]
    status, told = await api.ask("POST", "/api/integrations", body)
    assert (status, told["errors"]) == (422, {name: ["This field is needed."]})
    assert await counts(api) == (0, 0)


async def test_a_token_of_another_type_is_refused(api: Api) -> None:
    body = await integration(api, EXAMPLE[2], token_id=await token_of(api, "jira"))
    status, told = await api.ask("POST", "/api/integrations", body)
    assert (status, list(told["errors"])) == (422, ["token_id"])
    assert await counts(api) == (0, 0)


async def test_what_is_no_json_is_400_and_an_unknown_project_404(api: Api) -> None:
    async with api.http.post(f"{api.url}/api/integrations", data=b"{") as answer:
        assert (answer.status, answer.content_type) == (400, "application/json")
        assert (await answer.json())["error"].startswith("The body is not JSON")
    for asked in ("99", "0", "NOPE", "9" * 30):
        status, told = await api.ask("GET", f"/api/integrations/{asked}")
        assert (status, told) == (404, {"error": f"There is no project {asked}."})


async def test_keys_are_told_apart(api: Api) -> None:
    reading = (await api.post("/v1/keys", {"name": "r", "permissions": ["read"]}))["key"]
    body = await integration(api, EXAMPLE[0])
    for headers in ({}, {"X-API-Key": "wrong"}):
        for method, path in (("GET", "/api/integrations/1"), ("POST", "/api/integrations")):
            status, media, told = await send(api, method, path, headers, body if method == "POST" else None)
            assert (status, media, list(told)) == (401, "application/json", ["error"])
    assert (await api.ask("GET", "/api/integrations/1", X_API_Key=reading))[0] == 200
    status, told = await api.ask("POST", "/api/integrations", body, X_API_Key=reading)
    assert (status, list(told)) == (403, ["error"])
    assert await counts(api) == (0, 0)


async def test_a_key_of_another_project_sees_and_makes_nothing_here(api: Api) -> None:
    other = (await api.post("/v1/projects", {"name": "Other", "key": "OTHER"}))["id"]
    made = {"name": "o", "permissions": ["write"], "projects": [other]}
    key = (await api.post("/v1/keys", made))["key"]
    body = await integration(api, EXAMPLE[0])
    assert (await api.ask("GET", "/api/integrations/1", X_API_Key=key))[0] == 404
    assert (await api.ask("GET", f"/api/integrations/{other}", X_API_Key=key)) == (200, [])
    status, told = await api.ask("POST", "/api/integrations", body, X_API_Key=key)
    assert (status, list(told["errors"])) == (422, ["project_id"])
    assert await api.ask("GET", "/api/tokens", X_API_Key=key) == (200, [])
    assert (await api.ask("GET", "/api/tokens/1", X_API_Key=key))[0] == 404
    assert await counts(api) == (0, 0)


async def test_a_key_of_a_project_sees_the_tokens_that_are_used_there(api: Api) -> None:
    await token_of(api, "azure")
    body = await integration(api, EXAMPLE[0])
    await api.post("/api/integrations", body)
    key = (await api.post("/v1/keys", {"name": "o", "permissions": ["write"], "projects": [1]}))["key"]
    status, listed = await api.ask("GET", "/api/tokens", X_API_Key=key)
    assert (status, [one["id"] for one in listed]) == (200, ["2"])
    assert (await api.ask("GET", "/api/tokens/2", X_API_Key=key))[0] == 200
    assert (await api.ask("POST", "/api/integrations", body, X_API_Key=key))[0] == 201


async def test_a_long_list_costs_as_many_statements_as_a_short_one(api: Api) -> None:
    statements: list[str] = []
    engine = api.house.database.engine.sync_engine

    def counted(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    await api.post("/api/integrations", await integration(api, EXAMPLE[0]))
    event.listen(engine, "before_cursor_execute", counted)
    await api.get("/api/integrations/1")
    short = len(statements)
    event.remove(engine, "before_cursor_execute", counted)
    for n in range(5):
        await api.post("/api/integrations", await integration(api, EXAMPLE[0], name=f"n{n}"))
    statements.clear()
    event.listen(engine, "before_cursor_execute", counted)
    assert len(await api.get("/api/integrations/1")) == 6
    event.remove(engine, "before_cursor_execute", counted)
    assert len(statements) == short > 0
