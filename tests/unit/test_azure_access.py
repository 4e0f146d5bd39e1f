"""Who we are to Azure DevOps: credentials, scopes, older servers, and what a person is told to do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest

from adapters.auth import Anonymous, Auth
from adapters.azure import Azure
from adapters.base import AdapterError, AuthFailed, Forbidden, NotFound, QueryRejected, Target
from tests.support import http_client, read_all, records_of
from tests.unit.azure_reading import TOKEN, adapter_of, sync
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock, Fault

JSON = {"Content-Type": "application/json; charset=utf-8"}
WRONG = Azure.auth("pat", None, lambda: "wrong-token")
BEARER = Azure.auth("bearer", None, lambda: "wrong-token")
PASSWORD = Azure.auth("basic", "CORP\\ada", lambda: "wrong-password")
END = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.seed(5, Random(5))
        running.model.seed_builds(5, Random(5))
        yield running


@pytest.fixture
async def server() -> AsyncIterator[AzureDevOps]:
    """A server of one's own that is older than our version."""
    made = AzureDevOps("Default Collection", above="tfs", newest="6.0", hosted=False)
    async with made as running:
        running.model.seed(5, Random(5), project="Größe & Maß")
        running.model.seed_builds(5, Random(5), project="Größe & Maß")
        yield running


async def refusal(remote: AzureDevOps, auth: Auth, feed: str = "projects") -> AdapterError:
    async with adapter_of(remote, auth=auth) as adapter:
        with pytest.raises(AdapterError) as caught:
            await read_all(adapter, feed, (await adapter.plan(feed))[0])
    return caught.value


# --- the credential is no good


@pytest.mark.parametrize(
    ("auth", "says"),
    [
        (WRONG, ("personal access token", "Work Items (Read)", "Build (Read)", "oauth2")),
        (
            BEARER,
            ("Microsoft Entra", "499b84ac-1321-427f-aa17-267ca6975798", "third-party application access"),
        ),
        (PASSWORD, ("takes no passwords", "kind pat")),
        (Anonymous(), ("Nothing is public", "kind pat")),
    ],
)
async def test_the_hint_is_about_the_kind_of_credential(
    remote: AzureDevOps, auth: Auth, says: tuple[str, ...]
) -> None:
    error = await refusal(remote, auth)
    assert isinstance(error, AuthFailed)
    assert all(words in error.hint for words in says), error.hint


async def test_on_a_server_a_token_is_told_of_iis_and_a_password_of_its_form(server: AzureDevOps) -> None:
    assert "IIS Basic authentication" in (await refusal(server, WRONG)).hint
    assert "DOMAIN\\user" in (await refusal(server, PASSWORD)).hint


@pytest.mark.parametrize(("at", "says"), [(-1, "stop working on 1"), (1, "no longer work since 1")])
async def test_tokens_for_all_organisations_are_named_before_and_after_their_end(at: int, says: str) -> None:
    clock = Clock(lambda: END + timedelta(seconds=at))
    async with AzureDevOps(clock=clock) as remote:
        remote.model.create_project("p")
        assert f"{says} December 2026" in (await refusal(remote, WRONG)).hint
        async with adapter_of(remote) as adapter:
            [note] = (await adapter.check()).notes
        assert f"{says} December 2026" in note
        assert "oauth2" in note


async def test_no_note_on_a_server_or_with_another_credential(
    remote: AzureDevOps, server: AzureDevOps
) -> None:
    async with adapter_of(server) as adapter:
        assert (await adapter.check()).notes == ()
    async with adapter_of(remote, auth=Azure.auth("bearer", None, lambda: "azure-token")) as adapter:
        assert (await adapter.check()).notes == ()


async def test_a_password_that_was_refused_is_not_tried_again(server: AzureDevOps) -> None:
    """A second failure could lock the account."""
    server.access.passwords["CORP\\ada"] = "right"
    await refusal(server, PASSWORD)
    assert len([seen for seen in server.ledger if seen.authorization]) == 1


async def test_a_server_that_only_takes_windows_sign_in_is_told(server: AzureDevOps) -> None:
    server.access.windows_only = True
    error = await refusal(server, WRONG)
    assert isinstance(error, AuthFailed)
    assert "NTLM" in error.hint


