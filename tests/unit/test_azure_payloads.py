"""Recorded Azure DevOps answers, served as they were, through the adapter."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web

from adapters.azure import Azure
from adapters.azure.pipelines import read_pipeline
from adapters.base import (
    AdapterError,
    AuthFailed,
    NotFound,
    Page,
    QueryRejected,
    RateLimited,
    Record,
    Target,
)
from adapters.times import parse_time
from tests.support import http_client, payload, payloads, read_all, records_of

JSON = {"Content-Type": "application/json; charset=utf-8; api-version=7.1"}
TOKEN = Azure.auth("pat", None, lambda: "azure-token")
STREAMS = {stream.name: stream for feed in Azure.feeds for stream in feed.streams}

pytestmark = pytest.mark.payloads


class Recorded:
    """A server that gives a recorded answer for each end of a path, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}

    def put(self, path: str, body: Any, status: int = 200, headers: Mapping[str, str] = JSON) -> None:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.answers[path] = (status, headers, content)

    def put_recording(self, path: str, name: str) -> Any:
        """An interaction with its recorded status and headers; gives the recorded body."""
        response = payload(f"azure_devops/{name}")["response"]
        skip = ("content-length", "date")
        headers = {key: value for key, value in response["headers"].items() if key not in skip}
        body = response["body"]
        sent = body.encode() if isinstance(body, str) else b"" if body is None else body
        self.put(path, sent, response["status"], headers)
        return body

    async def serve(self, request: web.Request) -> web.Response:
        found = next((a for path, a in self.answers.items() if request.path.endswith(path)), None)
        status, headers, body = found or (404, {}, b"")
        return web.Response(status=status, headers=headers, body=body)


@asynccontextmanager
async def serving(recorded: Recorded, project: str | None = None) -> AsyncIterator[Azure]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", recorded.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}/org"
    target = Target(base, base, {"project": project} if project else {})
    try:
        async with http_client(base, TOKEN) as http:
            yield Azure(target, http)
    finally:
        await runner.cleanup()


async def read(adapter: Azure, feed: str) -> list[Page]:
    return (await read_all(adapter, feed, (await adapter.plan(feed))[0]))[0]


def projects_in(name: str) -> list[dict[str, Any]]:
    content = payload(f"azure_devops/fetch/{name}")
    if "responses" in content:
        content = content["responses"]["200"]["body"]
    return list(content["value"])


@pytest.mark.parametrize(
    "name",
    ["goscm_projects.json", "vsteam_get_vsteam_project.json", "docs_core_projects_get_projects.json"],
)
async def test_recorded_projects_are_read_whole(name: str) -> None:
    sent = projects_in(name)
    recorded = Recorded()
    recorded.put("/_apis/projects", {"count": len(sent), "value": sent})
    async with serving(recorded) as adapter:
        check_projects(await read(adapter, "projects"), sent)


async def test_a_recorded_project_list_with_its_headers_is_read_whole() -> None:
    recorded = Recorded()
    sent = recorded.put_recording("/_apis/projects", "fetch/vcr_projects_list_stateall.json")["value"]
    async with serving(recorded) as adapter:
        check_projects(await read(adapter, "projects"), sent)


async def test_a_recorded_single_project_is_read_for_a_project_url() -> None:
    recorded = Recorded()
    sent = recorded.put_recording("/projectTest000001", "fetch/vcr_project_get_capabilities.json")
    async with serving(recorded, "projectTest000001") as adapter:
        check_projects(await read(adapter, "projects"), [sent])


def check_projects(pages: list[Page], sent: list[dict[str, Any]]) -> None:
    records = records_of(pages)
    assert not [bad for page in pages for bad in page.rejected]
    assert [record.key for record in records] == [project["id"] for project in sent]
    assert [record.updated_at for record in records] == [moment(p.get("lastUpdateTime")) for p in sent]
    assert [record.body for record in records] == [msgspec.json.encode(project) for project in sent]
    assert pages[-1].expected == {"projects": len(sent)}


def moment(text: str | None) -> datetime | None:
    found = parse_time(text)
    assert (found is None) == (text is None)
    return found


