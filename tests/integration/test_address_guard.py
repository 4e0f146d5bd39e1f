"""No URL that anybody may give, and no hop behind it, leads to an address that the operator did not allow."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from adapters.base import Blocked, Unavailable
from adapters.http import utc_now
from api.routes import ROUTES
from store.database import Database
from tests.api_server import Api, serving_api
from tests.house import ADAPTERS
from tests.servers import Handler, Wire, answer, serving, speaking

pytestmark = pytest.mark.sqlite_does

#: Loopback as somebody may write it who hopes that nobody looks: names, numbers, other families.
OURS = [
    "127.0.0.1",
    "127.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "017700000001",
    "2130706433",
    "localhost",
    "localhost.",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
]
METADATA = ["169.254.169.254", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"]
#: A URL of each system at a host.
URLS = {
    "jira": "http://{host}/issues/?filter=1",
    "jenkins": "http://{host}/job/one",
    "azure": "http://{host}/collection/project",
}
#: What another server of the inside might answer, in all forms that an adapter may read.
INSIDE = "internal-page-4711"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server of the inside that counts who comes."""
    async with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as listening:
        yield listening


@pytest.fixture
async def strict(database: Database) -> AsyncIterator[Api]:
    """The API where no private network is allowed."""
    async with serving_api(database, ADAPTERS, allow=()) as api:
        yield api


async def tried(api: Api, system: str, url: str, **more: object) -> Any:
    """The error of a test before saving; None where the URL was refused before any request."""
    status, found = await api.ask("POST", "/v1/connections/test", {"system": system, "url": url, **more})
    if status == 422:
        return None
    assert status == 200, found
    assert not found["ok"]
    return found["error"]


@pytest.mark.parametrize("system", sorted(URLS))
async def test_no_spelling_of_a_private_address_is_dialled_for_a_connection(
    strict: Api, wire: Wire, system: str
) -> None:
    for host in OURS:
        error = await tried(strict, system, URLS[system].format(host=f"{host}:{wire.port}"))
        # Not every resolver knows a name with a dot at its end.
        kinds = ("blocked", "unreachable") if host == "localhost." else ("blocked",)
        assert error is None or error["kind"] in kinds, (host, error)
    assert wire.connections == 0


@pytest.mark.parametrize("system", sorted(URLS))
async def test_metadata_services_are_not_asked_even_where_every_network_is_allowed(
    database: Database, system: str
) -> None:
    async with serving_api(database, ADAPTERS, allow=("0.0.0.0/0", "::/0")) as api:
        for host in METADATA:
            error = await tried(api, system, URLS[system].format(host=host))
            assert error is None or error["kind"] == "blocked", (host, error)


@pytest.mark.parametrize("system", sorted(URLS))
async def test_a_sync_dials_no_private_address_and_says_what_to_do(
    strict: Api, wire: Wire, system: str
) -> None:
    body = {"name": "x", "system": system, "url": URLS[system].format(host=f"127.0.0.1:{wire.port}")}
    made = await strict.post("/v1/connections", {**body, "frequency": "manually"})
    sync = await strict.synced(made["id"])
    assert (sync["state"], sync["error"]["kind"]) == ("failed", "blocked")
    assert "TIDEGATE_ALLOW_NETWORKS" in sync["error"]["hint"]
    assert wire.connections == 0


@pytest.mark.parametrize("host", OURS)
async def test_no_secret_is_sent_to_a_private_token_url(strict: Api, wire: Wire, host: str) -> None:
    body = {
        "name": "x",
        "system": "jira",
        "kind": "oauth2",
        "client_id": "us",
        "secret": "a client's secret",
        "token_url": f"https://{host}:{wire.port}/token",
    }
    status, made = await strict.ask("POST", "/v1/credentials", body)
    if status == 201:
        # A name that is only known when it is looked up is refused when it is dialled.
        url = "https://jira.example.invalid/issues/?filter=1"
        error = await tried(strict, "jira", url, credential_id=made["id"])
        assert error["kind"] == "blocked" or host == "localhost."
    assert wire.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("system", sorted(URLS))
async def test_a_redirect_does_not_lead_inside(
    database: Database, wire: Wire, system: str, status: int
) -> None:
    there = answer(status, Location=f"http://localhost:{wire.port}/admin")
    async with serving_api(database, ADAPTERS) as api, serving(there) as outside:
        assert await tried(api, system, URLS[system].format(host=outside.url.removeprefix("http://")))
        assert outside.seen
    assert wire.connections == 0


def linking(to: str) -> Handler:
    """A remote that names another address in each field and header where one could be followed."""
    links = {"next": to, "nextPage": to, "self": to, "url": to, "href": to, "_links": {"next": {"href": to}}}

    async def handler(request: web.Request) -> web.StreamResponse:
        body = {**links, "values": [links], "jobs": [links], "value": [links], "issues": [], "isLast": False}
        body |= {"accountId": "me", "name": "me", "_class": "hudson.model.FreeStyleProject", "builds": []}
        headers = {"Link": f'<{to}>; rel="next"', "X-MS-ContinuationToken": to, "X-Jenkins": "2.555"}
        return web.json_response(body, headers=headers)

    return handler


@pytest.mark.parametrize("system", sorted(URLS))
async def test_a_link_in_an_answer_does_not_lead_elsewhere(
    database: Database, wire: Wire, system: str
) -> None:
    to = f"http://localhost:{wire.port}/page/2"
    async with serving_api(database, ADAPTERS) as api, serving(linking(to)) as outside:
        url = URLS[system].format(host=outside.url.removeprefix("http://"))
        made = await api.post(
            "/v1/connections", {"name": "x", "system": system, "url": url, "frequency": "manually"}
        )
        async with asyncio.timeout(60):
            await api.synced(made["id"])
        assert outside.seen
    assert wire.connections == 0


async def test_what_subscribers_name_is_dialled_with_the_same_guard(strict: Api, wire: Wire) -> None:
    post = strict.house.deps.remotes.poster(utc_now)
    for host in OURS:
        with pytest.raises((Blocked, Unavailable) if host == "localhost." else Blocked):
            await post(f"http://{host}:{wire.port}/hook", b"{}", {})
    assert wire.connections == 0


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 418, 500, 503])
@pytest.mark.parametrize("system", sorted(URLS))
async def test_a_test_tells_nothing_of_a_page_that_is_no_remote(
    database: Database, system: str, status: int
) -> None:
    """An allowed network holds more than remotes: a test must not become a way to read it."""
    page = answer(status, f"<html>{INSIDE}</html>".encode(), Content_Type="text/html", Server=INSIDE)
    async with serving_api(database, ADAPTERS) as api, serving(page) as inside:
        url = URLS[system].format(host=inside.url.removeprefix("http://"))
        _, found = await api.ask("POST", "/v1/connections/test", {"system": system, "url": url})
        assert inside.seen
    assert INSIDE not in str(found)


def test_every_field_that_takes_an_address_is_among_those_that_are_tried_here() -> None:
    """A new one needs a test here first."""
    named = {
        f"{route.path} {field}"
        for route in ROUTES
        for field in route.body.__struct_fields__
        if "url" in field.lower() or "uri" in field.lower() or "server" in field.lower()
    }
    assert {name for name in named if name.startswith("/v1")} == {
        "/v1/connections url",
        "/v1/connections/{id} url",
        "/v1/connections/test url",
        "/v1/credentials token_url",
        "/v1/credentials/{id} token_url",
        "/v1/subscriptions url",
        "/v1/subscriptions/{id} url",
    }
