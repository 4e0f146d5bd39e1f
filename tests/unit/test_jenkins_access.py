"""Whom Jenkins lets in, seen from outside: logins in front, errors it does not sign, what a check tells."""

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
from tests.support import read_all
from tests.unit.jenkins_site import TOKEN, connected, controller, dana
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jenkins import JenkinsController

HTML = {"Content-Type": "text/html"}
SIGNED = {**HTML, "X-Jenkins": "2.462.1"}


def bearer() -> Auth:
    return Jenkins.auth("bearer", None, lambda: TOKEN)


async def refusal(remote: JenkinsController, auth: Auth | None = None, path: str = "") -> AdapterError:
    """What a check raises."""
    async with connected(remote, path, auth) as adapter:
        with pytest.raises(AdapterError) as raised:
            await adapter.check()
    said = raised.value.message + raised.value.hint
    assert TOKEN not in said
    assert "?" not in said
    return raised.value


@pytest.mark.parametrize(
    "login",
    [
        "https://login.example.com/tenant/oauth2/v2.0/authorize?client_id=1&state=2",
        "https://accounts.example.com/o/saml2/idp?SAMLRequest=x",
        "https://idp.example.com/realms/ci/protocol/openid-connect/auth?x=1",
        "/oauth2/sign_in",
        "/securityRealm/commenceLogin?from=%2F",
        "page",
    ],
)
async def test_a_single_sign_on_in_front_is_an_auth_failure_that_says_to_use_an_api_token(login: str) -> None:
    async with controller() as remote:
        remote.sso = login
        error = await refusal(remote)
        assert type(error) is AuthFailed
        assert "login page" in error.message
        assert "API token" in error.hint
        assert isinstance(await refusal(remote, Anonymous()), Forbidden)


async def test_a_redirect_to_another_address_of_jenkins_is_no_login() -> None:
    async with controller() as remote:
        moved = {"Location": "https://new.example.com/job/login/api/json"}
        remote.faults.append(Fault("/job/login/", 302, b"", moved))
        async with connected(remote, "/job/login") as adapter:
            with pytest.raises(Blocked, match=r"new\.example\.com"):
                await adapter.plan("builds")


async def test_a_login_page_for_one_job_is_a_missing_permission_when_jenkins_knows_us() -> None:
    async with controller() as remote:
        remote.add_folder("team")
        remote.add_job("open")
        to_login = {"Location": "/securityRealm/commenceLogin?from=%2Fjob%2Fteam"}
        remote.faults.append(Fault("/job/team/", 302, b"", to_login, times=9))
        async with connected(remote) as adapter:
            partitions = {p.name: p for p in await adapter.plan("builds")}
            assert "open" in partitions
            with pytest.raises(Forbidden, match="dana may not read job 'team'") as raised:
                await read_all(adapter, "builds", partitions["team"])
        assert "Job/Read" in raised.value.hint


async def test_strangers_that_are_redirected_to_the_login_are_told_to_add_a_credential() -> None:
    async with controller() as remote:
        remote.login_redirects = True
        async with connected(remote, auth=Anonymous()) as adapter:
            with pytest.raises(Forbidden) as raised:
                await adapter.plan("builds")
        assert "credential" in raised.value.hint
        assert "Overall/Read" in raised.value.hint


async def test_a_404_that_an_older_jenkins_leaves_unsigned_is_believed_once_it_is_known_as_jenkins() -> None:
    async with controller() as remote:
        remote.plain_errors = True
        remote.add_job("app")
        error = await refusal(remote, path="/job/gone")
        assert isinstance(error, NotFound)
        assert "job 'gone'" in error.message
        assert "Job/Read" in error.hint
        async with connected(remote) as adapter:
            fetched = await adapter.fetch("builds", ["app#7", "gone#1"])
        assert {(m.key, m.reason) for m in fetched.missing} == {("app#7", "deleted"), ("gone#1", "deleted")}


async def test_an_unsigned_404_of_what_is_no_jenkins_is_not_believed() -> None:
    async with controller() as remote:
        remote.faults.append(Fault("", 404, b"<html>", HTML, times=99))
        async with connected(remote) as adapter:
            with pytest.raises(Unreadable, match="no Jenkins"):
                await adapter.fetch("jobs", ["app"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"Please wait while Jenkins is getting ready to work ...", "starting"),
        (b"<title>Starting Jenkins</title>", "starting"),
        (b"<h1>Please wait while Jenkins is restarting</h1>", "starting"),
        (b"<center>nginx</center>", "in front of Jenkins does not reach it"),
    ],
)
@pytest.mark.parametrize("status", [502, 503])
async def test_a_jenkins_that_starts_or_is_not_reached_is_unavailable_with_what_to_do(
    status: int, body: bytes, says: str
) -> None:
    async with controller() as remote:
        remote.faults.append(Fault("", status, body, HTML, times=9))
        error = await refusal(remote)
        assert isinstance(error, Unavailable)
        assert says in error.message
        assert "log" in error.hint or "proxy" in error.hint


