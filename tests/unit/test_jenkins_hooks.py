"""Webhooks of Jenkins' plugins: what they are about, who may send them, and what is refused."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from adapters.base import BadHook, Hint, Hook
from adapters.jenkins import Jenkins
from adapters.times import to_millis
from tests.support import payloads
from tests.unit.jenkins_site import connected, controller
from tidegate.demo.remotes.jenkins import JenkinsController

SECRET = "known to both"
MINUTE = timedelta(minutes=1)
RUN = "my-devops-project/example-pipeline"
#: Per recorded file, the header `ce-type` it came with, and the keys that it is about; a text: why none.
RECORDED: dict[str, tuple[str, dict[str, list[str]] | str]] = {
    "cloudevents_01": ("org.jenkinsci.queue.entered_waiting", "queue"),
    "cloudevents_02": ("org.jenkinsci.queue.left", "queue"),
    "cloudevents_03": ("org.jenkinsci.job.started", {"builds": ["test2#13"], "jobs": ["test2"]}),
    "cloudevents_05": ("org.jenkinsci.job.finalized", {"builds": ["test2#13"], "jobs": ["test2"]}),
    "cloudevents_06": ("org.jenkinsci.job.failed", {"builds": ["fail#4"], "jobs": ["fail"]}),
    "cloudevents_07": ("org.jenkinsci.job.created", {"jobs": ["Item"]}),
    "cloudevents_08": ("org.jenkinsci.job.updated", {"jobs": ["Item"]}),
    "cloudevents_09": ("org.jenkinsci.node.online", "Nodes"),
    "cloudevents_10": ("org.jenkinsci.node.offline", "Nodes"),
    "generic_event_job_01": ("", {"jobs": ["my-devops-project"]}),
    "generic_event_job_03": ("", {"jobs": ["my-devops-project"]}),
    "generic_event_job_04": ("", {"jobs": ["my-devops-project"]}),
    "generic_event_run_01": ("", {"builds": [f"{RUN}#1@1644126495293"], "jobs": [RUN]}),
    "generic_event_run_02": ("", {"builds": [f"{RUN}#1@1644126495293"], "jobs": [RUN]}),
    "generic_event_run_03": ("", {"builds": [f"{RUN}#1@1644126495293"], "jobs": [RUN]}),
    "generic_event_run_04": ("", {"builds": [f"{RUN}#1@1644126495293"], "jobs": [RUN]}),
    "generic_event_run_05": ("", {"builds": [f"{RUN}#1@1644126900080"], "jobs": [RUN]}),
}


def hint(body: object, **headers: str) -> Hint:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Jenkins.hint(Hook({name.replace("_", "-"): value for name, value in headers.items()}, sent))


def notification(**build: object) -> dict[str, Any]:
    """What the Notification plugin sends of build 18 of asgard."""
    told = {"number": 18, "phase": "FINALIZED", "status": "SUCCESS", "url": "job/asgard/18/"}
    return {
        "name": "asgard",
        "display_name": "asgard",
        "url": "job/asgard/",
        "build": {"full_url": "http://localhost:8080/job/asgard/18/", **told, **build},
    }


@asynccontextmanager
async def mailbox() -> AsyncIterator[tuple[str, list[Hook]]]:
    """A receiver's URL, and the webhooks that came there."""
    came: list[Hook] = []

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        came.append(Hook(headers, await request.read()))
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/webhooks/token", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/token", came
    await runner.cleanup()


# --- what was recorded


def test_every_recorded_webhook_is_known_here() -> None:
    assert {path.stem for path in (payloads() / "jenkins/webhooks").iterdir()} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_webhook_gives_its_keys_or_says_why_it_is_ignored(name: str) -> None:
    body = (payloads() / f"jenkins/webhooks/{name}.json").read_bytes()
    kind, expected = RECORDED[name]
    sent = {"ce_type": kind, "ce_id": "id-7", "ce_specversion": "1.0"} if kind else {}
    found = hint(body, **sent)
    assert found.delivery == ("id-7" if kind else json.loads(body)["id"])
    # A proxy may drop the headers of CloudEvents: the body alone tells the same.
    for one in (found, hint(body)):
        if isinstance(expected, str):
            assert one.keys == {}
            assert expected in str(one.ignored)
        else:
            assert (one.keys, one.ignored) == (expected, None)


# --- the Notification plugin


@pytest.mark.parametrize("phase", ["QUEUED", "STARTED", "COMPLETED", "FINALIZED"])
def test_each_phase_of_a_build_is_about_the_build_and_its_job(phase: str) -> None:
    found = hint(notification(phase=phase, status=None))
    assert found == Hint({"builds": ["asgard#18"], "jobs": ["asgard"]})