def items_in(name: str) -> list[dict[str, Any]]:
    content = payload(f"azure_devops/fetch/{name}")
    if "responses" in content:
        content = content["responses"]["200"]["body"]
    elif "response" in content:
        content = content["response"]["body"]
    return list(content["value"]) if "value" in content else [content]


@pytest.mark.parametrize(
    "name",
    [
        "faros_workitems.json",
        "vsteam_get_vsteam_work_item_id.json",
        "docs_workitemsbatch.json",
        "vcr_workitems_by_ids.json",
        "vcr_workitem_with_relations.json",
    ],
)
async def test_recorded_work_items_are_read_whole(name: str) -> None:
    sent = items_in(name)
    recorded = Recorded()
    recorded.put("/wiql", {"workItems": [{"id": item["id"]} for item in sent]})
    recorded.put("/workitemsbatch", {"count": len(sent), "value": sent})
    async with serving(recorded) as adapter:
        pages = await read(adapter, "work_items")
        fetched = await adapter.fetch("work_items", [str(item["id"]) for item in sent])
    records = records_of(pages)
    assert not [bad for page in pages for bad in page.rejected]
    assert [record.key for record in records] == [str(item["id"]) for item in sent]
    assert [record.version for record in records] == [str(item["rev"]) for item in sent]
    changed = [moment(item["fields"].get("System.ChangedDate")) for item in sent]
    assert [record.updated_at for record in records] == changed
    bodies = [msgspec.json.encode(item) for item in sent]
    assert [record.body for record in records] == bodies
    assert [record.body for record in fetched.records] == bodies
    titles = [item["fields"].get("System.Title") for item in sent]
    assert [record.columns[2] for record in records] == titles


@pytest.mark.parametrize("name", ["vcr_wiql_post.json", "vcr_wiql_post_small.json", "vcr_wiql_by_id.json"])
async def test_recorded_query_answers_name_the_ids(name: str) -> None:
    recorded = Recorded()
    ids = [item["id"] for item in recorded.put_recording("/_apis/wit/wiql", f"fetch/{name}")["workItems"]]
    recorded.put("/workitemsbatch", {"value": [{"id": i, "rev": 1, "fields": {}} for i in ids]})
    async with serving(recorded) as adapter:
        assert [record.key for record in records_of(await read(adapter, "work_items"))] == [
            str(i) for i in ids
        ]


async def test_an_answer_without_recorded_headers_names_the_ids_too() -> None:
    sent = payload("azure_devops/fetch/vsteam_get_vsteam_wiql.json")
    ids = [item["id"] for item in sent["workItems"]]
    recorded = Recorded()
    recorded.put("/wiql", sent)
    recorded.put("/workitemsbatch", {"value": [{"id": i, "rev": 1, "fields": {}} for i in ids]})
    async with serving(recorded) as adapter:
        assert len(records_of(await read(adapter, "work_items"))) == len(ids) == 2


@pytest.mark.parametrize("name", ["faros_workitem_ids.json", "docs_wiql_by_query.json"])
async def test_the_answer_to_another_kind_of_query_is_never_taken_for_ours(name: str) -> None:
    """One is ordered by date, the other a tree: neither can answer a walk up the ids."""
    sent = payload(f"azure_devops/fetch/{name}")
    recorded = Recorded()
    recorded.put("/wiql", sent["responses"]["200"]["body"] if "responses" in sent else sent)
    async with serving(recorded) as adapter:
        with pytest.raises(AdapterError) as caught:
            await read(adapter, "work_items")
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize(("bare", "count"), [(True, 3), (False, 3)])
async def test_the_documented_recycle_bin_proves_deletion(bare: bool, count: int) -> None:
    entries = payload("azure_devops/fetch/docs_recyclebin_list.json")["responses"]["200"]["body"]
    recorded = Recorded()
    recorded.put("/workitemsbatch", {"value": [None] * (count + 1)})
    recorded.put("/recyclebin", entries if bare else {"count": count, "value": entries})
    async with serving(recorded) as adapter:
        fetched = await adapter.fetch("work_items", [*(entry["id"] for entry in entries), "7"])
    reasons = [gone.reason for gone in fetched.missing]
    assert reasons == ["deleted"] * count + ["hidden"]


