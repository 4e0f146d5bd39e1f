"""Recorded answers of real controllers, read by the adapter over HTTP."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from adapters.auth import Anonymous, Auth
from adapters.base import AuthFailed, Forbidden, Record
from adapters.jenkins import Jenkins
from tests.support import http_client, payload, payloads, read_all, records_of
from tests.unit.jenkins_site import dana, named

pytestmark = pytest.mark.payloads

Answers = Callable[[str, str], web.Response]


def as_json(body: bytes) -> web.Response:
    headers = {"Content-Type": "application/json;charset=utf-8", "X-Jenkins": "2.462.1"}
    return web.Response(body=body, headers=headers)


def compact(value: object) -> bytes:
    """Jenkins sends no white space between members; the recordings were indented by hand."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def always(body: bytes) -> Answers:
    return lambda _path, _tree: as_json(body)


@asynccontextmanager
async def serving(answers: Answers, path: str, auth: Auth | None = None) -> AsyncIterator[Jenkins]:
    """An adapter of a server that answers each path and tree as told."""

    async def answer(request: web.Request) -> web.Response:
        return answers(request.raw_path.partition("?")[0], request.query.get("tree", ""))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target = Jenkins.parse(f"http://127.0.0.1:{runner.addresses[0][1]}{path}", {})
    try:
        async with http_client(target.base, auth or Anonymous()) as http:
            yield Jenkins(target, http)
    finally:
        await runner.cleanup()


async def jobs_of(path: str, answers: dict[str, Any]) -> dict[str, Record]:
    """The records of `jobs` where each listed path has a recorded answer, and others hold nothing."""

    def answer(asked: str, tree: str) -> web.Response:
        found = answers.get(asked.removesuffix("/api/json"))
        return as_json(compact({"_class": "x", "name": "x", "jobs": []} if found is None else found))

    async with serving(answer, path) as adapter:
        pages, _ = await read_all(adapter, "jobs", (await adapter.plan("jobs"))[0])
    assert not any(page.rejected for page in pages)
    assert pages[-1].end
    return {record.key: record for record in records_of(pages)}


LISTINGS = [
    (
        "api4_folder",
        "/job/folder",
        {
            "folder": "folder",
            "folder/Level2_FreeStyleProject": "freestyle",
            "folder/pipeline": "pipeline",
            "folder/Level2_MatrixProject": "matrix",
            "folder/folder2": "folder",
        },
    ),
    (
        "api4_mbranch",
        "/job/Level1_multibranchjob",
        {
            "Level1_multibranchjob": "multibranch",
            "Level1_multibranchjob/feature%2Fgithub-commands": "pipeline",
            "Level1_multibranchjob/master": "pipeline",
        },
    ),
    (
        "old_job_list",
        "",
        {"asdf": "job", "test-e474800e-9d04-437a-8dd3-c29c7156185e": "job"},
    ),
    ("old_view_get", "/view/test-view", {"test": "job"}),
    (
        "rest_jobs_in_root_folder",
        "",
        {
            # That listing was recorded with a tree without `color`, by which jobs and folders differ.
            "Test Tool": "maven",
            "Test MultiBranch Project": "multibranch",
            "Test Folder": "folder",
            "Test Docker Slave": "folder",
            "Test Free Style": "freestyle",
            "Test Workflow Job": "pipeline",
        },
    ),
]


@pytest.mark.parametrize(("name", "path", "kinds"), LISTINGS, ids=[listing[0] for listing in LISTINGS])
async def test_a_recorded_listing_loses_no_job(name: str, path: str, kinds: dict[str, str]) -> None:
    recorded = payload(f"jenkins/fetch/{name}.json")
    records = await jobs_of(path, {path: recorded})
    assert {key: named(record)["kind"] for key, record in records.items()} == kinds
    sent = {compact(job) for job in recorded["jobs"]}
    assert sent <= {record.body for record in records.values()}


async def test_the_recorded_branches_of_a_multibranch_project_keep_their_full_names() -> None:
    recorded = payload("jenkins/fetch/devlake_jobs_multibranch.json")
    # Recorded with a tree that did not ask for the project's own name.
    path = "/job/github_org/job/devlake-jenkins"
    project = {"_class": recorded["_class"], "name": "devlake-jenkins", "jobs": recorded["jobs"]}
    records = await jobs_of(path, {path: project})
    branches = {f"github_org/devlake-jenkins/{name}" for name in ("feature-1", "feature-2", "main", "PR-2")}
    assert set(records) == branches | {"github_org/devlake-jenkins"}
    assert {records[key].parent for key in branches} == {"github_org/devlake-jenkins"}
    assert {records[job["fullName"]].body for job in recorded["jobs"]} == {
        compact(job) for job in recorded["jobs"]
    }