async def test_a_page_instead_of_a_401_is_an_auth_failure(remote: AzureDevOps) -> None:
    page = b"<!DOCTYPE html><html><head><title>Access Denied</title></head></html>"
    remote.faults.append(Fault("projects", 401, page, {"Content-Type": "text/html"}))
    remote.faults.append(Fault("connectionData", 401, page, {"Content-Type": "text/html"}))
    error = await refusal(remote, TOKEN)
    assert isinstance(error, AuthFailed)
    assert "personal access token" in error.hint


async def test_a_redirect_of_the_server_itself_is_no_matter_of_credentials(remote: AzureDevOps) -> None:
    to = remote.url.replace("http://", "https://") + "/company/_apis/projects"
    remote.faults.append(Fault("projects", 302, b"", {"Location": to}))
    error = await refusal(remote, TOKEN)
    assert error.kind == "blocked"


# --- it is good, and not enough


@pytest.mark.parametrize("as_page", [False, True])
async def test_conditional_access_is_named(remote: AzureDevOps, as_page: bool) -> None:
    if as_page:
        page = b"<html><title>VS403463: The conditional access policy failed.</title></html>"
        remote.faults.append(Fault("", 401, page, {"Content-Type": "text/html"}, times=9))
    remote.access.policy = True
    error = await refusal(remote, TOKEN)
    assert isinstance(error, Forbidden)
    assert "VS403463" in error.message
    assert "conditional access policy" in error.hint


@pytest.mark.parametrize(
    ("lacks", "feed", "scope"),
    [
        ("project", "projects", "Project and Team (Read)"),
        ("work", "work_items", "Work Items (Read)"),
        ("build", "builds", "Build (Read)"),
        ("build", "pipelines", "Build (Read)"),
    ],
)
async def test_a_token_without_the_scope_is_forbidden_and_the_scope_named(
    remote: AzureDevOps, lacks: str, feed: str, scope: str
) -> None:
    """It gets the same bare 401 as a wrong one; that we are known tells them apart."""
    remote.access.scopes["azure-token"] = frozenset({"project", "work", "build"} - {lacks})
    async with adapter_of(remote, params={"project": "newtwitterclone"}) as adapter:
        with pytest.raises(Forbidden) as caught:
            await read_all(adapter, feed, (await adapter.plan(feed))[0])
    assert scope in caught.value.hint
    assert "Ada Sync" in caught.value.message


async def test_a_scope_that_is_missing_everywhere_is_explained_by_one_question(remote: AzureDevOps) -> None:
    for number in range(5):
        remote.model.create_project(f"Project {number}")
    remote.access.scopes["azure-token"] = frozenset({"project"})
    async with adapter_of(remote) as adapter:
        for partition in await adapter.plan("builds"):
            with pytest.raises(Forbidden):
                await read_all(adapter, "builds", partition)
    assert len(remote.requests("connectionData")) == 1


async def test_a_project_whose_builds_are_withheld_says_which_permission(remote: AzureDevOps) -> None:
    remote.ci.closed = set(remote.model.projects)
    error = await refusal(remote, TOKEN, "builds")
    assert isinstance(error, Forbidden)
    assert "TF215106" in error.message
    assert "Build (Read)" in error.hint
    assert '"View builds"' in error.hint


# --- the check


async def test_check_names_for_each_stream_what_it_needs(remote: AzureDevOps) -> None:
    remote.access.scopes["azure-token"] = frozenset({"project"})
    async with adapter_of(remote) as adapter:
        check = await adapter.check()
    assert check.streams["projects"].readable
    problems = {name: found.problem or "" for name, found in check.streams.items() if not found.readable}
    assert set(problems) == {"work_items", "builds", "pipelines"}
    assert "Work Items (Read)" in problems["work_items"]
    assert "Build (Read)" in problems["builds"]
    assert {found.kind for found in check.streams.values()} == {None, "forbidden"}


async def test_check_counts_what_the_remote_tells_exactly(remote: AzureDevOps) -> None:
    async with adapter_of(remote) as adapter:
        check = await adapter.check()
    counts = {name: found.count for name, found in check.streams.items()}
    assert counts == {"projects": 1, "work_items": 5, "pipelines": 3, "builds": None}
    assert check.system_version == "Azure DevOps Services"


