"""What Jenkins' refusals mean, in words for people."""

import pytest

from adapters.auth import Anonymous, Auth
from adapters.base import (
    AdapterError,
    AuthFailed,
    Blocked,
    Forbidden,
    NotFound,
    QueryRejected,
    Unavailable,
    Unreadable,
)
from adapters.jenkins import Jenkins
from tests.unit.jenkins_site import TOKEN, connected, controller, dana
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController

JENKINS = {"X-Jenkins": "2.462.1", "Content-Type": "text/html"}


async def refusal(remote: JenkinsController, auth: Auth | None = None, path: str = "") -> AdapterError:
    """What planning the builds raises."""
    async with connected(remote, path, auth) as adapter:
        with pytest.raises(AdapterError) as raised:
            await adapter.plan("builds")
    assert TOKEN not in raised.value.message + raised.value.hint
    assert "tree=" not in raised.value.message
    return raised.value


async def test_a_wrong_api_token_is_an_auth_failure() -> None:
    async with controller() as remote:
        error = await refusal(remote, Jenkins.auth("basic", "dana", lambda: "wrong"))
        assert isinstance(error, AuthFailed)
        assert "API token" in error.hint
        assert len(remote.ledger) == 1


async def test_the_first_request_already_carries_the_credential() -> None:
    async with controller() as remote:
        async with connected(remote) as adapter:
            await adapter.plan("builds")
        assert all((seen.authorization or "").startswith("Basic ") for seen in remote.ledger)


async def test_a_stranger_is_told_the_permission_and_to_add_a_credential() -> None:
    async with controller() as remote:
        error = await refusal(remote, Anonymous())
        assert isinstance(error, Forbidden)
        assert "Overall/Read (hudson.model.Hudson.Read)" in error.message
        assert "credential" in error.hint


async def test_a_credential_that_jenkins_takes_no_notice_of_is_an_auth_failure() -> None:
    async with controller() as remote:
        error = await refusal(remote, Jenkins.auth("bearer", None, lambda: TOKEN))
        assert isinstance(error, AuthFailed)
        assert "anonymous" in error.message


async def test_an_open_jenkins_that_ignores_a_bearer_token_is_not_read_as_a_stranger() -> None:
    async with controller(anonymous_read=True) as remote:
        error = await refusal(remote, Jenkins.auth("bearer", None, lambda: TOKEN))
        assert isinstance(error, AuthFailed)
        remote.bearers[TOKEN] = "robot"
        async with connected(remote, auth=Jenkins.auth("bearer", None, lambda: TOKEN)) as adapter:
            assert (await adapter.check()).account == "robot"


async def test_nothing_is_called_deleted_while_jenkins_does_not_know_us() -> None:
    ignored = Jenkins.auth("bearer", None, lambda: TOKEN)
    async with controller(anonymous_read=True) as remote, connected(remote, auth=ignored) as adapter:
        with pytest.raises(AuthFailed):
            await adapter.fetch("jobs", ["gone"])


async def test_a_jenkins_without_security_takes_any_credential() -> None:
    async with controller() as remote:
        remote.root.secured = False
        async with connected(remote) as adapter:
            assert (await adapter.check()).account == "anonymous"


async def test_an_open_jenkins_is_read_without_a_credential() -> None:
    async with controller(anonymous_read=True) as remote:
        remote.add_job("app")
        async with connected(remote, auth=Anonymous()) as adapter:
            assert [p.name for p in await adapter.plan("builds")] == ["app"]
            assert (await adapter.check()).account == "anonymous"


async def test_a_missing_permission_of_a_known_account_is_forbidden_and_named() -> None:
    async with controller() as remote:
        job = remote.add_job("app")
        job.readers, job.discoverers = set(), {"dana"}
        error = await refusal(remote, path="/job/app")
        assert isinstance(error, Forbidden)
        assert "may not read job 'app'" in error.message
        assert "Job/Read on job 'app'" in error.hint


async def test_a_starting_jenkins_is_unavailable_and_no_job_is_called_gone() -> None:
    async with controller() as remote:
        remote.starting = True
        error = await refusal(remote)
        assert isinstance(error, Unavailable)
        assert "starting" in error.message
        async with connected(remote) as adapter:
            with pytest.raises(Unavailable):
                await adapter.fetch("jobs", ["app"])


async def test_a_deleted_target_is_not_found_by_name() -> None:
    async with controller() as remote:
        error = await refusal(remote, path="/job/team/job/app")
        assert isinstance(error, NotFound)
        assert "job 'team/app'" in error.message


@pytest.mark.parametrize(
    ("status", "headers", "body", "means", "says"),
    [
        (200, {"Content-Type": "application/json"}, b'{"jobs":[]}', Unreadable, "no Jenkins"),
        (404, {"Content-Type": "text/html"}, b"<html>", Unreadable, "no Jenkins"),
        (200, JENKINS, b"<html>Sign in</html>", Unreadable, "web page"),
        (203, {**JENKINS, "Content-Type": "application/json"}, b'{"jobs":[]}', Unreadable, "203"),
        (200, {**JENKINS, "Content-Type": "application/json"}, b'{"_class":"x"}', Unreadable, "list of jobs"),
        (200, {**JENKINS, "Content-Type": "application/json"}, b'{"jobs":{}}', Unreadable, "list of jobs"),
        (200, {**JENKINS, "Content-Type": "application/json"}, b'{"jobs":[', Unreadable, "fit"),
        (401, {}, b"", AuthFailed, "in front of Jenkins"),
        (403, {}, b"", Forbidden, "not by Jenkins"),
        (403, JENKINS, b"Access Denied", Forbidden, "Overall/Read is missing"),
        (400, JENKINS, b"Ambiguous URI path separator", QueryRejected, "rejected"),
        (500, JENKINS, b"Oops! A problem occurred", Unavailable, "500"),
        (502, {}, b"", Unavailable, "502"),
        (302, {"Location": "/login?from=%2F"}, b"", AuthFailed, "login page /login "),
        (302, {"Location": "/securityRealm/commenceLogin"}, b"", AuthFailed, "commenceLogin"),
        (302, {"Location": "https://elsewhere.example.com/"}, b"", Blocked, "elsewhere"),
    ],
)
async def test_a_strange_answer_is_the_error_that_names_its_consequence(
    status: int, headers: dict[str, str], body: bytes, means: type[AdapterError], says: str
) -> None:
    async with controller() as remote:
        remote.faults.append(Fault("/api/json", status, body, headers))
        error = await refusal(remote, dana())
        assert type(error) is means
        assert says in error.message


async def test_a_target_that_is_neither_job_nor_folder_is_unreadable() -> None:
    async with controller() as remote:
        remote.faults.append(Fault("/job/x", 200, b"{}", {**JENKINS, "Content-Type": "application/json"}))
        error = await refusal(remote, path="/job/x")
        assert isinstance(error, Unreadable)