def test_without_a_jenkins_url_the_relative_link_tells() -> None:
    event = notification()
    del event["build"]["full_url"]
    assert hint(event).keys["builds"] == ["asgard#18"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("job/a/job/b/18/", "a/b#18"),
        ("job/app/job/feature%252Fx/18/", "app/feature%2Fx#18"),
        ("job/nightly%20build/18/", "nightly build#18"),
        ("view/all/job/a/18/", "a#18"),
        ("job/team/view/mine/job/a/18/", "team/a#18"),
        ("job/job/18/", "job#18"),
        ("job/job/job/b/18/", "job/b#18"),
        ("job/18/18/", "18#18"),
        ("job/grid/OS=linux,JDK=21/18/", "grid#18"),
        ("job/mvn/com.example$core/18/", "mvn#18"),
        ("https://ci.example.com/jenkins/job/a/job/b/18/", "a/b#18"),
        ("https://ci.example.com/job/a/18/", "a#18"),
        ("https://ci.example.com/x/y/job/a/18", "a#18"),
        ("https://ci.example.com/job/front/x/y/job/a/18/", "a#18"),
        ("https://ci.example.com/job/job/a/18/", "a#18"),
    ],
)
def test_the_full_name_is_the_last_chain_of_jobs_in_a_path(url: str, key: str) -> None:
    assert hint(notification(url=url)).keys["builds"] == [key]


def test_a_full_link_counts_where_there_is_no_relative_one() -> None:
    event = notification(url=None, full_url="https://elsewhere.example.com/ci/job/a/job/b/18/")
    event["url"] = None
    assert hint(event).keys == {"builds": ["a/b#18"], "jobs": ["a/b"]}


# --- the other plugins


@pytest.mark.parametrize("kind", ["item.created", "item.updated", "item.deleted"])
def test_an_event_of_a_job_is_about_the_job(kind: str) -> None:
    event = {"type": kind, "id": "1", "source": "job/team/", "data": {"fullName": "team/app"}}
    assert hint(event) == Hint({"jobs": ["team/app"]}, "1")


def test_a_moved_job_is_asked_for_under_both_names() -> None:
    event = {
        "type": "item.locationChanged",
        "data": {"fullName": "team/new"},
        "metaData": {"oldName": "old", "newName": "team/new"},
    }
    assert hint(event).keys == {"jobs": ["old", "team/new"]}


def test_a_build_of_a_branch_is_known_by_the_job_it_came_from() -> None:
    event = {
        "type": "run.finalized",
        "source": "job/app/job/feature%252Fx/",
        "data": {"number": 3, "timestamp": 1_644_126_495_293},
    }
    assert hint(event).keys["builds"] == ["app/feature%2Fx#3@1644126495293"]


def test_a_build_without_a_link_is_known_by_the_names_of_its_folder_and_job() -> None:
    event = {"type": "run.started", "data": {"number": 3, "_parentFullName": "", "_projectName": "app"}}
    assert hint(event).keys["builds"] == ["app#3"]


def test_events_about_something_else_are_ignored_with_their_kind() -> None:
    found = hint({"type": "computer.online", "id": "9", "data": {}})
    assert (found.keys, found.delivery) == ({}, "9")
    assert "computer.online" in str(found.ignored)


# --- what is refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"build":{}}',
        b'{"build":[]}',
        b'{"build":{"number":18}}',
        b'{"build":{"number":0,"url":"job/a/0/"}}',
        b'{"build":{"number":true,"url":"job/a/1/"}}',
        b'{"build":{"number":1e9,"url":"job/a/1/"}}',
        b'{"build":{"number":99999999999999,"url":"job/a/1/"}}',
        b'{"build":{"number":18,"url":"18/"}}',
        b'{"build":{"number":18,"url":"job/"}}',
        b'{"build":{"number":18,"url":"http://[bad/job/a/18/"}}',
        b'{"type":"run.started"}',
        b'{"type":"run.started","source":"job/a/","data":{}}',
        b'{"type":"item.created"}',
        b'{"type":"item.created","data":{"fullName":""}}',
        b'{"type":"item.locationChanged","data":{}}',
        b'{"issue":{"id":"1"},"webhookEvent":"jira:issue_updated"}',
        b"\xff\xfe{}",
        b'{"url":"\xff"}',
        b'{"build":' * 100_000,
        b'{"x":' + b"[" * 200_000,
    ],
)
def test_what_no_plugin_sends_is_refused_with_what_was_expected(body: bytes) -> None:
    with pytest.raises(BadHook, match="Notification plugin"):
        hint(body)


def test_the_xml_format_is_refused_with_the_one_to_choose() -> None:
    with pytest.raises(BadHook, match="format to JSON"):
        hint(b"<?xml version='1.0'?><jobState/>")


def test_a_truncated_webhook_is_refused_wherever_it_was_cut() -> None:
    whole = json.dumps(notification()).encode()
    for cut in range(len(whole)):
        with pytest.raises(BadHook):
            hint(whole[:cut])