async def test_the_documented_entry_of_the_bin_proves_deletion() -> None:
    entry = payload("azure_devops/fetch/docs_recyclebin_get.json")["responses"]["200"]["body"]
    recorded = Recorded()
    recorded.put("/workitemsbatch", {"value": [None]})
    recorded.put("/recyclebin", {"value": [entry]})
    async with serving(recorded) as adapter:
        [gone] = (await adapter.fetch("work_items", [entry["id"]])).missing
    assert gone.reason == "deleted"


PROJECT = "70642ceb-5192-4e9e-8ec0-865714dc08b7"


def with_project(recorded: Recorded) -> Recorded:
    recorded.put("/_apis/projects", {"value": [{"id": PROJECT, "name": "p", "visibility": "private"}]})
    return recorded


def builds_in(name: str) -> list[dict[str, Any]]:
    content = payload(f"azure_devops/fetch/{name}")
    content = content["response"]["body"] if "response" in content else content
    if isinstance(content, list):
        return content
    return list(content["value"]) if "value" in content else [content]


@pytest.mark.parametrize(
    ("name", "unfinished"),
    [
        ("faros_builds.json", []),
        ("devlake_builds.json", ["16", "17"]),
        ("vsteam_get_vsteam_build.json", []),
        ("vsteam_get_vsteam_build_id.json", ["2272"]),
        ("vcr_build_get.json", ["638"]),
    ],
)
async def test_recorded_builds_are_read_whole(name: str, unfinished: list[str]) -> None:
    sent = builds_in(name)
    recorded = with_project(Recorded())
    recorded.put("/_apis/build/builds", {"count": len(sent), "value": sent})
    async with serving(recorded) as adapter:
        pages = await read(adapter, "builds")
        fetched = await adapter.fetch("builds", [str(build["id"]) for build in sent])
    records = records_of(pages)
    assert not [bad for page in pages for bad in page.rejected]
    assert [record.key for record in records] == [str(build["id"]) for build in sent]
    assert [record.parent for record in records] == [
        f"{build['project']['id']}/{build['definition']['id']}" for build in sent
    ]
    assert [record.updated_at for record in records] == [moment(build["lastChangedDate"]) for build in sent]
    assert [record.key for record in records if not record.final] == unfinished
    bodies = [msgspec.json.encode(build) for build in sent]
    assert [record.body for record in records] == bodies
    assert [record.body for record in fetched.records] == bodies
    assert pages[-1].expected == {"builds": len(sent)}
    assert pages[-1].end


@pytest.mark.parametrize("name", ["faros_builds.json", "devlake_builds.json", "vcr_build_get.json"])
async def test_recorded_builds_fill_their_columns(name: str) -> None:
    sent = builds_in(name)
    recorded = with_project(Recorded())
    recorded.put("/_apis/build/builds", {"value": sent})
    async with serving(recorded) as adapter:
        records = records_of(await read(adapter, "builds"))
    names = [column.name for column in STREAMS["builds"].columns]
    rows = [dict(zip(names, record.columns, strict=True)) for record in records]
    for row, build in zip(rows, sent, strict=True):
        assert row["number"] == build["buildNumber"]
        assert row["pipeline"] == build["definition"]["name"]
        assert row["queued_at"] == moment(build["queueTime"])
        assert row["finished_at"] == moment(build.get("finishTime"))
        assert row["commit_sha"] == build["sourceVersion"]
        assert row["repository_type"] == build["repository"]["type"]
        assert row["requested_for"] == build["requestedFor"]["displayName"]
        # One of the recordings holds the numbers that a client made of these words.
        assert row["status"] == (build["status"] if isinstance(build["status"], str) else None)


async def test_recorded_definitions_with_their_headers_are_read_whole() -> None:
    recorded = with_project(Recorded())
    sent = recorded.put_recording("/_apis/build/definitions", "fetch/vcr_build_definitions.json")["value"]
    async with serving(recorded) as adapter:
        pages = await read(adapter, "pipelines")
        fetched = await adapter.fetch("pipelines", [f"{PROJECT}/{one['id']}" for one in sent])
    records = records_of(pages)
    assert [record.key for record in records] == [f"{PROJECT}/{one['id']}" for one in sent]
    assert [record.version for record in records] == [str(one["revision"]) for one in sent]
    assert [record.updated_at for record in records] == [moment(one["createdDate"]) for one in sent]
    bodies = [msgspec.json.encode(one) for one in sent]
    assert [record.body for record in records] == bodies
    assert [record.body for record in fetched.records] == bodies
    assert pages[-1].expected == {"pipelines": len(sent)}


