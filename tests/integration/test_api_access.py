"""Who may ask: keys in every usual header, and what is open to all."""

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from api.access import Caller, key_in, require
from api.keyring import Keyring
from api.problems import ProblemError
from api.routes import ROUTES
from config.secret import Secret
from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


async def test_every_route_but_those_for_machines_refuses_a_stranger(api: Api) -> None:
    async with aiohttp.ClientSession() as stranger:
        for route in ROUTES:
            path = re.sub(r"\{[^}]*\}", "1", route.path)
            async with stranger.request(route.method, api.url + path, json={}) as answer:
                if route.path in OPEN:
                    assert answer.status == 200, path
                    continue
                if route.path == "/webhooks/{token}":
                    assert answer.status == 404, path  # the unguessable path is the proof
                    continue
                assert answer.status == 401, path
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                if route.dialect is None:  # the other documents have words of their own
                    assert answer.content_type == "application/problem+json"
                    assert (await answer.json())["status"] == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-API-Key", ADMIN_KEY),
        ("Authorization", f"Bearer {ADMIN_KEY}"),
        ("Authorization", f"bearer {ADMIN_KEY}"),
        ("Authorization", f"Token {ADMIN_KEY}"),
        ("Authorization", f'Token "{ADMIN_KEY}"'),
    ],
)
def test_a_key_is_taken_from_each_usual_header(name: str, value: str) -> None:
    assert key_in({name: value}) == ADMIN_KEY


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ADMIN_KEY},
        {"Authorization": f"Basic {ADMIN_KEY}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Token"},
        {"X-API-Key": "  "},
    ],
)
def test_headers_without_a_key_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ProblemError) as refused:
        key_in(headers)
    assert refused.value.status == 401
    assert ADMIN_KEY not in refused.value.detail


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ADMIN_KEY[:-1]},
        {"X-API-Key": f"{ADMIN_KEY}x"},
        {"X-API-Key": "tg_wrong"},
        {"Authorization": f'Bearer "{ADMIN_KEY}"'},
        {"Authorization": 'Token "'},
        {"X-API-Key": "\udcff"},
    ],
)
async def test_a_wrong_key_is_refused(database: Database, headers: dict[str, str]) -> None:
    with pytest.raises(ProblemError) as refused:
        await Keyring().caller(database, Secret(ADMIN_KEY), key_in(headers), "192.0.2.1")
    assert refused.value.status == 401
    assert ADMIN_KEY not in refused.value.detail


def test_a_key_without_a_permission_is_told_which_one() -> None:
    with pytest.raises(ProblemError, match="permission write") as refused:
        require(Caller("reader", frozenset({"read"})), "write")
    assert refused.value.status == 403
