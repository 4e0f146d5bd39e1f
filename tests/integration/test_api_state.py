"""Health, readiness and numbers of the server itself."""

from collections.abc import AsyncIterator, Mapping

import pytest
from prometheus_client import CollectorRegistry, Counter

from api.scrapes import Scrapes
from store.database import Database
from tests.api_server import Api, serving_api


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, scrapes=Scrapes(kept_seconds=0)) as served:
        yield served


async def numbers(api: Api) -> dict[str, float]:
    async with api.http.get(f"{api.url}/metrics") as answer:
        assert (answer.status, answer.content_type) == (200, "text/plain")
        lines = (await answer.text()).splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def test_it_is_ready_when_every_role_runs(api: Api) -> None:
    assert await api.get("/readyz") == {"ready": True, "roles": {"scheduler": True, "worker": True}}
    async with api.http.head(f"{api.url}/healthz") as answer:
        assert answer.status == 200


async def test_it_is_not_ready_without_a_role_and_says_which(database: Database) -> None:
    async def ready() -> Mapping[str, bool]:
        return {"scheduler": True, "worker": False}

    async with serving_api(database, ready=ready) as api:
        status, problem = await api.ask("GET", "/readyz")
        assert (status, "worker" in problem["detail"], "scheduler" in problem["detail"]) == (503, True, False)
        assert (await api.get("/healthz")) == {"alive": True}


async def test_numbers_are_those_of_the_moment(api: Api) -> None:
    before = await numbers(api)
    assert before['tidegate_syncs{state="queued"}'] == 0
    assert before["tidegate_outbox_lag_seconds"] == 0
    made = await api.shelf()
    gone = await api.shelf()
    await api.delete(f"/v1/connections/{gone['id']}")
    await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    after = await numbers(api)
    assert after['tidegate_syncs{state="queued"}'] == 1
    assert after['tidegate_connections{cause="",health="pending"}'] == 1
    assert after['tidegate_connections{cause="",health="disabled"}'] == 0
    assert 0 < after["tidegate_outbox_lag_seconds"] < 60


async def test_what_the_process_counts_itself_is_shown_too(database: Database) -> None:
    registry = CollectorRegistry()
    Counter("tidegate_tests", "Of this test.", registry=registry).inc(3)
    async with serving_api(database, metrics=registry) as api:
        assert (await numbers(api))["tidegate_tests_total"] == 3
