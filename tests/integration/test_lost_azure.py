"""Azure DevOps and the ways in which data gets lost: nothing is missed, or called gone that is not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from adapters.azure import Azure
from adapters.base import Gone, Hook
from adapters.http import utc_now
from scheduler.dispatch import Request
from store.connections import Connection
from store.database import now
from store.syncs import Sync
from tests.engine import set_sync
from tests.house import House
from tests.unit.azure_mailbox import mailbox
from tests.unit.azure_reading import adapter_of
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock, Fault
from worker.sync import run_slice

pytestmark = pytest.mark.sqlite_does

JSON = {"Content-Type": "application/json; charset=utf-8"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
CENSUS = Request("api", "census")
ACCEPTED = Request("api", "census", accept_loss=True)
HOME, OTHER = "newtwitterclone", "Größe & Maß"


@pytest.fixture
async def remote() -> AsyncIterator[AzureDevOps]:
    """Two projects with twelve work items and six builds each. Its clock can be advanced for hours."""
    async with AzureDevOps(clock=Clock(lambda: utc_now() - timedelta(hours=9))) as running:
        for name in (HOME, OTHER):
            running.model.create_project(name)
            running.model.seed(12, Random(1), name)
            running.model.seed_builds(6, Random(1), name)
        yield running


async def connect(house: House, remote: AzureDevOps, project: str = "", **values: Any) -> Connection:
    credential = await house.credential("azure", "pat", None, "azure-token")
    params = {"params": {"project": project}} if project else {}
    return await house.connection("azure", remote.base, credential, **params, **values)


async def until_ended(house: House, sync: Sync) -> Sync:
    """What it would wait for in between has passed."""
    for _ in range(100):
        sync = await house.work(sync.id)
        if sync.finished_at is not None:
            return sync
        await set_sync(house, sync.id, run_at=now())
    raise AssertionError(f"sync {sync.id} does not end: {sync}")


async def synced(house: House, made: Connection, request: Request | None = None) -> Sync:
    sync = await until_ended(house, await house.open(made.id, request))
    assert (sync.state, sync.error) == ("succeeded", None)
    return sync


async def failed(house: House, made: Connection, request: Request | None = None) -> Sync:
    return await until_ended(house, await house.open(made.id, request))


async def gone(house: House, stream: str = "work_items") -> dict[str, Gone]:
    c = house.deps.tables.get("azure", stream).table.c
    query = select(c.key, c.gone_reason).where(c.gone_at.is_not(None))
    async with house.database.read() as connection:
        return {row.key: row.gone_reason for row in await connection.execute(query)}


async def titles(house: House) -> dict[str, str]:
    return {row["key"]: row["title"] for row in await house.rows("azure", "work_items")}


def truth(remote: AzureDevOps, project: str = "") -> dict[str, Any]:
    """The titles of the work items that the account can read."""
    items = [item for item in remote.model.items.values() if remote.model.readable(item.id)]
    of = remote.model.project(project).id if project else ""
    return {str(i.id): i.fields["System.Title"] for i in items if of in ("", i.project)}


async def a_slice(house: House, sync: Sync) -> None:
    """A page of it, in a slice of its own."""
    deps = replace(house.deps, slice_seconds=0.0, turn_seconds=0.0)
    await run_slice(deps, sync.id)


# --- work items


@pytest.mark.parametrize("project", ["", HOME])
async def test_a_work_item_that_was_deleted_is_found_by_a_census(
    house: House, remote: AzureDevOps, project: str
) -> None:
    made = await connect(house, remote, project)
    await synced(house, made)
    remote.model.delete(3)
    await synced(house, made)
    assert await gone(house) == {}
    await synced(house, made, CENSUS)
    assert await gone(house) == {"3": "deleted"}
    assert await titles(house) == truth(remote, project)


async def test_a_work_item_that_was_restored_is_back_with_the_next_sync(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.delete(3)
    await synced(house, made, CENSUS)
    remote.clock.advance(timedelta(hours=1))
    remote.model.restore(3)
    sync = await synced(house, made)
    assert sync.counters["work_items"].changed + sync.counters["work_items"].new == 1
    assert await gone(house) == {}
    assert await titles(house) == truth(remote)


async def test_a_work_item_that_was_destroyed_is_deleted_where_one_project_is_read(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote, HOME)
    await synced(house, made)
    remote.model.delete(3)
    remote.model.destroy(3)
    # The newest one of the project, too.
    remote.model.destroy(12)
    await synced(house, made, CENSUS)
    assert await gone(house) == {"3": "deleted", "12": "deleted"}


async def test_a_work_item_that_was_destroyed_is_hidden_where_its_project_may_be_withheld(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.destroy(3)
    await synced(house, made, CENSUS)
    assert await gone(house) == {"3": "hidden"}
    assert await titles(house) == truth(remote)


async def test_a_work_item_that_moved_to_another_project_has_left_and_comes_back(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote, HOME)
    await synced(house, made)
    remote.clock.advance(timedelta(hours=1))
    remote.model.move(3, OTHER)
    await synced(house, made, CENSUS)
    assert await gone(house) == {"3": "left"}
    remote.clock.advance(timedelta(hours=1))
    remote.model.move(3, HOME)
    await synced(house, made)
    assert await gone(house) == {}
    assert await titles(house) == truth(remote, HOME)


async def test_a_work_item_that_moved_within_the_organisation_is_the_same_record(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.clock.advance(timedelta(hours=1))
    remote.model.move(3, OTHER)
    await synced(house, made)
    await synced(house, made, CENSUS)
    rows = {row["key"]: row["project"] for row in await house.rows("azure", "work_items")}
    assert (rows["3"], len(rows), await gone(house)) == (OTHER, 24, {})


async def test_a_change_that_is_shown_a_minute_late_after_a_later_one_is_not_passed(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    # After the second nothing is left in the overlap.
    for _ in range(2):
        await synced(house, made)
        remote.clock.advance(timedelta(hours=1))
    remote.late = {3: timedelta(seconds=60)}
    remote.model.update(3, {"System.Title": "shown late"})
    remote.clock.advance(timedelta(seconds=20))
    remote.model.update(4, {"System.Title": "changed later and shown at once"})
    await synced(house, made)
    assert (await titles(house))["4"] == "changed later and shown at once"
    assert (await titles(house))["3"] != "shown late"
    remote.clock.advance(timedelta(seconds=60))
    await synced(house, made)
    assert await titles(house) == truth(remote)


async def test_a_census_of_an_index_that_lags_calls_nothing_new_gone(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.clock.advance(timedelta(hours=1))
    remote.lag = timedelta(seconds=60)
    fresh = remote.model.create(HOME, "not yet in the index")
    await synced(house, made, Request("webhook", "records", {"work_items": [str(fresh.id)]}))
    await synced(house, made, CENSUS)
    assert await gone(house) == {}
    assert await titles(house) == truth(remote)


async def test_work_items_of_one_moment_are_all_read_over_many_pages(house: House) -> None:
    moment = (utc_now() - timedelta(hours=9)).replace(microsecond=0)
    clock = Clock(lambda: moment)
    async with AzureDevOps(clock=clock) as frozen:
        frozen.model.create_project(HOME)
        frozen.model.seed(450, Random(1))
        made = await connect(house, frozen)
        clock.advance(Azure.overlap)
        # The next sync begins at the very moment at which all of them were changed.
        await synced(house, made)
        for item_id in (1, 200, 201, 450):
            frozen.model.items[item_id].fields["System.Title"] = "changed in the same moment"
            frozen.model.items[item_id].rev += 1
            frozen.model.items[item_id].fields_json = b""
        await synced(house, made)
        assert await titles(house) == truth(frozen)


# --- projects


async def test_a_project_that_was_renamed_is_the_same_with_all_that_is_in_it(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    before = {stream: await house.keys("azure", stream) for stream in ("projects", "builds", "pipelines")}
    remote.clock.advance(timedelta(hours=1))
    remote.model.change_project(HOME, name="renamed")
    sync = await synced(house, made)
    assert (sync.counters["projects"].new, sync.counters["projects"].changed) == (0, 1)
    await synced(house, made, CENSUS)
    for stream, keys in before.items():
        assert await house.keys("azure", stream) == keys
        assert await gone(house, stream) == {}
    assert "renamed" in {row["name"] for row in await house.rows("azure", "projects")}
    assert await gone(house) == {}


async def test_under_the_old_name_of_its_project_a_connection_fails_and_loses_nothing(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote, HOME)
    await synced(house, made)
    before = await titles(house)
    remote.model.change_project(HOME, name="renamed")
    for request in (CENSUS, Request("api", "records", {"work_items": ["1", "2"]})):
        sync = await failed(house, made, request)
        assert sync.error is not None
        assert (sync.state, sync.error.kind) == ("failed", "not_found")
    assert await gone(house) == {}
    assert await titles(house) == before


async def test_a_project_that_was_deleted_goes_only_after_a_person_accepts_the_loss(
    house: House, remote: AzureDevOps
) -> None:
    lost = remote.model.project(HOME)
    remote.model.seed(20, Random(2), HOME)
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.delete_project(HOME)
    sync = await failed(house, made, CENSUS)
    assert sync.error is not None
    assert (sync.state, sync.error.kind) == ("partial", "mass_loss")
    assert await gone(house) == {}
    # One of two projects is no mass, and lies in the bin.
    assert await gone(house, "projects") == {lost.id: "deleted"}
    await synced(house, made, ACCEPTED)
    assert set((await gone(house)).values()) == {"hidden"}
    assert set((await gone(house, "pipelines")).values()) == {"deleted"}
    assert await titles(house) == truth(remote, OTHER)


async def test_one_project_that_the_credential_may_no_longer_see_is_hidden_and_comes_back(
    house: House, remote: AzureDevOps
) -> None:
    withheld = remote.model.project(OTHER).id
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.withhold(OTHER)
    await synced(house, made, ACCEPTED)
    assert await gone(house, "projects") == {withheld: "hidden"}
    for stream in ("work_items", "builds", "pipelines"):
        assert set((await gone(house, stream)).values()) == {"hidden"}
    assert await titles(house) == truth(remote, HOME)
    remote.model.withhold(OTHER, withheld=False)
    await synced(house, made, CENSUS)
    for stream in ("projects", "work_items", "builds", "pipelines"):
        assert await gone(house, stream) == {}
    assert await titles(house) == truth(remote)


async def test_builds_that_may_no_longer_be_seen_in_one_project_are_not_called_gone(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.ci.closed = {remote.model.project(OTHER).id}
    sync = await failed(house, made, ACCEPTED)
    assert sync.error is not None
    assert (sync.state, sync.error.kind) == ("partial", "forbidden")
    assert await gone(house, "builds") == await gone(house, "pipelines") == {}


# --- builds


async def test_a_running_build_is_looked_at_again_until_it_is_final(
    house: House, remote: AzureDevOps
) -> None:
    running = remote.model.ci.queue(1)
    remote.model.ci.start(running.id)
    made = await connect(house, remote, streams=["builds"])
    for _ in range(2):
        await synced(house, made)
        remote.clock.advance(timedelta(hours=2))
    remote.model.ci.finish(running.id, "failed")
    await synced(house, made)
    row = next(row for row in await house.rows("azure", "builds") if row["key"] == str(running.id))
    assert (row["result"], row["look_again_at"]) == ("failed", None)


async def test_a_build_that_retention_deleted_is_deleted_and_a_retained_one_stays(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.ci.retain(2)
    remote.model.ci.delete(3)
    await synced(house, made, CENSUS)
    assert await gone(house, "builds") == {"3": "deleted"}
    await synced(house, made, Request("api", "full"))
    kept = {row["key"] for row in await house.rows("azure", "builds") if row["kept"]}
    assert kept == {"2"}


async def test_a_running_build_that_was_deleted_is_gone_with_the_next_census(
    house: House, remote: AzureDevOps
) -> None:
    running = remote.model.ci.queue(1)
    made = await connect(house, remote, streams=["builds"])
    await synced(house, made)
    remote.model.ci.delete(running.id)
    await synced(house, made)
    assert await gone(house, "builds") == {}
    await synced(house, made, CENSUS)
    assert await gone(house, "builds") == {str(running.id): "deleted"}


# --- answers that are none


BROKEN = [
    pytest.param(Fault("", 200, b'{"count":12,"value":[{"id":1,"re', JSON), id="truncated"),
    pytest.param(Fault("", 200, b"<html>Sign In</html>", HTML), id="html-200"),
    pytest.param(Fault("", 203, b"<html>Sign In</html>", HTML), id="html-203"),
    pytest.param(
        Fault("", 302, b"", {"Location": "https://spsprod.example.com/_signin"}), id="sign-in redirect"
    ),
    pytest.param(Fault("", 200, b'{"count":0}', JSON), id="no member"),
]


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("path", ["wit/wiql", "build/builds", "build/definitions", "_apis/projects"])
async def test_an_answer_that_is_none_makes_no_census(
    house: House, remote: AzureDevOps, fault: Fault, path: str
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.delete(1)
    remote.faults.append(Fault(path, fault.status, fault.body, fault.headers, times=1000))
    sync = await failed(house, made, ACCEPTED)
    assert sync.error is not None
    if fault.headers == JSON:
        assert (sync.state, sync.error.kind) == ("partial", "unreadable")
    else:
        assert (sync.state, sync.error.kind) == ("failed", "auth")
    stream = {"wit/wiql": "work_items", "build/builds": "builds", "build/definitions": "pipelines"}
    assert await gone(house, stream.get(path, "projects")) == {}


@pytest.mark.parametrize("fault", BROKEN)
async def test_an_answer_that_is_none_is_no_proof_by_key(
    house: House, remote: AzureDevOps, fault: Fault
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.model.delete(1)
    for path in ("workitemsbatch", "recyclebin"):
        remote.faults.append(Fault(path, fault.status, fault.body, fault.headers, times=1000))
        sync = await failed(house, made, CENSUS)
        assert sync.state in ("failed", "partial")
        assert await gone(house) == {}
        remote.faults.clear()


@pytest.mark.parametrize("request_", [None, CENSUS], ids=["read", "census"])
@pytest.mark.parametrize("path", ["wit/wiql", "workitemsbatch", "build/builds"])
async def test_a_connection_reset_in_the_middle_of_a_body_delays_and_loses_nothing(
    house: House, remote: AzureDevOps, request_: Request | None, path: str
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    remote.clock.advance(timedelta(hours=1))
    remote.model.update(3, {"System.Title": "changed"})
    remote.faults.append(Fault(path, cut=20))
    await synced(house, made, request_)
    await synced(house, made)
    assert await titles(house) == truth(remote)
    assert await gone(house) == await gone(house, "builds") == {}


# --- the credential


@pytest.mark.parametrize("naming", [True, False])
async def test_a_token_that_expires_during_a_census_makes_nothing_of_the_private_part_gone(
    house: House, remote: AzureDevOps, naming: bool
) -> None:
    """The organisation answers the dead token with its public part, and status 200."""
    remote.naming = naming
    remote.model.change_project(OTHER, visibility="public")
    made = await connect(house, remote)
    await synced(house, made)
    for lost_after in range(1, 7):
        remote.access.tokens = {"azure-token": remote.model.me}
        opened = await house.open(made.id, ACCEPTED)
        for _ in range(lost_after):
            await a_slice(house, opened)
        remote.access.tokens = {}
        sync = await until_ended(house, opened)
        if sync.state != "succeeded":
            assert sync.error is not None
            assert (sync.state, sync.error.kind) == ("failed", "auth")
        for stream in ("projects", "work_items", "pipelines", "builds"):
            assert await gone(house, stream) == {}


async def test_a_token_that_expires_before_what_is_in_doubt_is_asked_for_proves_nothing(
    house: House, remote: AzureDevOps
) -> None:
    remote.model.change_project(OTHER, visibility="public")
    made = await connect(house, remote, streams=["work_items"])
    await synced(house, made)
    remote.model.delete(1)
    remote.ledger.clear()
    # In one slice: the adapter has known who it is since the query before.
    remote.faults.append(Fault("workitemsbatch", delay=0.5))
    working = asyncio.create_task(failed(house, made, ACCEPTED))
    async with asyncio.timeout(30):
        while not remote.requests("workitemsbatch"):  # noqa: ASYNC110 - a request sets no event of ours
            await asyncio.sleep(0.01)
    remote.access.tokens = {}
    sync = await working
    assert (sync.state, await gone(house)) == ("failed", {})
    remote.access.tokens = {"azure-token": remote.model.me}
    await synced(house, made, CENSUS)
    assert await gone(house) == {"1": "deleted"}


# --- service hooks


async def test_a_service_hook_of_a_deleted_work_item_buries_it_at_once_and_a_restored_one_is_back(
    house: House, remote: AzureDevOps
) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    async with mailbox() as box:
        async with adapter_of(remote) as azure:
            await azure.register(box.url, "known to both")
        remote.model.delete(3)
        await remote.hooks.drained()
        hint = Azure.hint(box.came.pop())
        await synced(house, made, Request("webhook", "records", hint.keys))
        assert await gone(house) == {"3": "deleted"}
        remote.model.restore(3)
        await remote.hooks.drained()
        hint = Azure.hint(box.came.pop())
        await synced(house, made, Request("webhook", "records", hint.keys))
    assert await gone(house) == {}
    assert await titles(house) == truth(remote)


async def test_a_made_up_event_of_the_test_button_changes_nothing(house: House, remote: AzureDevOps) -> None:
    made = await connect(house, remote)
    await synced(house, made)
    before = await titles(house)
    resource = {"id": 5, "fields": {"System.Title": "Some great new idea!"}}
    body = msgspec.json.encode({"eventType": "workitem.deleted", "resource": resource})
    hint = Azure.hint(Hook({}, body))
    sync = await synced(house, made, Request("webhook", "records", hint.keys))
    assert sync.counters["work_items"].unchanged == 1
    assert (await titles(house), await gone(house)) == (before, {})