@pytest.mark.parametrize(
    "path",
    [
        "job/../18/",
        "job/a/job/../18/",
        "job/%2e%2e/18/",
        "job/a%00b/18/",
        "job/a%0d%0aHost:x/18/",
        "job/a%2Fjob%2F../18/",
        "job/" + "a" * 3000 + "/18/",
        "job/" + "a/job/" * 3000 + "b/18/",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(BadHook):
        hint(notification(url=path))


def test_the_host_in_a_webhook_changes_nothing() -> None:
    evil = notification(url="http://169.254.169.254/job/asgard/18/", full_url="http://evil.example/x")
    assert hint(evil).keys == {"builds": ["asgard#18"], "jobs": ["asgard"]}


def test_a_large_webhook_with_deep_members_is_understood() -> None:
    event = notification(log="x" * 3_000_000, parameters={"a": [[[[{"b": 1}]]]] * 1000})
    assert hint(event).keys["builds"] == ["asgard#18"]


def test_an_absurd_delivery_id_is_none() -> None:
    assert hint(notification(), ce_id="x" * 5000, ce_type="org.jenkinsci.job.started").delivery is None


# --- who may send


def basic(password: str, user: str = "any") -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tidegate-token": SECRET},
        {"authorization": SECRET},
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer  {SECRET}"},
        {"authorization": basic(SECRET)},
        {"authorization": basic(SECRET, "")},
        {"x-tidegate-token": "another", "authorization": basic(SECRET)},
    ],
)
def test_who_knows_the_secret_is_let_in(headers: dict[str, str]) -> None:
    assert Jenkins.verify(Hook(headers, b"{}"), SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-tidegate-token": ""},
        {"x-tidegate-token": "guessed"},
        {"x-tidegate-token": SECRET[:-1]},
        {"x-tidegate-token": f"{SECRET} "},
        {"x-tidegate-token": "\udcff" + SECRET},
        {"authorization": "Bearer"},
        {"authorization": f"Digest {SECRET}"},
        {"authorization": basic("guessed", SECRET)},
        {"authorization": "Basic " + b64encode(SECRET.encode()).decode()},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic \udcff"},
        {"authorization": "Basic " + "A" * 5},
    ],
)
def test_who_does_not_is_not(headers: dict[str, str]) -> None:
    assert not Jenkins.verify(Hook(headers, b"{}"), SECRET)


@pytest.mark.parametrize("headers", [{}, {"x-tidegate-token": ""}, {"authorization": basic("")}])
def test_an_empty_secret_lets_nobody_in(headers: dict[str, str]) -> None:
    assert not Jenkins.verify(Hook(headers, b"{}"), "")


def test_a_secret_beyond_ascii_is_compared_by_its_bytes() -> None:
    assert Jenkins.verify(Hook({"authorization": basic("pässwörd:x")}, b""), "pässwörd:x")


# --- from the plugin to the record


async def sent(send: Callable[[JenkinsController, str], Any], remote: JenkinsController) -> Hint:
    """The hint of what a simulated plugin sends."""
    async with mailbox() as (url, came):
        assert await send(remote, url) == 202
    return Jenkins.hint(came[0])


@pytest.mark.parametrize("plugin", ["notification", "generic event"])
@pytest.mark.parametrize("context", ["", "/jenkins"])
async def test_the_keys_of_a_webhook_lead_to_the_records_it_is_about(plugin: str, context: str) -> None:
    async with controller(context=context) as remote:
        remote.jenkins_url = f"http://ci.invalid{context}"
        remote.add_folder("team")
        remote.add_multibranch("team/app", ["main", "feature/x"])
        job = "team/app/feature%2Fx"
        for _ in range(3):
            build = remote.start_build(job, MINUTE)
            remote.clock.advance(2 * MINUTE)
        if plugin == "notification":
            found = await sent(lambda remote, url: remote.notify(url, build, "COMPLETED"), remote)
        else:
            found = await sent(lambda remote, url: remote.tell(url, build, "run.completed"), remote)
            assert found.delivery
        async with connected(remote) as adapter:
            builds = await adapter.fetch("builds", found.keys["builds"])
            jobs = await adapter.fetch("jobs", found.keys["jobs"])
        assert [record.key for record in builds.records] == [f"{job}#3@{to_millis(build.started)}"]
        assert [record.key for record in jobs.records] == [job]


async def test_a_deleted_build_is_told_with_the_key_that_it_is_stored_under() -> None:
    async with controller() as remote:
        remote.add_job("app")
        build = remote.start_build("app", MINUTE)
        remote.start_build("app", MINUTE)
        remote.delete_build("app", 1)
        found = await sent(lambda remote, url: remote.tell(url, build, "run.deleted"), remote)
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", found.keys["builds"])
        assert [(m.key, m.reason) for m in fetched.missing] == [
            (f"app#1@{to_millis(build.started)}", "rotated")
        ]


async def test_a_deleted_job_is_told_by_its_full_name() -> None:
    async with controller() as remote:
        remote.add_folder("team")
        job = remote.add_job("team/app")
        remote.add_job("team/other")
        found = await sent(lambda remote, url: remote.tell(url, job, "item.deleted"), remote)
        remote.delete_item("team/app")
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("jobs", found.keys["jobs"])
        assert [(m.key, m.reason) for m in fetched.missing] == [("team/app", "deleted")]


async def test_two_webhooks_of_one_build_are_two_deliveries() -> None:
    async with controller() as remote:
        remote.add_job("app")
        build = remote.start_build("app")
        first = await sent(lambda remote, url: remote.tell(url, build, "run.started"), remote)
        second = await sent(lambda remote, url: remote.tell(url, build, "run.completed"), remote)
        assert first.delivery != second.delivery
