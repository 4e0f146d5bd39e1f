"""The description of the API: all that is served is in it, it is well-formed, and it is what is answered."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import aiohttp
import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from api.access import HEADERS
from api.openapi import describe
from api.routes import ROUTES
from api.routing import JSON
from api.shapes import Nothing
from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.described import Description

DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(describe(ROUTES)))
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_it_is_served_to_everyone_as_it_is_made_of_the_routes(api: Api) -> None:
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{api.url}/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, JSON)
        assert await answer.json() == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_route_is_in_it() -> None:
    served = {(route.method.lower(), route.path) for route in ROUTES}
    assert served == {(method, path) for method, path, _ in OPERATIONS}


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_operation_is_named_once_and_told_of() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for _, path, operation in OPERATIONS:
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags


def test_each_operation_with_a_key_takes_all_four_headers() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert set(schemes) == set(HEADERS)
    assert len(schemes) == 4
    for route in ROUTES:
        security = DOCUMENT["paths"][route.path][route.method.lower()]["security"]
        assert security == ([{name: []} for name in schemes] if route.permission else [])


@pytest.mark.parametrize("route", [r for r in ROUTES if r.example], ids=lambda r: f"{r.method} {r.path}")
def test_the_example_of_a_body_is_one(route: Any) -> None:
    content = DOCUMENT["paths"][route.path][route.method.lower()]["requestBody"]["content"][JSON]
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    Draft202012Validator(schema, validate_formats=True).validate(content["example"])


def test_every_body_has_an_example() -> None:
    without = [route.path for route in ROUTES if route.body is not Nothing and route.example is None]
    assert without == []


def test_what_is_made_leads_to_what_can_be_done_with_it() -> None:
    links = DOCUMENT["paths"]["/v1/connections"]["post"]["responses"]["201"]["links"]
    assert {"connections_get", "connections_change", "connections_remove", "syncs_start"} <= set(links)
    started = DOCUMENT["paths"]["/v1/connections/{id}/sync"]["post"]["responses"]["202"]["links"]
    assert set(started) == {"syncs_get", "syncs_cancel"}


async def test_live_events_are_described_as_they_are(api: Api) -> None:
    description = Description(ROUTES)
    async with api.http.get(f"{api.url}/v1/events") as answer:
        assert description.wrong_with("GET", "/v1/events", 200, answer.headers, "retry: 1") is None
    parameters = DOCUMENT["paths"]["/v1/events"]["get"]["parameters"]
    assert "Last-Event-ID" in {one["name"] for one in parameters}


@pytest.mark.parametrize(
    ("method", "path", "status", "media", "answer", "said"),
    [
        ("GET", "/v1/nowhere", 200, JSON, {}, "is not described"),
        ("GET", "/v1/projects/1", 418, JSON, {}, "answers 418"),
        ("GET", "/v1/projects/1", 200, "text/plain", {}, "as text/plain"),
        ("GET", "/v1/projects/1", 200, JSON, {"id": 1}, "required"),
        ("GET", "/v1/projects", 200, JSON, {"projects": [{"id": "1"}], "next": None}, "at"),
        ("GET", "/v1/projects/1", 404, "application/problem+json", {"title": "?"}, "required"),
    ],
)
def test_an_answer_that_is_not_as_described_is_noticed(
    method: str, path: str, status: int, media: str, answer: object, said: str
) -> None:
    wrong = Description(ROUTES).wrong_with(method, path, status, {"Content-Type": media}, answer)
    assert wrong is not None
    assert said in wrong


class Page(HTMLParser):
    """What a page has: the attributes of all elements, the ids, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def named(self, name: str) -> list[str]:
        return [value for each, value in self.attributes if each == name]


async def page(api: Api) -> tuple[Page, str, str]:
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{api.url}/docs") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        text = await answer.text()
        read = Page()
        read.feed(text)
        return read, text, answer.headers["Content-Security-Policy"]


async def test_the_page_tells_of_every_operation_with_a_command(api: Api) -> None:
    read, text, _ = await page(api)
    for _, path, operation in OPERATIONS:
        assert operation["operationId"] in read.named("id")
        assert path in text
    assert text.count("<pre>curl") == len(OPERATIONS)
    assert ADMIN_KEY not in text


async def test_the_page_loads_runs_and_sends_nothing(api: Api) -> None:
    read, text, policy = await page(api)
    assert "default-src 'none'" in policy
    assert not read.tags & {"script", "link", "img", "iframe", "form", "object"}
    assert not read.named("src")
    assert not re.search(r"url\(|@import", text)
    assert not [name for name, _ in read.attributes if name.startswith("on") or name == "style"]
    assert all(href.startswith(("#", "/")) for href in read.named("href"))
    assert {href[1:] for href in read.named("href") if href.startswith("#")} <= set(read.named("id"))


async def test_the_page_is_for_light_and_dark_and_for_phones(api: Api) -> None:
    read, text, _ = await page(api)
    assert "prefers-color-scheme: dark" in text
    assert ("content", "width=device-width, initial-scale=1") in read.attributes
    assert "lang" in dict(read.attributes)


async def test_the_style_of_the_page_is_the_one_that_its_policy_allows(api: Api) -> None:
    _, text, policy = await page(api)
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
