"""Every route of the table, asked with every sort of key: the outcome follows from the table alone."""

import re
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from api.access import PERMISSIONS, Permission
from api.app import make_app
from api.routes import ROUTES
from api.routing import Route
from api.ui.routes import ROUTES as PAGE
from store.database import Database
from tests.api_server import Api, serving_api

#: What belongs to the first project is called so, and must not be seen with a key of the second.
MARK = "of the first project"
KINDS = ("none", "wrong", "revoked", "read", "write", "admin", "limited", "mine")
#: Who may do what, decided for each route by a person, apart from the table that is served.
DECIDED = Path(__file__).with_name("access.txt")


class Key(msgspec.Struct):
    """A sort of key: its text, the greatest permission it has, and whether it sees another project only, or
    only that to which everything belongs.
    """

    text: str
    permission: Permission | None = None
    limited: bool = False
    mine: bool = False


async def make_keys(api: Api) -> dict[str, Key]:
    """A connection with a sync in one project, and keys of all sorts; none of them has the id 1."""
    one, two = [(await api.post("/v1/projects", {"name": k, "key": k}))["id"] for k in (MARK, "two")]
    made = await api.shelf(name=MARK, project_id=one)
    await api.synced(made["id"])
    await new_key(api, "unused", "read")
    keys: dict[str, Key] = {name: Key(await new_key(api, name, name), name) for name in PERMISSIONS}
    keys["limited"] = Key(await new_key(api, "limited", "admin", projects=[two]), "admin", limited=True)
    keys["mine"] = Key(await new_key(api, "mine", "admin", projects=[one]), "admin", mine=True)
    revoked = await api.post("/v1/keys", {"name": "revoked", "permissions": ["admin"]})
    await api.delete(f"/v1/keys/{revoked['id']}")
    return {**keys, "revoked": Key(revoked["key"]), "wrong": Key("tg_wrong"), "none": Key("")}


async def new_key(api: Api, name: str, permission: str, **values: object) -> str:
    made = await api.post("/v1/keys", {"name": name, "permissions": [permission], **values})
    return str(made["key"])


#: Open to all; a key that is given must be a good one.
SHOWS_MORE_WITH_A_KEY = ("/metrics",)


def wrong_with(route: Route[Any, Any], key: Key, status: int, said: str) -> str | None:
    """What is not as the table says; None if all is well."""
    if route.permission is None:
        if route.path in SHOWS_MORE_WITH_A_KEY and key.text and key.permission is None:
            return None if status == 401 else "must say that this key is none"
        return None if status not in (401, 403) else "is open to all"
    if key.permission is None:
        return None if status == 401 or (key.text and status == 429) else "must refuse this key with 401"
    if PERMISSIONS.index(route.permission) > PERMISSIONS.index(key.permission):
        return None if status == 403 else f"needs {route.permission}"
    if key.mine and not route.by_project:
        return None if status == 403 else "is for keys of the whole account"
    if not key.limited:
        return None if status not in (401, 403, 429) else "must take this key"
    if not route.by_project:
        return None if status == 403 else "is for keys of the whole account"
    if "{" in route.path:
        # A body that cannot be is refused before anything is looked for, whatever is there.
        hidden = status == 404 or (status == 422 and route.dialect is not None)
        return None if hidden else "must not find what is not of its project"
    return None if status not in (401, 403, 404) and MARK not in said else "must show its own project only"


@pytest.mark.parametrize("kind", KINDS)
async def test_each_route_takes_the_keys_that_the_table_says(database: Database, kind: str) -> None:
    async with serving_api(database) as api, aiohttp.ClientSession() as http:
        key = (await make_keys(api))[kind]
        headers = {"X-API-Key": key.text} if key.text else {}
        wrong = []
        for route in ROUTES:
            url = api.url + re.sub(r"\{[^}]*\}", "1", route.path)
            body: dict[str, object] | None = None if route.method == "GET" else {}
            async with http.request(route.method, url, headers=headers, json=body) as answer:
                said = "" if answer.content_type == "text/event-stream" else await answer.text()
                found = wrong_with(route, key, answer.status, said)
            if found:
                wrong.append(f"{route.method} {route.path} {found}, and answered {answer.status}")
        assert wrong == [], "; ".join(wrong)


def decisions() -> set[str]:
    """The lines of the file, in their order of words."""
    lines = DECIDED.read_text("utf-8").splitlines()
    return {" ".join(line.split()) for line in lines if line and not line.startswith("#")}


def served() -> set[str]:
    """The same of what is served: method, path, permission, and who is kept out of it."""
    api = [
        f"{route.method} {route.path} {route.permission or 'nobody'}"
        + ("" if route.permission is None else " project" if route.by_project else " account")
        for route in ROUTES
    ]
    page = [
        f"{route.method} {route.path} page-{'nobody' if route.open else route.permission}"
        + ("" if route.open else " project" if route.by_project else " account")
        for route in PAGE
    ]
    return {*api, *page}


def test_somebody_decided_of_every_route_who_may_use_it() -> None:
    """A new route, or one that is opened further, is written down in access.txt by whoever decides it."""
    assert {
        "not decided": sorted(served() - decisions()),
        "not served": sorted(decisions() - served()),
    } == {"not decided": [], "not served": []}


async def test_nothing_is_served_beside_the_tables(database: Database) -> None:
    async with serving_api(database) as api:
        known = {(route.method, _shape(route.path)) for route in ROUTES}
        known |= {(route.method, _shape(route.path)) for route in PAGE}
        app = make_app(api.context)
        there = {
            (route.method, _shape(route.resource.canonical))
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
    assert sorted(there - known) == []


def _shape(path: str) -> str:
    """A path whatever its parts are called, with a slash at its end or not."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def test_every_route_under_v1_needs_a_key() -> None:
    assert [
        route.path for route in ROUTES if route.path.startswith("/v1/") and route.permission is None
    ] == []


def test_reading_needs_read_and_changing_needs_more() -> None:
    routes = [route for route in ROUTES if route.permission is not None]
    assert [r.path for r in routes if r.method not in ("GET", "HEAD") and r.permission == "read"] == []
    assert [r.path for r in routes if re.match("/v1/(keys|audit)", r.path) and r.permission != "admin"] == []
