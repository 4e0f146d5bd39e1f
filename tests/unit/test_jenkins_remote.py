"""The simulated Jenkins itself: what the adapter's tests rest on."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.unit.jenkins_site import TOKEN, controller
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jenkins_tree import TreeError, export, parse_tree

MINUTE = timedelta(minutes=1)
DANA = aiohttp.encode_basic_auth("dana", TOKEN)


async def get(
    remote: JenkinsController, path: str, auth: str | None = DANA
) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and text, redirects not followed."""
    async with aiohttp.ClientSession() as session:
        url = remote.base + path
        headers = {"Authorization": auth} if auth else {}
        async with session.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response:
            return response.status, response.headers, await response.text()


async def ask(remote: JenkinsController, path: str) -> Any:
    status, _, text = await get(remote, path)
    assert status == 200, text
    return json.loads(text)


@pytest.mark.parametrize(
    ("tree", "left"),
    [
        ("a", {"a": 1}),
        ("a,b", {"a": 1, "b": [{}, {}, {}]}),
        ("b[x]", {"b": [{"x": 0}, {"x": 1}, {"x": 2}]}),
        ("b[x]{1,3},a", {"a": 1, "b": [{"x": 1}, {"x": 2}]}),
        ("b[x]{,1}", {"b": [{"x": 0}]}),
        ("b[x]{2,}", {"b": [{"x": 2}]}),
        ("b[x]{1}", {"b": [{"x": 1}]}),
        ("b[x]{5,9}", {"b": []}),
        ("b[x,c[y]]{0,1}", {"b": [{"x": 0, "c": {"y": 9}}]}),
        ("nothing,b[no]{0,1}", {"b": [{}]}),
    ],
)
def test_a_tree_leaves_what_it_names(tree: str, left: dict[str, object]) -> None:
    model = {"a": 1, "b": [{"x": n, "c": {"y": 9, "z": 8}} for n in range(3)]}
    assert export(model, parse_tree(tree)) == left


@pytest.mark.parametrize("tree", ["a[b", "a]b", "a{1-2}", "[a]", "a{1,2"])
def test_a_broken_tree_is_refused(tree: str) -> None:
    with pytest.raises(TreeError):
        parse_tree(tree)


async def test_classes_are_told_without_being_asked_for_and_unknown_names_are_ignored() -> None:
    async with controller() as remote:
        remote.add_job("app")
        answer = await ask(remote, "/job/app/api/json?tree=name,nmae")
        assert answer == {"_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob", "name": "app"}


async def test_only_the_newest_hundred_are_in_builds_and_all_in_all_builds() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=130)
        answer = await ask(remote, "/job/service-0000/api/json?tree=builds[number],allBuilds[number]{90,125}")
        assert [build["number"] for build in answer["builds"]] == list(range(130, 30, -1))
        assert [build["number"] for build in answer["allBuilds"]] == list(range(40, 5, -1))


async def test_without_a_tree_one_level_is_exported() -> None:
    async with controller() as remote:
        remote.seed(jobs=1, builds=2)
        answer = await ask(remote, "/job/service-0000/api/json")
        assert answer["lastBuild"].keys() == {"_class", "number", "url"}
        assert "allBuilds" not in answer
        (job,) = (await ask(remote, "/api/json"))["jobs"]
        assert job.keys() == {"_class", "name", "url", "color"}
        build = await ask(remote, "/job/service-0000/lastBuild/api/json")
        assert build["number"] == 2
        assert build["actions"][0]["parameters"][0]["value"] == "main"


async def test_a_build_ends_when_the_models_clock_says_so() -> None:
    async with controller() as remote:
        remote.add_job("app")
        remote.start_build("app", 2 * MINUTE, "FAILURE")
        running = await ask(remote, "/job/app/1/api/json")
        assert (running["building"], running["result"], running["duration"]) == (True, None, 0)
        assert (await ask(remote, "/job/app/api/json"))["color"] == "notbuilt_anime"
        remote.clock.advance(5 * MINUTE)
        done = await ask(remote, "/job/app/1/api/json")
        assert (done["building"], done["result"], done["duration"]) == (False, "FAILURE", 120_000)
        assert (await ask(remote, "/job/app/api/json"))["color"] == "red"


async def test_a_path_without_its_last_slash_redirects_to_it() -> None:
    async with controller(context="/ci") as remote:
        remote.add_job("app")
        status, headers, _ = await get(remote, "/job/app")
        assert (status, headers["Location"]) == (302, "/ci/job/app/")
        assert (await get(remote, "/job/app/"))[0] == 200


async def test_refusals_are_pages_with_the_headers_of_jenkins() -> None:
    async with controller() as remote:
        secret = remote.add_job("secret")
        secret.readers = set()
        status, headers, page = await get(remote, "/api/json", None)
        assert (status, headers["X-You-Are-Authenticated-As"]) == (403, "anonymous")
        assert headers["X-Required-Permission"] == "hudson.model.Hudson.Read"
        assert "Authentication required" in page
        status, headers, _ = await get(remote, "/api/json", aiohttp.encode_basic_auth("dana", "wrong"))
        assert (status, "X-Jenkins" in headers) == (401, False)
        assert headers["WWW-Authenticate"] == 'Basic realm="Jenkins"'
        assert (await get(remote, "/job/secret/api/json"))[0] == 404
        secret.discoverers = {"dana"}
        status, headers, page = await get(remote, "/job/secret/api/json")
        assert (status, "X-Required-Permission" in headers) == (403, False)
        assert "Please login to access job secret" in page
        secret.closed_to = {"dana"}
        status, headers, _ = await get(remote, "/job/secret/api/json")
        assert (status, headers["X-Required-Permission"]) == (403, "hudson.model.Item.Read")
        remote.starting = True
        status, headers, page = await get(remote, "/api/json")
        assert (status, "X-Jenkins" in headers) == (503, False)
        assert "getting ready" in page


async def test_links_carry_the_configured_url_and_the_view_they_were_asked_by() -> None:
    async with controller(context="/ci") as remote:
        remote.add_multibranch("app", ["feature/x"])
        remote.views["mine"] = ["app"]
        (job,) = (await ask(remote, "/view/mine/api/json?tree=jobs[url]"))["jobs"]
        assert job["url"] == "http://jenkins.invalid:8080/view/mine/job/app/"
        branch = await ask(remote, "/job/app/job/feature%252Fx/api/json?tree=url,name")
        assert branch["url"] == "http://jenkins.invalid:8080/job/app/job/feature%252Fx/"
        assert branch["name"] == "feature%2Fx"
