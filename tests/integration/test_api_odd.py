"""Requests that no client makes: odd methods, nothing, far too much, and everything twice. Never a 500."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.routes import ROUTES
from tests.api_server import ADMIN_KEY, Api
from tests.integration.test_api_limits import port_of, said_to
from tests.integration.test_schemathesis import LEFT_OUT, furnished

METHODS = ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "PUT", "BREW", "X" * 200]
PATHS = sorted({re.sub(r"\{[^}]*\}", "1", route.path) for route in ROUTES if route.path != LEFT_OUT})
DEEP = "[" * 50_000
BODIES = [
    *(
        "null",
        "[]",
        "{}",
        "0",
        '""',
        "true",
        "NaN",
        "-Infinity",
        "{",
        "\x00",
        "\ufeff{}",
        "9" * 5000,
        "1e999",
    ),
    *('{"a": 1, "a": 2}', '{"name": null, "name": "\\ud800"}', '{"name": "\\u0000"}', '{"": {}}', DEEP),
    json.dumps({"name": "n" * 200_000, "key": "k" * 200_000, "url": "u" * 200_000}),
    json.dumps({"limit": 10**400, "id": -(10**400), "name": 10**400}),
    json.dumps({f"k{number}": number for number in range(20_000)}),
]
QUERIES = [
    *("limit=1&limit=2", "limit=", "limit", "limit=null", "limit=-1", "limit=" + "9" * 4000, "limit=1e3"),
    *(
        "cursor=a&cursor=b",
        "cursor=%00",
        "cursor=%ff",
        "cursor=" + "A" * 4000,
        "connection_id=1&connection_id=1",
    ),
    *("x[]=1&x[]=2", "%5B%5D", "&&&===", "changed_after=9223372036854775808", "page=99999999999999999999"),
    "&".join(f"a{number}=1" for number in range(500)),
]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with furnished(tmp_path) as served:
        yield served


async def unfit(api: Api, method: str, path: str, body: bytes | None = None) -> str | None:
    """What is wrong with the answer; None for one below 500 that tells nothing of how it was made."""
    headers = {"Content-Type": "application/json"}
    async with api.http.request(
        method, api.url + path, data=body, headers=headers, allow_redirects=False
    ) as answer:
        said = await answer.text()
    wrong = answer.status >= 500 or "Traceback" in said or "sqlalchemy" in said.lower()
    return f"{method} {path} {(body or b'')[:40]!r}: {answer.status} {said[:200]}" if wrong else None


async def test_odd_methods_are_answered_and_none_echoes_what_was_sent(api: Api) -> None:
    """TRACE would show a browser the key that it may not see."""
    wrong: list[object] = []
    for path in PATHS:
        for method in METHODS:
            sent = (
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\nConnection: close\r\n\r\n"
            )
            status, said = await said_to(port_of(api), sent.encode())
            if not 200 <= status < 500 or ADMIN_KEY.encode() in said:
                wrong.append((method, path, status, said[:200]))
        wrong.append(await unfit(api, "HEAD", path))
    assert [each for each in wrong if each] == []


async def test_bodies_that_nobody_meant_are_refused_everywhere(api: Api) -> None:
    routes = [
        (r.method, re.sub(r"\{[^}]*\}", "1", r.path)) for r in ROUTES if r.method in ("POST", "PUT", "PATCH")
    ]
    wrong = [
        await unfit(api, method, path, body.encode("utf-8", "surrogatepass"))
        for method, path in routes
        for body in BODIES
    ]
    assert [each for each in wrong if each] == []


async def test_parameters_that_nobody_meant_are_refused_everywhere(api: Api) -> None:
    wrong = [await unfit(api, "GET", f"{path}?{query}") for path in PATHS for query in QUERIES]
    assert [each for each in wrong if each] == []
