"""Five documents and one model: what is made through one door is seen, changed and removed through all."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import aiohttp
import pytest

from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.house import ADAPTERS
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = pytest.mark.sqlite_does

SECRET = "a token of the tests"


class Desk:
    """What every door works on: a project, a credential, and an address at a Jira of their own."""

    def __init__(self, api: Api, http: aiohttp.ClientSession, site: JiraCloud) -> None:
        self.api = api
        self.site = site
        self.project = 0
        self.credential = 0
        self._http = http

    @property
    def url(self) -> str:
        return f"{self.site.url}/issues/?jql=project%20%3D%20TIDE"

    async def ask(self, method: str, path: str, body: object = None, *statuses: int) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with self._http.request(method, self.api.url + path, json=body, headers=headers) as answer:
            told = await answer.json(content_type=None) if await answer.read() else None
            assert answer.status in (statuses or (200,)), told
            return told


class Door:
    """One API: how connections are made, found, changed, tested, synced and removed through it.

    What a document does not have is not in `can`.
    """

    can: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def make(self, name: str) -> int:
        raise NotImplementedError

    async def names(self) -> Mapping[int, str]:
        """The names of the connections of the project, by id."""
        raise NotImplementedError

    async def change(self, connection_id: int) -> None:
        """Change what the document lets one change."""
        raise NotImplementedError

    async def get(self, connection_id: int) -> str | None:
        """The name of one connection; None if there is none."""
        raise NotImplementedError

    async def test(self, connection_id: int) -> bool:
        raise NotImplementedError

    async def sync(self, connection_id: int) -> None:
        raise NotImplementedError

    async def remove(self, connection_id: int) -> None:
        raise NotImplementedError


class Native(Door):
    can = frozenset({"make", "get", "change", "test", "sync", "remove"})

    async def make(self, name: str) -> int:
        body = {
            "name": name,
            "system": "jira",
            "url": self.desk.url,
            "credential_id": self.desk.credential,
            "project_id": self.desk.project,
            "frequency": "manually",
        }
        return int((await self.desk.ask("POST", "/v1/connections", body, 201))["id"])

    async def names(self) -> Mapping[int, str]:
        told = await self.desk.ask("GET", f"/v1/connections?project_id={self.desk.project}")
        return {one["id"]: one["name"] for one in told["connections"]}

    async def get(self, connection_id: int) -> str | None:
        told = await self.desk.ask("GET", f"/v1/connections/{connection_id}", None, 200, 404)
        name: str | None = told.get("name")
        return name

    async def change(self, connection_id: int) -> None:
        await self.desk.ask("PATCH", f"/v1/connections/{connection_id}", {"name": "Changed"})

    async def test(self, connection_id: int) -> bool:
        return bool((await self.desk.ask("POST", f"/v1/connections/{connection_id}/test"))["ok"])

    async def sync(self, connection_id: int) -> None:
        await self.desk.ask("POST", f"/v1/connections/{connection_id}/sync", {}, 202)

    async def remove(self, connection_id: int) -> None:
        await self.desk.ask("DELETE", f"/v1/connections/{connection_id}", None, 204)


class AccidentalQuality(Door):
    can = frozenset({"make"})

    async def make(self, name: str) -> int:
        body = {
            "integration_type": "jira",
            "name": name,
            "project_id": self.desk.project,
            "token_id": self.desk.credential,
            "url": self.desk.url,
        }
        return int((await self.desk.ask("POST", "/api/integrations", {"integration": body}, 201))["id"])

    async def names(self) -> Mapping[int, str]:
        told = await self.desk.ask("GET", f"/api/integrations/{self.desk.project}")
        return {int(one["id"]): one["name"] for one in told}


class Aha(Door):
    can = frozenset({"make", "get", "change", "remove"})

    @property
    def path(self) -> str:
        return "/api/v1/products/TIDES/integrations"

    async def make(self, name: str) -> int:
        body = {
            "service_name": "jira",
            "enabled": True,
            "name": name,
            "url": self.desk.url,
            "credential_id": self.desk.credential,
            "frequency": "manually",
        }
        told = await self.desk.ask("POST", self.path, {"integration": body}, 200, 201)
        return int(told["integration"]["id"])

    async def names(self) -> Mapping[int, str]:
        told = await self.desk.ask("GET", self.path)
        return {int(one["id"]): one["name"] for one in told["integrations"]}

    async def get(self, connection_id: int) -> str | None:
        told = await self.desk.ask("GET", f"{self.path}/{connection_id}", None, 200, 404)
        return told["integration"]["name"] if "integration" in told else None

    async def change(self, connection_id: int) -> None:
        body = {"integration": {"name": "Changed"}}
        await self.desk.ask("PUT", f"{self.path}/{connection_id}", body)

    async def remove(self, connection_id: int) -> None:
        await self.desk.ask("DELETE", f"{self.path}/{connection_id}", None, 200, 204)


class SdElements(Door):
    async def names(self) -> Mapping[int, str]:
        told = await self.desk.ask("GET", f"/api/v2/projects/{self.desk.project}/integrations/")
        return {one["id"]: one["alias"] for one in told["results"]}


class Flow(Door):
    can = frozenset({"get"})

    async def names(self) -> Mapping[int, str]:
        told = await self.desk.ask("GET", "/v3/customer/core/integrations")
        return {one["id"]: one["name"] for one in told["results"]}

    async def get(self, connection_id: int) -> str | None:
        told = await self.desk.ask("GET", f"/integrations/{connection_id}", None, 200, 404)
        name: str | None = told.get("name")
        return name


class IssueTracker(Door):
    can = frozenset({"make", "get", "change", "test", "sync", "remove"})
    path = "/api/v2/connections/issue-tracker"

    async def make(self, name: str) -> int:
        body = {
            "alias": name,
            "connector": self.desk.credential,
            "project": self.desk.project,
            "params": {
                "issue_tracker_method": "http",
                "issue_tracker_server": self.desk.site.url.removeprefix("http://"),
                "issue_tracker_project": "TIDE",
            },
        }
        return int((await self.desk.ask("POST", f"{self.path}/", body, 201))["id"])

    async def names(self) -> Mapping[int, str]:
        told = await self.desk.ask("GET", f"{self.path}/?project={self.desk.project}")
        return {one["id"]: one["alias"] for one in told["results"]}

    async def get(self, connection_id: int) -> str | None:
        told = await self.desk.ask("GET", f"{self.path}/{connection_id}/", None, 200, 404)
        name: str | None = told.get("alias")
        return name

    async def change(self, connection_id: int) -> None:
        await self.desk.ask("PATCH", f"{self.path}/{connection_id}/", {"alias": "Changed"})

    async def test(self, connection_id: int) -> bool:
        told = await self.desk.ask("POST", f"{self.path}/{connection_id}/test/")
        return bool(told["success"])

    async def sync(self, connection_id: int) -> None:
        await self.desk.ask("POST", f"{self.path}/{connection_id}/sync/", {}, 200, 201, 202)

    async def remove(self, connection_id: int) -> None:
        await self.desk.ask("DELETE", f"{self.path}/{connection_id}/", None, 204)


DOORS: tuple[type[Door], ...] = (Native, AccidentalQuality, Aha, SdElements, Flow, IssueTracker)


def those_that(do: str) -> list[type[Door]]:
    return [door for door in DOORS if do in door.can]


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with (
        JiraCloud() as site,
        serving_api(database, ADAPTERS) as api,
        aiohttp.ClientSession() as http,
    ):
        site.add_account("ana@example.com", SECRET)
        site.seed(3, project="TIDE")
        desk = Desk(api, http, site)
        project = await api.post("/v1/projects", {"name": "Tides", "key": "TIDES"})
        login = {"name": "ana", "system": "jira", "kind": "basic", "username": "ana@example.com"}
        credential = await api.post("/v1/credentials", {**login, "secret": SECRET})
        desk.project, desk.credential = project["id"], credential["id"]
        yield desk


@pytest.mark.parametrize("seen", DOORS)
@pytest.mark.parametrize("made", those_that("make"))
async def test_what_is_made_through_one_is_seen_through_every_other(
    desk: Desk, made: type[Door], seen: type[Door]
) -> None:
    of = await made(desk).make("Open bugs")
    door = seen(desk)
    assert (await door.names()) == {of: "Open bugs"}
    if "get" in seen.can:
        assert await door.get(of) == "Open bugs"


@pytest.mark.parametrize("seen", DOORS)
@pytest.mark.parametrize("changed", those_that("change"))
async def test_what_is_changed_through_one_is_seen_so_through_every_other(
    desk: Desk, changed: type[Door], seen: type[Door]
) -> None:
    of = await Native(desk).make("Open bugs")
    await changed(desk).change(of)
    assert (await seen(desk).names()) == {of: "Changed"}


@pytest.mark.parametrize("changed", those_that("change"))
@pytest.mark.parametrize("made", those_that("make"))
async def test_a_change_of_the_name_leaves_what_is_read_and_as_whom(
    desk: Desk, made: type[Door], changed: type[Door]
) -> None:
    of = await made(desk).make("Open bugs")
    before = await desk.ask("GET", f"/v1/connections/{of}")
    await changed(desk).change(of)
    after = await desk.ask("GET", f"/v1/connections/{of}")
    same = ("url", "credential_id", "project_id", "params", "streams", "frequency", "enabled", "debug")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


@pytest.mark.parametrize("tested", those_that("test"))
@pytest.mark.parametrize("made", those_that("make"))
async def test_what_is_made_through_one_is_tested_through_another(
    desk: Desk, made: type[Door], tested: type[Door]
) -> None:
    of = await made(desk).make("Open bugs")
    assert await tested(desk).test(of)


@pytest.mark.parametrize("synced", those_that("sync"))
@pytest.mark.parametrize("made", those_that("make"))
async def test_what_is_made_through_one_is_synced_through_another_and_every_one_knows(
    desk: Desk, made: type[Door], synced: type[Door]
) -> None:
    of = await made(desk).make("Open bugs")
    await synced(desk).sync(of)
    [opened] = (await desk.ask("GET", f"/v1/connections/{of}/syncs"))["syncs"]
    await desk.api.house.work(opened["id"])
    records = await desk.ask("GET", f"/v1/connections/{of}/records?stream=issues")
    assert len(records["records"]) == 3
    status = await desk.ask("GET", f"/integrations/{of}/connection_status")
    assert "healthy" in str(status).lower()
    tracked = await desk.ask("GET", f"{IssueTracker.path}/{of}/?include=last_job")
    assert tracked["last_job"]["succeeded"] is True
    assert "last_successful_run" in tracked["params"]


@pytest.mark.parametrize("removed", those_that("remove"))
@pytest.mark.parametrize("made", those_that("make"))
async def test_what_is_removed_through_one_is_gone_from_every_other(
    desk: Desk, made: type[Door], removed: type[Door]
) -> None:
    of = await made(desk).make("Open bugs")
    await removed(desk).remove(of)
    for door in DOORS:
        assert await door(desk).names() == {}
        if "get" in door.can:
            assert await door(desk).get(of) is None


async def test_what_one_documents_clients_keep_outlasts_changes_through_all_others(desk: Desk) -> None:
    of = await IssueTracker(desk).make("Open bugs")
    kept = {"params": {"issue_tracker_title_format": "$title ($task_id)"}}
    await desk.ask("PATCH", f"{IssueTracker.path}/{of}/", kept)
    for door in those_that("change"):
        await door(desk).change(of)
    tracked = await desk.ask("GET", f"{IssueTracker.path}/{of}/")
    assert tracked["params"]["issue_tracker_title_format"] == "$title ($task_id)"


@pytest.mark.parametrize("made", those_that("make"))
async def test_disabling_through_one_stops_it_for_all(desk: Desk, made: type[Door]) -> None:
    of = await made(desk).make("Open bugs")
    await desk.ask("PUT", f"/api/v1/products/TIDES/integrations/{of}", {"integration": {"enabled": False}})
    assert (await desk.ask("GET", f"/v1/connections/{of}"))["health"] == "disabled"
    told = await desk.ask("GET", f"/integrations/{of}/connection_status")
    assert "healthy" not in str(told["status"]).lower()