async def test_recorded_names_that_are_full_names_already_are_taken_as_such() -> None:
    recorded = payload("jenkins/fetch/jenkinsapi_multibranch_jobs.json")
    records = await jobs_of("", {"": recorded})
    assert set(records) == {"multibranch-repo/master", "multibranch-repo/develop"}


async def test_recorded_listings_with_builds_nested_in_them_are_read() -> None:
    nested = payload("jenkins/fetch/hyg_instance_jobs_multibranch_pipeline.json")
    flat = payload("jenkins/fetch/hyg_instance_jobs_two_jobs_two_builds.json")
    inside = nested["jobs"][0]
    assert set(await jobs_of("", {"": nested, "/job/job1": inside})) == {"job1", "job1/master"}
    assert set(await jobs_of("", {"": flat})) == {"job1", "job2"}
    folder = payload("jenkins/fetch/rest_jobs_in_jenkins_folder.json")
    assert set(await jobs_of("", {"": folder})) == {"Test Project"}


@pytest.mark.parametrize(
    ("name", "kind", "key", "number", "color"),
    [
        ("api4_pipeline", "pipeline", "Level1_WorkflowJob", 52, "red"),
        ("old_job_get", "job", "test-ff52154b-ceb3-4b21-af1b-a4d48159a48f", None, "notbuilt"),
        ("rest_job_info", "job", "fish", 7, "blue_anime"),
        ("jenkinsapi_job", "job", "foo", 4, "blue"),
    ],
)
async def test_a_recorded_job_is_one_partition(
    name: str, kind: str, key: str, number: int | None, color: str
) -> None:
    body = (payloads() / f"jenkins/fetch/{name}.json").read_bytes()
    async with serving(always(body), f"/job/{key}") as adapter:
        pages, _ = await read_all(adapter, "jobs", (await adapter.plan("jobs"))[0])
        (fetched,) = (await adapter.fetch("jobs", [key])).records
        assert [p.name for p in await adapter.plan("builds")] == [key]
    (record,) = records_of(pages)
    assert record == fetched
    assert (record.key, record.parent, record.body) == (key, None, body)
    columns = named(record)
    assert (columns["kind"], columns["last_build_number"], columns["color"]) == (kind, number, color)
    assert columns["buildable"] is True


async def test_a_recorded_branch_job_with_builds_nested_in_it_is_read() -> None:
    # Recorded with a tree of its builds alone, so that it does not say what it is called.
    recorded = payload("jenkins/fetch/hyg_instance_jobs_multibranch_pipeline_master.json")
    listed = payload("jenkins/fetch/hyg_instance_jobs_multibranch_pipeline.json")
    branch = {"name": "master", "color": "blue", **recorded}
    nested = {**listed["jobs"][0], "jobs": [branch]}
    records = await jobs_of("/job/job1", {"/job/job1": nested})
    assert set(records) == {"job1", "job1/master"}
    assert records["job1/master"].body == compact(branch)
    assert named(records["job1/master"])["kind"] == "pipeline"


async def builds_of(job: str, builds: list[Any]) -> list[Record]:
    """The records of `builds` where the job answers each range with these."""
    last = max(builds, key=lambda build: int(build["number"]))
    head = {"name": job, "color": "blue", "nextBuildNumber": last["number"] + 1, "lastBuild": last}

    def answer(path: str, tree: str) -> web.Response:
        if tree.startswith(("builds[", "allBuilds[")):
            return as_json(compact({"_class": "x", tree.partition("[")[0]: builds}))
        return as_json(compact(head))

    async with serving(answer, f"/job/{job}") as adapter:
        pages, _ = await read_all(adapter, "builds", (await adapter.plan("builds"))[0])
    assert not any(page.rejected for page in pages)
    assert pages[-1].end
    return records_of(pages)


