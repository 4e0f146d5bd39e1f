"""Tests of connections that somebody asks for again and again: 429, before anything is done or written."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.pace import AT_ONCE, PER_SECOND, Pace
from api.problems import ProblemError
from store.database import Database
from tests.api_server import Api, serving_api
from tests.servers import Seconds

pytestmark = pytest.mark.sqlite_does

TRIED = {"system": "shelf", "url": "shelf.example/3"}


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
async def api(database: Database, clock: Seconds) -> AsyncIterator[Api]:
    async with serving_api(database, pace=Pace(clock=clock)) as served:
        yield served


async def statuses(api: Api, paths: list[str], **headers: str) -> Counter[int]:
    asked = (api.ask("POST", path, TRIED if path.endswith("s/test") else None, **headers) for path in paths)
    return Counter(status for status, _ in await asyncio.gather(*asked))


async def test_a_hundred_tests_in_a_second_are_429_for_most(api: Api, clock: Seconds) -> None:
    other = (await api.post("/v1/keys", {"name": "other", "permissions": ["write"]}))["key"]
    made = await api.shelf()
    paths = ["/v1/connections/test", f"/v1/connections/{made['id']}/test"] * 50
    seen: Counter[int] = Counter()
    for tenth in range(10):
        seen += await statuses(api, paths[tenth * 10 : tenth * 10 + 10])
        clock.now += 0.1 if tenth < 9 else 0
    taken = AT_ONCE + int(0.9 * PER_SECOND)
    assert seen == {200: taken, 429: 100 - taken}
    # Nobody else waits for that.
    assert (await statuses(api, paths[:5], X_API_Key=other)) == {200: 5}
    tested = [
        entry for entry in (await api.get("/v1/audit?limit=1000"))["audit"] if entry["action"] == "test"
    ]
    assert len(tested) == seen[200] + 5
    status, headers, _ = await api.heard("POST", "/v1/connections/test", TRIED)
    assert (status, headers["Retry-After"]) == (429, "1")
    clock.now += 1
    assert await statuses(api, paths[:6]) == {200: int(PER_SECOND), 429: 1}


async def test_subscribers_are_not_knocked_at_without_end_either(api: Api) -> None:
    hook = await api.post("/v1/subscriptions", {"name": "x", "url": "http://127.0.0.1:9/"})
    paths = [f"/v1/subscriptions/{hook['id']}/test"] * (AT_ONCE + 5)
    assert (await statuses(api, paths))[429] == 5


def test_who_was_not_there_for_long_is_forgotten_and_nobody_saves_up(clock: Seconds) -> None:
    pace = Pace(2, 1.0, clock)
    clock.now += 3600
    for _ in range(2):
        pace.take("a")
    with pytest.raises(ProblemError) as told:
        pace.take("a")
    assert told.value.headers == {"Retry-After": "1"}
    for number in range(10_001):
        pace.take(number)
    pace.take("a")


async def test_anothers_credential_is_refused_as_one_that_never_was(api: Api) -> None:
    """With an address of one's own it goes nowhere, and nothing tells that it is there."""
    mine, theirs = [
        (await api.post("/v1/projects", {"name": name, "key": name}))["id"] for name in ("mine", "theirs")
    ]
    key = {"name": "mine", "permissions": ["write"], "projects": [mine]}
    me = (await api.post("/v1/keys", key))["key"]
    own = await api.shelf("evil.example/3", project_id=mine)
    used, unused = (await api.credential())["id"], (await api.credential())["id"]
    await api.shelf(project_id=theirs, credential_id=used)
    new = {"name": "x", "system": "shelf", "url": "evil.example/3", "project_id": mine}
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/connections", new),
        ("POST", "/v1/connections/test", new),
        ("PATCH", f"/v1/connections/{own['id']}", {}),
    ]
    for method, path, body in tries:
        told = [
            await api.ask(method, path, {**body, "credential_id": which}, X_API_Key=me)
            for which in (987654, used, unused)
        ]
        said = [(status, re.sub(r"credential \d+", "it", str(problem))) for status, problem in told]
        assert said == [said[0]] * 3
        assert said[0][0] == 422
    assert await api.get(f"/v1/connections/{own['id']}") == own
