"""What a key may not see is to its holder as if it were not there: in answers, heads, counts and time."""

import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from statistics import median
from typing import Any

import msgspec
import pytest

from api.routes import ROUTES
from api.routing import Route
from store.database import Database
from tests.api_server import Api, serving_api

pytestmark = pytest.mark.sqlite_does

#: Foreign things have the id 1; nothing has the other.
THEIRS, NOBODYS = "1", "987654"
#: Heads that are different from answer to answer, whatever is asked.
PASSING = {"Date", "Content-Length", "ETag"}
ENDLESS = "/v1/events"


class Estate(msgspec.Struct):
    """Two projects with something of each kind, and a key for each of them."""

    api: Api
    keys: Mapping[str, str]
    projects: Mapping[str, int]

    async def heard(
        self, whose: str, method: str, path: str, **more: str
    ) -> tuple[int, Mapping[str, str], str]:
        headers = {"X-API-Key": self.keys[whose], **{name.replace("_", "-"): v for name, v in more.items()}}
        body = None if method == "GET" else b"{}"
        headers |= {} if body is None else {"Content-Type": "application/json"}
        async with self.api.http.request(
            method, self.api.url + path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name not in PASSING}
            return answer.status, kept, await answer.text()

    async def furnish(self, whose: str, times: int) -> None:
        """So many connections with records, syncs, quarantine and subscribers of their own."""
        for number in range(times):
            project = self.projects[whose]
            credential = (await self.api.credential(name=f"{whose} {number}"))["id"]
            made = await self.api.shelf(
                name=f"{whose} {number}", project_id=project, credential_id=credential, debug=True
            )
            await self.api.synced(made["id"])
            hook = {"name": f"{whose} {number}", "url": "http://127.0.0.1:9/", "project_id": project}
            await self.api.post("/v1/subscriptions", hook)


@pytest.fixture
async def estate(database: Database) -> AsyncIterator[Estate]:
    async with serving_api(database) as api:
        projects, keys = {}, {}
        for whose in ("first", "second"):
            made = await api.post("/v1/projects", {"name": whose, "key": whose})
            projects[whose] = made["id"]
            wanted = {"name": whose, "permissions": ["admin"], "projects": [made["id"]]}
            keys[whose] = (await api.post("/v1/keys", wanted))["key"]
        yield Estate(api, keys, projects)


def with_ids() -> Iterator[Route[Any, Any]]:
    """Routes at which a key of a project may ask for something by its id."""
    return (r for r in ROUTES if "{" in r.path and r.by_project and r.permission is not None)


async def test_what_is_anothers_is_answered_as_what_never_was(estate: Estate) -> None:
    """Also to who knows its ETag from elsewhere: no 412, and no 304."""
    await estate.furnish("first", 1)
    checked = 0
    for route in with_ids():
        theirs, nobodys = (re.sub(r"\{[^}]*\}", each, route.path) for each in (THEIRS, NOBODYS))
        tag = (await estate.api.http.get(estate.api.url + theirs)).headers.get("ETag", '"x"')
        for more in (
            {},
            {"If_Match": tag},
            {"If_Match": '"other"'},
            {"If_None_Match": tag},
            {"If_None_Match": "*"},
        ):
            here = await estate.heard("second", route.method, theirs, **more)
            there = await estate.heard("second", route.method, nobodys, **more)
            assert here[0] in (404, 422), (route.method, route.path, more, here)
            shown = (there[0], there[1], there[2].replace(NOBODYS, THEIRS))
            assert here == shown, (route.method, route.path, more)
            assert "first" not in here[2]
            checked += 1
    assert checked > 100


async def test_counts_lists_and_pages_are_the_same_whatever_others_have(estate: Estate) -> None:
    await estate.furnish("first", 1)
    routes = [r for r in ROUTES if r.method == "GET" and r.by_project and r.permission and r.path != ENDLESS]
    paths = [re.sub(r"\{[^}]*\}", "1", route.path) for route in routes]
    paths += [f"{path}?limit=1" for path in paths if path.startswith("/v1/") and path.endswith("s")]
    before = {path: await estate.heard("first", "GET", path) for path in paths}
    await estate.furnish("second", 3)
    after = {path: await estate.heard("first", "GET", path) for path in paths}
    assert len([path for path, heard in before.items() if heard[0] == 200]) > 15
    assert {path: heard for path, heard in after.items() if heard != before[path]} == {}
    assert not [path for path, heard in after.items() if "second" in heard[2]]


async def test_the_time_of_an_answer_does_not_tell_what_is_there(estate: Estate) -> None:
    await estate.furnish("first", 1)
    took: dict[str, list[float]] = {THEIRS: [], NOBODYS: []}
    for _ in range(60):
        for each, times in took.items():
            began = time.perf_counter()
            await estate.heard("second", "GET", f"/v1/connections/{each}")
            times.append(time.perf_counter() - began)
    theirs, nobodys = (median(times) for times in took.values())
    # A look-up more would be seen; what is left is chance.
    assert abs(theirs - nobodys) < 0.5 * nobodys + 0.002
