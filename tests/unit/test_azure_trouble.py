"""The Azure DevOps adapter when the organisation refuses, lies or changes under its hands."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random

import msgspec
import pytest

from adapters.auth import Anonymous
from adapters.azure import Azure
from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    QueryRejected,
    RateLimited,
    Unavailable,
    Unreadable,
)
from tests.support import read_all, records_of
from tests.unit.azure_reading import SmallQueries, adapter_of, keys, sync
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Fault

JSON = {"Content-Type": "application/json; charset=utf-8"}
BAD_TOKEN = Azure.auth("pat", None, lambda: "not-a-token")


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    async with AzureDevOps() as running:
        running.model.create_project("newtwitterclone")
        running.model.seed(30, Random(5))
        yield running


async def failure(remote: AzureDevOps, feed: str = "work_items", project: str = "") -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        await sync(remote, feed=feed, project=project)
    return caught.value


# --- who we are


@pytest.mark.parametrize("feed", ["projects", "work_items"])
async def test_a_bad_token_is_an_auth_failure(remote: AzureDevOps, feed: str) -> None:
    async with adapter_of(remote, auth=BAD_TOKEN) as adapter:
        with pytest.raises(AuthFailed) as caught:
            await read_all(adapter, feed, (await adapter.plan(feed))[0])
    # Told by a 401: without our header it would have been a redirect to the sign-in page.
    assert "not accepted" in caught.value.message
    assert "token" in caught.value.hint
    assert "not-a-token" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("feed", ["projects", "work_items"])
async def test_a_sign_in_page_in_place_of_data_is_an_auth_failure(remote: AzureDevOps, feed: str) -> None:
    remote.access.sign_in_page = True
    error = await failure(remote, feed)
    assert isinstance(error, AuthFailed)
    assert "sign-in page" in error.message


@pytest.mark.parametrize("status", [200, 203, 302])
async def test_html_and_redirects_are_never_an_empty_answer(remote: AzureDevOps, status: int) -> None:
    headers = {"Content-Type": "text/html; charset=utf-8", "Location": "https://spsprod.example.com/_signin"}
    remote.faults.append(Fault("wiql", status, b"<html>Sign In</html>", headers))
    assert isinstance(await failure(remote), AuthFailed)


async def test_an_expired_token_is_called_expired(remote: AzureDevOps) -> None:
    remote.access.expired.add("azure-token")
    error = await failure(remote)
    assert isinstance(error, AuthFailed)
    assert "expired" in error.message
    assert "make a new one" in error.hint


async def test_an_account_without_access_is_forbidden(remote: AzureDevOps) -> None:
    remote.access.strangers.add("azure-token")
    assert isinstance(await failure(remote), Forbidden)


@pytest.mark.parametrize("feed", ["projects", "work_items"])
async def test_a_bad_token_is_not_mistaken_for_the_public_part_of_an_organisation(
    remote: AzureDevOps, feed: str
) -> None:
    remote.model.create_project("open source", visibility="public")
    async with adapter_of(remote, auth=BAD_TOKEN) as adapter:
        [partition] = await adapter.plan(feed)
        with pytest.raises(AuthFailed, match="public"):
            await read_all(adapter, feed, partition)
        with pytest.raises(AuthFailed, match="anonymous"):
            await adapter.check()


async def test_public_projects_are_read_anonymously(remote: AzureDevOps) -> None:
    remote.model.create_project("open source", visibility="public")
    item = remote.model.create("open source", "for all to see")
    async with adapter_of(remote, auth=Anonymous()) as adapter:
        pages, _ = await read_all(adapter, "work_items", (await adapter.plan("work_items"))[0])
        assert keys(pages) == [str(item.id)]
        assert (await adapter.check()).account == "anonymous"


# --- refusals


async def test_a_project_that_does_not_exist_is_not_found(remote: AzureDevOps) -> None:
    async with adapter_of(remote, params={"project": "nowhere"}) as adapter:
        for feed in ("projects", "work_items"):
            with pytest.raises(NotFound, match="TF200016"):
                await read_all(adapter, feed, (await adapter.plan(feed))[0])


async def test_a_path_that_is_neither_collection_nor_project_says_so(remote: AzureDevOps) -> None:
    async with adapter_of(remote, project="nowhere") as adapter:
        with pytest.raises(NotFound, match="neither"):
            await adapter.plan("projects")


async def test_a_routing_error_carries_the_remotes_words(remote: AzureDevOps) -> None:
    said = "The%20controller%20for%20path%20%27%2Fx%27%20was%20not%20found"
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-TFS-ServiceError": said}
    remote.faults.append(Fault("wiql", 404, b"", headers))
    error = await failure(remote)
    assert isinstance(error, NotFound)
    assert error.message == "The controller for path '/x' was not found"


async def test_a_date_precision_refusal_is_a_rejected_query(remote: AzureDevOps) -> None:
    body = msgspec.json.encode({"message": "You cannot supply a time with the date when running a query."})
    remote.faults.append(Fault("wiql", 400, body, JSON))
    assert isinstance(await failure(remote), QueryRejected)


async def test_a_blocked_account_waits_as_long_as_it_is_told(remote: AzureDevOps) -> None:
    remote.throttle.blocked, remote.throttle.wait = 1, 120
    error = await failure(remote)
    assert isinstance(error, RateLimited)
    assert "TF400733" in error.message
    assert error.retry_at is not None
    assert error.retry_at - remote.clock.now() > timedelta(seconds=110)


async def test_a_block_without_retry_after_uses_the_reset_in_epoch_seconds(remote: AzureDevOps) -> None:
    reset = int(remote.clock.now().timestamp()) + 90
    remote.faults.append(Fault("wiql", 429, b"{}", {**JSON, "X-RateLimit-Reset": str(reset)}))
    error = await failure(remote)
    assert isinstance(error, RateLimited)
    assert error.retry_at is not None
    assert abs(error.retry_at.timestamp() - reset) < 5


async def test_a_slowed_down_answer_is_still_data(remote: AzureDevOps) -> None:
    remote.throttle.delay = 0.02
    pages, _ = await sync(remote)
    assert len(keys(pages)) == 30


async def test_a_broken_server_is_unavailable(remote: AzureDevOps) -> None:
    remote.faults.append(Fault("workitemsbatch", 503, b"down", {"Retry-After": "40"}))
    error = await failure(remote)
    assert isinstance(error, Unavailable)
    assert error.retry_at is not None


# --- answers that make no sense


@pytest.mark.parametrize(
    ("feed", "path", "body"),
    [
        ("projects", "projects", b"{}"),
        ("projects", "projects", b'{"count":0}'),
        ("work_items", "wiql", b'{"queryType":"flat"}'),
        ("work_items", "wiql", b'{"workItems":null}'),
        ("work_items", "workitemsbatch", b'{"count":30}'),
        ("work_items", "workitemsbatch", b"[]"),
        ("work_items", "wiql", b'{"workItems":[{"id":3},{"id":2}]}'),
        ("work_items", "wiql", b'{"workItems":[{"id":2},{"id":2}]}'),
        ("work_items", "wiql", b'{"workItems":[{"id":0}]}'),
    ],
)
async def test_an_answer_in_another_shape_is_unreadable(
    remote: AzureDevOps, feed: str, path: str, body: bytes
) -> None:
    remote.faults.append(Fault(path, 200, body, JSON))
    assert isinstance(await failure(remote, feed), Unreadable)


async def test_a_repeated_continuation_token_is_unreadable(remote: AzureDevOps) -> None:
    body = b'{"count":1,"value":[{"id":"a"}]}'
    remote.faults.append(Fault("projects", 200, body, {**JSON, "x-ms-continuationtoken": "1"}, times=5))
    error = await failure(remote, "projects")
    assert isinstance(error, Unreadable)
    assert "twice" in error.message


async def test_empty_pages_without_end_are_unreadable(remote: AzureDevOps) -> None:
    for token in range(1, 50):
        headers = {**JSON, "x-ms-continuationtoken": str(token)}
        remote.faults.append(Fault("projects", 200, b'{"value":[]}', headers))
    error = await failure(remote, "projects")
    assert isinstance(error, Unreadable)
    assert "empty pages" in error.message


async def test_a_query_that_ignores_where_we_are_does_not_loop(remote: AzureDevOps) -> None:
    ids = [{"id": number} for number in range(1, 151)]
    body = msgspec.json.encode({"workItems": ids})
    remote.model.seed(130, Random(6))
    remote.faults.append(Fault("wiql", 200, body, JSON, times=100))
    with pytest.raises(Unreadable, match="others than asked"):
        await sync(remote, kind=SmallQueries)


async def test_one_bad_item_is_rejected_and_the_rest_live(remote: AzureDevOps) -> None:
    remote.model.items[5].fields_json = b'"not fields"'
    pages, _ = await sync(remote)
    assert len(keys(pages)) == 29
    [rejected] = [bad for page in pages for bad in page.rejected]
    assert rejected.key == "5"
    assert b'"not fields"' in rejected.body
    assert pages[-1].expected == {"work_items": 30}


async def test_an_illegible_item_is_rejected_under_the_id_that_was_asked_for(remote: AzureDevOps) -> None:
    body = b'{"value":[{"id":1,"rev":1,"fields":{}},{"id":"two","fields":{}}]}'
    remote.faults.append(Fault("workitemsbatch", 200, body, JSON))
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("work_items", ["1", "2"])
    assert [record.key for record in fetched.records] == ["1"]
    assert [bad.key for bad in fetched.rejected] == ["2"]
    assert not fetched.missing


async def test_one_bad_project_is_rejected_and_the_rest_live(remote: AzureDevOps) -> None:
    body = b'{"count":2,"value":[{"name":"no id"},{"id":"A1","name":7,"visibility":"private"}]}'
    remote.faults.append(Fault("projects", 200, body, JSON))
    [page] = (await sync(remote, feed="projects"))[0]
    assert [record.key for record in page.records] == ["a1"]
    assert len(page.rejected) == 1


async def test_items_deleted_between_query_and_batch_are_skipped(remote: AzureDevOps) -> None:
    remote.model.seed(570, Random(7))
    async with adapter_of(remote) as adapter:
        [partition] = await adapter.plan("work_items")
        reading = adapter.read("work_items", partition, None)
        first = await anext(reading)
        for item_id in (450, 451, 600):
            remote.model.delete(item_id)
        rest = [page async for page in reading]
    assert len(keys([first, *rest])) == 597
    assert rest[-1].end
    assert rest[-1].expected == {"work_items": 597}


async def test_a_batch_that_answers_nothing_at_all_is_not_skipped(remote: AzureDevOps) -> None:
    remote.faults.append(
        Fault("workitemsbatch", 200, b'{"count":30,"value":[%s]}' % b",".join([b"null"] * 30), JSON)
    )
    assert isinstance(await failure(remote), Unavailable)


async def test_leaving_a_read_early_leaves_no_request_behind(remote: AzureDevOps) -> None:
    remote.model.seed(600, Random(7))
    remote.faults.append(Fault("workitemsbatch", after=1, delay=30))
    async with adapter_of(remote) as adapter:
        reading = adapter.read("work_items", (await adapter.plan("work_items"))[0], None)
        await anext(reading)
        async with asyncio.timeout(10):
            await reading.aclose()


# --- by key


async def test_fetch_brings_the_body_that_read_brings(remote: AzureDevOps) -> None:
    remote.model.link(1, 2)
    read = {record.key: record for record in records_of((await sync(remote))[0])}
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("work_items", ["1", "2", "30"])
    assert [record.body for record in fetched.records] == [read[key].body for key in ("1", "2", "30")]
    assert b"Hierarchy-Reverse" in read["2"].body


async def test_fetch_tells_deleted_from_hidden(remote: AzureDevOps) -> None:
    remote.model.delete(1)
    remote.model.destroy(2)
    remote.model.hide(3)
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("work_items", ["1", "2", "3", "4", "99999", "no id"])
    assert [record.key for record in fetched.records] == ["4"]
    reasons = {gone.key: gone.reason for gone in fetched.missing}
    assert reasons == {"1": "deleted", "2": "hidden", "3": "hidden", "99999": "hidden", "no id": "hidden"}


async def test_a_restored_item_is_back_with_a_new_revision(remote: AzureDevOps) -> None:
    [before] = [record for record in records_of((await sync(remote))[0]) if record.key == "1"]
    remote.model.delete(1)
    assert "1" not in keys((await sync(remote))[0])
    remote.model.restore(1)
    [after] = [record for record in records_of((await sync(remote))[0]) if record.key == "1"]
    assert (before.version, after.version) == ("1", "2")


async def test_an_item_that_moved_to_another_project_left(remote: AzureDevOps) -> None:
    remote.model.create_project("other")
    remote.model.move(1, "other")
    async with adapter_of(remote, project="newtwitterclone") as adapter:
        fetched = await adapter.fetch("work_items", ["1", "2"])
    assert [record.key for record in fetched.records] == ["2"]
    assert [(gone.key, gone.reason) for gone in fetched.missing] == [("1", "left")]


async def test_nothing_is_proven_deleted_without_a_look_into_the_bin(remote: AzureDevOps) -> None:
    remote.model.delete(1)
    remote.faults.append(Fault("recyclebin", 403, b"{}", JSON))
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("work_items", ["1"])
    assert [(gone.key, gone.reason) for gone in fetched.missing] == [("1", "hidden")]


async def test_two_hundred_keys_are_one_request(remote: AzureDevOps) -> None:
    remote.model.seed(200, Random(8))
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("work_items", [str(i) for i in range(1, Azure.batch + 1)])
    assert len(fetched.records) == 200
    assert len(remote.requests("workitemsbatch")) == 1


async def test_a_project_in_the_bin_is_deleted_and_a_purged_one_hidden(remote: AzureDevOps) -> None:
    binned = remote.model.create_project("binned")
    purged = remote.model.create_project("purged")
    going = remote.model.create_project("going", state="deleting")
    [alive, *_] = remote.model.projects
    remote.model.delete_project("binned")
    remote.model.delete_project("purged")
    remote.model.purge_project(purged.id)
    async with adapter_of(remote) as adapter:
        fetched = await adapter.fetch("projects", [alive, binned.id, purged.id, going.id])
    assert [record.key for record in fetched.records] == [alive]
    reasons = {gone.key: gone.reason for gone in fetched.missing}
    assert reasons == {binned.id: "deleted", purged.id: "hidden", going.id: "deleted"}


async def test_a_project_that_the_url_does_not_name_left(remote: AzureDevOps) -> None:
    other = remote.model.create_project("other")
    async with adapter_of(remote, project="newtwitterclone") as adapter:
        fetched = await adapter.fetch("projects", [other.id])
    assert [(gone.key, gone.reason) for gone in fetched.missing] == [(other.id, "left")]


# --- the check


async def test_check_says_who_and_what_and_how_many(remote: AzureDevOps) -> None:
    for number in range(120):
        remote.model.create_project(f"Project {number}")
    async with adapter_of(remote) as adapter:
        check = await adapter.check()
    assert check.account == "Ada Sync (ada.sync@example.com)"
    assert check.system_version == "Azure DevOps Services"
    assert check.streams["projects"].count == 121
    assert check.streams["work_items"].readable


async def test_check_names_the_stream_that_is_refused(remote: AzureDevOps) -> None:
    body = msgspec.json.encode({"message": "VS403: no", "typeKey": "AccessCheckException"})
    remote.faults.append(Fault("wiql", 403, body, JSON))
    async with adapter_of(remote) as adapter:
        check = await adapter.check()
    assert check.streams["projects"].readable
    assert not check.streams["work_items"].readable
    assert "VS403: no" in (check.streams["work_items"].problem or "")
    assert check.streams["work_items"].kind == "forbidden"


async def test_check_fails_with_a_bad_token(remote: AzureDevOps) -> None:
    async with adapter_of(remote, auth=BAD_TOKEN) as adapter:
        with pytest.raises(AuthFailed):
            await adapter.check()


async def test_check_does_without_connection_data(remote: AzureDevOps) -> None:
    remote.faults.append(Fault("connectionData", 404, b"{}", JSON))
    async with adapter_of(remote) as adapter:
        check = await adapter.check()
    assert check.account is None
    assert check.streams["work_items"].readable
