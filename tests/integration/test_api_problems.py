"""Errors: problem documents that name the field and hold no more than that."""

import re
from collections.abc import AsyncIterator, Mapping
from io import BytesIO

import pytest
from structlog.testing import capture_logs

from api.routes import ROUTES
from store.database import Database
from tests.api_server import Api, serving_api

pytestmark = pytest.mark.sqlite_does

MEDIA = "application/problem+json"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def sent(api: Api, body: bytes) -> tuple[int, str, dict[str, object]]:
    async with api.http.post(f"{api.url}/v1/projects", data=BytesIO(body)) as answer:
        return answer.status, answer.content_type, await answer.json(content_type=None)


@pytest.mark.parametrize("body", [b"{", b"nonsense", b'{"name": "\xff"}', b'{"name": "\\ud800"}', b"\x00"])
async def test_what_is_not_json_is_400(api: Api, body: bytes) -> None:
    status, media, problem = await sent(api, body)
    assert (status, media, problem["title"]) == (400, MEDIA, "Bad Request")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"key": "k"}', "name"),
        (b'{"name": 7, "key": "k"}', "name"),
        (b'{"name": "", "key": "k"}', "name"),
        (b'{"name": "  ", "key": "k"}', "name"),
        (b'{"name": "a\\u0000b", "key": "k"}', "name"),
        (b'{"name": "' + b"x" * 201 + b'", "key": "k"}', "name"),
        (b'{"name": "n", "key": "k", "colour": 1}', "colour"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"", "name"),
    ],
)
async def test_what_does_not_fit_is_422_and_names_the_field(api: Api, body: bytes, field: str) -> None:
    status, media, problem = await sent(api, body)
    assert (status, media) == (422, MEDIA)
    assert isinstance(problem["errors"], list)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["errors"][0]["message"]


async def test_a_body_without_bottom_is_400(api: Api) -> None:
    body = b'{"name": "n", "system": "shelf", "params": ' + b'{"a": ' * 40_000
    async with api.http.post(f"{api.url}/v1/connections", data=BytesIO(body)) as answer:
        assert (answer.status, answer.content_type) == (400, MEDIA)


async def test_a_field_deep_in_the_body_is_named_by_its_path(api: Api) -> None:
    body = {"name": "n", "system": "shelf", "streams": ["books", 7]}
    assert list(await api.refused("POST", "/v1/connections", body)) == ["streams[1]"]


async def test_everything_wrong_with_a_connection_is_said_at_once(api: Api) -> None:
    body = {
        "name": "n",
        "system": "shelf",
        "url": "nonsense",
        "frequency": "sometimes",
        "streams": ["films"],
        "credential_id": 77,
        "project_id": 78,
    }
    wrong = await api.refused("POST", "/v1/connections", body)
    assert set(wrong) == {"url", "frequency", "streams", "credential_id", "project_id"}
    assert "books, loans" in wrong["streams"]


async def test_a_body_of_more_than_a_megabyte_is_413(api: Api) -> None:
    status, media, problem = await sent(api, b'{"name": "' + b"x" * 1024 * 1024 + b'"}')
    assert (status, media, problem["status"]) == (413, MEDIA, 413)


async def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    async with api.http.get(f"{api.url}/nothing") as answer:
        assert (answer.status, answer.content_type) == (404, MEDIA)
    async with api.http.put(f"{api.url}/v1/projects") as answer:
        assert (answer.status, answer.content_type) == (405, MEDIA)
        assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("which", ["0", "-1", "x", "99999999999999999999", "9223372036854775808", "7"])
async def test_an_id_of_nothing_is_404_everywhere(api: Api, which: str) -> None:
    for route in ROUTES:
        if "{id}" in route.path:
            path = re.sub(r"\{[^}]*\}", "1", route.path.replace("{id}", which))
            status, problem = await api.ask(route.method, path, {} if route.method != "GET" else None)
            assert status == 404, path
            if route.dialect is None:  # the other documents have words of their own
                assert problem["status"] == 404, path


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "colour=red"])
async def test_a_wrong_parameter_is_422_and_named(api: Api, query: str) -> None:
    for path in ("projects", "credentials", "connections", "syncs"):
        wrong = await api.refused("GET", f"/v1/{path}?{query}")
        assert list(wrong) == [query.partition("=")[0]]


async def test_a_defect_is_a_500_that_tells_nothing_and_is_logged_once(database: Database) -> None:
    async def broken() -> Mapping[str, bool]:
        raise RuntimeError("an inner detail")

    async with serving_api(database, ready=broken) as api:
        with capture_logs() as logs:
            async with api.http.get(f"{api.url}/readyz") as answer:
                text = await answer.text()
        assert (answer.status, answer.content_type) == (500, MEDIA)
        assert "inner detail" not in text
        assert "Traceback" not in text
    assert [line["event"] for line in logs] == ["api.failed"]


async def test_a_database_that_is_away_is_503_and_the_caller_is_asked_back(database: Database) -> None:
    away = Database("sqlite+aiosqlite:////nowhere/at/all.db")
    async with serving_api(database, database=away) as api:
        async with api.http.get(f"{api.url}/v1/projects") as answer:
            assert (answer.status, answer.content_type) == (503, MEDIA)
            assert "Retry-After" in answer.headers
            assert "SELECT" not in await answer.text()
        assert (await api.get("/healthz"))["alive"]