async def test_the_entry_of_a_failure_in_the_log_of_jenkins_is_named() -> None:
    async with controller() as remote:
        page = b"<h1>Oops!</h1><p>Logging ID=0a1b2c3d-1111-2222-3333-444455556666</p>"
        remote.faults.append(Fault("/job/app/", 500, page, SIGNED, times=9))
        error = await refusal(remote, path="/job/app")
        assert isinstance(error, Unavailable)
        assert "Logging ID=0a1b2c3d-1111-2222-3333-444455556666" in error.message


async def test_wrong_and_revoked_secrets_say_how_to_make_a_new_token() -> None:
    async with controller() as remote:
        wrong = await refusal(remote, Jenkins.auth("basic", "dana", lambda: "not-it"))
        assert isinstance(wrong, AuthFailed)
        assert "Security > API Token" in wrong.hint
        del remote.users["dana"]
        assert isinstance(await refusal(remote), AuthFailed)
        assert "credential kind basic" in (await refusal(remote, bearer())).hint


async def test_a_login_of_the_proxy_is_not_blamed_on_jenkins() -> None:
    async with controller() as remote:
        wants = {**HTML, "WWW-Authenticate": 'Basic realm="staff only"'}
        remote.faults.append(Fault("", 401, b"<html>", wants, times=9))
        error = await refusal(remote)
        assert isinstance(error, AuthFailed)
        assert "in front of Jenkins" in error.message


async def test_an_account_without_overall_read_is_told_so_by_name() -> None:
    async with controller() as remote:
        remote.shut_out.add("dana")
        error = await refusal(remote)
        assert isinstance(error, Forbidden)
        assert "dana may not read" in error.message
        assert "give dana Overall/Read" in error.hint


async def test_a_job_that_may_only_be_discovered_needs_job_read() -> None:
    async with controller() as remote:
        job = remote.add_job("app")
        job.readers, job.discoverers = set(), {"dana", "anonymous"}
        error = await refusal(remote, path="/job/app")
        assert isinstance(error, Forbidden)
        assert "Job/Read on job 'app'" in error.hint
        remote.anonymous_read = True
        assert "give anonymous Job/Read" in (await refusal(remote, Anonymous(), "/job/app")).hint


async def test_a_proxy_that_rejects_an_encoded_slash_is_named() -> None:
    async with controller() as remote:
        remote.add_multibranch("app", ["feature/x"])
        for status, means in ((400, QueryRejected), (404, NotFound)):
            remote.faults.append(Fault("%252F", status, b"<html>", SIGNED, times=2))
            error = await refusal(remote, path="/job/app/job/feature%252Fx")
            assert isinstance(error, means)
            assert "%2F" in error.hint
            remote.faults.clear()


async def test_check_counts_through_folders_and_says_when_no_job_is_visible() -> None:
    async with controller() as remote:
        remote.add_multibranch("app", ["main", "feature/x"])
        async with connected(remote) as adapter:
            found = await adapter.check()
        assert (found.account, found.streams["jobs"].count) == ("dana", 3)
        assert found.streams["jobs"].problem is None
        remote.item("app").readers = set()
        async with connected(remote) as adapter:
            found = await adapter.check()
        assert (found.streams["jobs"].count, found.streams["builds"].count) == (0, 0)
        assert "No job is visible to dana" in str(found.streams["jobs"].problem)
        assert "Job/Read" in str(found.streams["jobs"].problem)


async def test_check_of_a_controller_with_very_many_folders_asks_little_and_does_not_count() -> None:
    async with controller() as remote:
        for number in range(60):
            remote.add_folder(f"team-{number}")
        async with connected(remote) as adapter:
            found = await adapter.check()
        assert found.streams["jobs"].readable
        assert found.streams["jobs"].count is None
        assert len(remote.ledger) == 2


@pytest.mark.parametrize("location", ["", "not a url", "https://[::1", "//", "/job/x/"])
async def test_a_redirect_that_makes_no_sense_ends_in_an_error_of_ours(location: str) -> None:
    async with controller() as remote:
        remote.faults.append(Fault("/job/app/", 302, b"", {"Location": location}, times=99))
        async with connected(remote, "/job/app", dana()) as adapter:
            with pytest.raises(AdapterError):
                await adapter.plan("builds")