async def test_check_tells_when_only_some_projects_can_be_read(remote: AzureDevOps) -> None:
    other = remote.model.create_project("Größe & Maß")
    remote.ci.closed = {other.id}
    async with adapter_of(remote) as adapter:
        found = (await adapter.check()).streams["builds"]
    assert found.readable
    assert "1 of 2 projects" in (found.problem or "")
    assert "Größe & Maß" in (found.problem or "")


async def test_check_of_a_large_organisation_looks_at_some_projects(remote: AzureDevOps) -> None:
    for number in range(40):
        remote.model.create_project(f"Project {number}")
    async with adapter_of(remote) as adapter:
        check = await adapter.check()
    assert check.streams["pipelines"].count is None
    assert len(remote.ledger) < 30


# --- a server of one's own


async def test_an_older_server_is_asked_in_the_version_it_names(server: AzureDevOps) -> None:
    pages, _ = await sync(server)
    assert len(records_of(pages)) == 5
    assert [seen.query["api-version"] for seen in server.ledger] == ["7.1", "6.0", "6.0", "6.0"]
    async with adapter_of(server) as adapter:
        check = await adapter.check()
    assert check.system_version == "Azure DevOps Server (REST API 6.0)"
    assert all(found.readable for found in check.streams.values())


async def test_a_server_that_names_no_version_is_asked_in_older_ones(remote: AzureDevOps) -> None:
    said = {"message": "Die Version 7.1 wird nicht unterstützt.", "typeKey": "VssVersionOutOfRangeException"}
    remote.faults.append(Fault("wiql", 400, msgspec.json.encode(said), JSON, times=2))
    pages, _ = await sync(remote, project="newtwitterclone")
    assert len(records_of(pages)) == 5
    assert [seen.query["api-version"] for seen in remote.requests("wiql")] == ["7.1", "7.0", "6.0"]


@pytest.mark.parametrize("named", ["4.1", "7.1"])
async def test_a_server_that_is_too_old_is_told_so(remote: AzureDevOps, named: str) -> None:
    message = f"The version 7.1 is out of range. The latest REST API version this server supports is {named}."
    said = msgspec.json.encode({"message": message, "typeKey": "VssVersionOutOfRangeException"})
    remote.faults.append(Fault("projects", 400, said, JSON, times=100))
    error = await refusal(remote, TOKEN)
    assert isinstance(error, QueryRejected)
    assert "2019" in error.hint


@pytest.mark.parametrize(
    "path", ["", "Größe & Maß", "Gr%C3%B6%C3%9Fe%20%26%20Ma%C3%9F", "Größe & Maß/_build"]
)
async def test_a_collection_below_a_path_and_a_project_in_it_are_told_apart(
    server: AzureDevOps, path: str
) -> None:
    server.model.create_project("other")
    pages, _ = await sync(server, project=path, feed="projects")
    assert len(records_of(pages)) == (1 if path else 2)
    pages, _ = await sync(server, project=path, feed="builds", of="Größe & Maß")
    assert len(records_of(pages)) == 5


async def test_a_virtual_directory_is_no_collection(server: AzureDevOps) -> None:
    target = Azure.parse(f"{server.url}/tfs", {})
    async with http_client(target.base, TOKEN) as http:
        with pytest.raises(NotFound) as caught:
            await Azure(target, http).plan("projects")
    assert "DefaultCollection" in caught.value.hint


async def test_the_project_parameter_takes_no_probe(server: AzureDevOps) -> None:
    target = Azure.parse(server.base, {"project": "Größe & Maß"})
    async with http_client(target.base, TOKEN) as http:
        await Azure(target, http).plan("projects")
    assert server.ledger == []


async def test_an_organisation_that_is_not_there_says_what_to_look_at(remote: AzureDevOps) -> None:
    target = Target(f"{remote.url}/nobody", f"{remote.url}/nobody")
    async with http_client(target.base, TOKEN) as http:
        with pytest.raises(NotFound) as caught:
            await Azure(target, http).plan("builds")
    assert "renamed, deleted or disabled" in caught.value.hint