@pytest.mark.parametrize(
    ("name", "count", "branch"),
    [("devlake_builds_freestyle", 14, "main"), ("devlake_builds_multibranch", 15, "main")],
)
async def test_no_build_of_a_recorded_range_is_lost(name: str, count: int, branch: str) -> None:
    recorded = payload(f"jenkins/fetch/{name}.json")["allBuilds"]
    records = await builds_of("app", recorded)
    assert len(records) == count == len(recorded)
    assert {record.key for record in records} == {f"app#{b['number']}@{b['timestamp']}" for b in recorded}
    assert {record.body for record in records} == {compact(build) for build in recorded}
    assert branch in {named(record)["branch"] for record in records}
    by_key = {record.key: record for record in records}
    for build in recorded:
        record = by_key[f"app#{build['number']}@{build['timestamp']}"]
        # Only a build that says it is not building is final; one range was recorded without asking.
        assert record.final is (build.get("building") is False)
        ended = build["timestamp"] + (build["duration"] if record.final else 0)
        assert record.updated_at is not None
        assert round(record.updated_at.timestamp() * 1000) == ended


BUILDS: dict[str, dict[str, object]] = {
    "api4_freestylebuild": {"number": 14, "result": "SUCCESS", "started_by": "admin", "queue_id": 151},
    "hyg_build_details_full": {"number": 2483, "result": "FAILURE", "commit_sha": None},
    "hyg_build_details_with_multiple_repos": {"number": 179, "branch": "test"},
    "hyg_build_details_with_multiple_scm": {"number": 179, "branch": "master"},
    "hyg_build_details_with_repo_no_remote_url": {
        "number": 179,
        "commit_sha": "f6617799ff337984df0b80156995ddb87f60c0af",
        "branch": "master",
    },
    "jenkinsapi_build": {"number": 1, "upstream": "parentBuild#1", "node": "localhost"},
    "jenkinsapi_build_scm": {"number": 3, "branch": "unstable", "cause": "Started by an SCM change"},
    "old_build_get": {"number": 1, "duration": 11, "queue_id": None},
    "rest_build_info": {"number": 10, "duration": 60750, "queue_id": 73},
    "rest_build_info_empty_and_null_params": {"number": 10, "display_name": "#10"},
    "rest_build_info_no_params": {"number": 10},
}


@pytest.mark.parametrize("name", BUILDS)
async def test_a_recorded_build_is_read_and_fetched_alike(name: str) -> None:
    recorded = payload(f"jenkins/fetch/{name}.json")
    (listed,) = await builds_of("app", [recorded])
    async with serving(always(compact(recorded)), "") as adapter:
        (fetched,) = (await adapter.fetch("builds", [f"app#{recorded['number']}"])).records
    assert (listed.key, listed.final, listed.updated_at) == (fetched.key, True, fetched.updated_at)
    assert listed.body == fetched.body == compact(recorded)
    columns = named(listed)
    expected = BUILDS[name]
    assert {column: columns[column] for column in expected} == expected


async def test_the_recorded_user_is_the_account_where_there_is_no_whoami() -> None:
    user = payload("jenkins/fetch/rest_user.json")

    def answer(path: str, tree: str) -> web.Response:
        if path == "/whoAmI/api/json":
            return web.Response(status=404, headers={"X-Jenkins": "1.500"})
        return as_json(compact(user if path == "/me/api/json" else {"jobs": []}))

    async with serving(answer, "", dana()) as adapter:
        assert (await adapter.check()).account == "admin"


async def test_the_recorded_refusal_of_a_missing_crumb_says_to_use_an_api_token() -> None:
    page = (payloads() / "jenkins/errors/no_valid_crumb_403.html").read_bytes()

    def answer(path: str, tree: str) -> web.Response:
        return web.Response(status=403, body=page, content_type="text/html")

    async with serving(answer, "", dana()) as adapter:
        with pytest.raises(Forbidden, match="crumb") as refused:
            await adapter.plan("builds")
    assert "API token instead of the password" in refused.value.hint
    assert "<" not in str(refused.value)


@pytest.mark.parametrize(("auth", "means"), [(Anonymous(), Forbidden), (dana(), AuthFailed)])
async def test_the_recorded_refusal_names_the_permission(auth: Auth, means: type[Exception]) -> None:
    recorded = payload("jenkins/errors/auth_required_403.headers.json")
    page = (payloads() / "jenkins/errors/auth_required_403.html").read_bytes()
    sent = [
        (name, value)
        for name, values in recorded["headers"].items()
        for value in (values if isinstance(values, list) else [values])
        if name != "Content-Length"
    ]

    def answer(path: str, tree: str) -> web.Response:
        response = web.Response(status=recorded["status"], body=page, content_type="text/html")
        for name, value in sent:
            response.headers.add(name, value)
        return response

    async with serving(answer, "", auth) as adapter:
        with pytest.raises(means, match=r"Overall/Read \(hudson\.model\.Hudson\.Read\)") as refused:
            await adapter.plan("builds")
    assert "<" not in str(refused.value)