def test_recorded_pipelines_of_the_other_endpoint_are_poorer_and_legible() -> None:
    """Why definitions are read: these have neither a time nor a repository."""
    names = [column.name for column in STREAMS["pipelines"].columns]
    for sent in payload("azure_devops/fetch/faros_pipelines.json"):
        record = read_pipeline(msgspec.Raw(msgspec.json.encode(sent)), PROJECT)
        assert isinstance(record, Record)
        row = dict(zip(names, record.columns, strict=True))
        assert (record.key, record.version) == (f"{PROJECT}/{sent['id']}", str(sent["revision"]))
        assert (row["name"], record.updated_at, row["repository"]) == (sent["name"], None, None)


@pytest.mark.parametrize("feed", ["builds", "pipelines"])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("vcr_404_project.json", NotFound),
        ("vcr_404_not_json.json", NotFound),
        ("vcr_401_empty_body.json", AuthFailed),
    ],
)
async def test_recorded_refusals_mean_the_same_for_builds(
    feed: str, name: str, error: type[AdapterError]
) -> None:
    recorded = with_project(Recorded())
    path = "/_apis/build/builds" if feed == "builds" else "/_apis/build/definitions"
    recorded.put_recording(path, f"errors/{name}")
    found = await refusal(recorded, feed)
    assert type(found) is error
    # Its realm is a host of the vendor's, so that this is known to be Services.
    assert ("1 December 2026" in found.hint) == (error is AuthFailed)


async def refusal(recorded: Recorded, feed: str = "work_items") -> AdapterError:
    async with serving(recorded) as adapter:
        with pytest.raises(AdapterError) as caught:
            await read(adapter, feed)
    return caught.value


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("vcr_404_project.json", NotFound, "TF200016"),
        ("vcr_404_not_json.json", NotFound, "was not found or does not implement IController"),
        ("vcr_404_wiki.json", NotFound, "could not be found"),
        ("vcr_401_empty_body.json", AuthFailed, "not accepted"),
        ("vcr_400_iteration.json", QueryRejected, "TF400497"),
    ],
)
async def test_recorded_refusals_name_their_consequence(
    name: str, error: type[AdapterError], said: str
) -> None:
    recorded = Recorded()
    recorded.put_recording("/_apis/wit/wiql", f"errors/{name}")
    found = await refusal(recorded)
    assert type(found) is error
    assert said in found.message


@pytest.mark.parametrize(
    ("name", "status", "error", "said"),
    [
        ("expired_pat_401.json", 401, AuthFailed, "has expired"),
        ("wiql_400_date_precision.json", 400, QueryRejected, "using date precision"),
        ("wiql_400_too_many.json", 400, QueryRejected, "VS402337"),
    ],
)
async def test_quoted_refusals_name_their_consequence(
    name: str, status: int, error: type[AdapterError], said: str
) -> None:
    recorded = Recorded()
    recorded.put("/wiql", payload(f"azure_devops/errors/{name}"), status)
    found = await refusal(recorded)
    assert isinstance(found, error)
    assert said in found.message


@pytest.mark.parametrize("status", [200, 203])
async def test_the_recorded_sign_in_page_is_an_auth_failure(status: int) -> None:
    page = (payloads() / "azure_devops/errors/signin_203.html").read_bytes()
    recorded = Recorded()
    recorded.put("/projects", page, status, {"Content-Type": "text/html; charset=utf-8"})
    assert isinstance(await refusal(recorded, "projects"), AuthFailed)


async def test_the_recorded_words_of_a_block_are_a_rate_limit() -> None:
    words = (payloads() / "azure_devops/errors/ratelimit_429_message.txt").read_text()
    recorded = Recorded()
    recorded.put("/wiql", {"message": words}, 429, {**JSON, "Retry-After": "60"})
    found = await refusal(recorded)
    assert isinstance(found, RateLimited)
    assert "exceeding usage of resource" in found.message
