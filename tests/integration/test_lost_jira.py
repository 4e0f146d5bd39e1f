"""Jira loses, hides, moves and lags: what the copy says then, and that nothing is called gone in vain."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from aiohttp import web
from msgspec.structs import replace
from sqlalchemy import select

from scheduler.dispatch import Request
from store import syncs
from store.connections import Connection
from store.database import clock
from store.syncs import Counts, Sync
from tests.house import House
from tidegate.demo.remotes.base import Fault
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter
from worker.census import FEW
from worker.sync import run_slice

pytestmark = pytest.mark.sqlite_does

Remote = JiraCloud | JiraDataCenter
CENSUS = Request("api", "census")
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html;charset=UTF-8"}
HOUR = timedelta(hours=1)


class QuietCloud(JiraCloud):
    """Behind a proxy that takes the header away by which Jira tells of a refused credential."""

    def json(self, request: web.Request, answer: object, status: int = 200) -> web.Response:
        response = super().json(request, answer, status)
        response.headers.popall("X-Seraph-LoginReason", None)
        return response


def cloud(kind: type[JiraCloud] = JiraCloud) -> JiraCloud:
    remote = kind(zone="Europe/Berlin")
    remote.add_account("ana@example.com", "token-1", zone="America/Los_Angeles")
    return remote


def datacenter() -> JiraDataCenter:
    remote = JiraDataCenter(zone="Europe/Berlin", context="/jira")
    remote.add_user("ana", "password", zone="Asia/Kolkata")
    remote.add_pat("ana", "token-1")
    return remote


@pytest.fixture(params=[cloud, datacenter], ids=["cloud", "datacenter"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Remote]:
    make: Callable[[], Remote] = request.param
    async with make() as remote:
        # Its clock is behind ours, so that it alone says how far was read when a test moves it.
        remote.clock.advance(-5 * HOUR)
        for key in ("TG", "OPS"):
            remote.add_project(key)
        yield remote


@pytest.fixture(params=[JiraCloud, QuietCloud], ids=["told", "untold"])
async def expiring(request: pytest.FixtureRequest) -> AsyncIterator[JiraCloud]:
    async with cloud(request.param) as remote:
        remote.add_project("TG")
        yield remote


async def connect(
    house: House, site: Remote, jql: str = "project = TG", number: int | None = None, **values: object
) -> Connection:
    """With the streams that come with issues left out, unless `values` say otherwise."""
    on_cloud = isinstance(site, JiraCloud)
    kind, name = ("basic", "ana@example.com") if on_cloud else ("pat", None)
    credential = await house.credential("jira", kind, name, "token-1")
    base = site.url if isinstance(site, JiraCloud) else site.base
    number = number or site.add_filter(jql)
    chosen = {"streams": ["issues"], **values}
    return await house.connection("jira", f"{base}/issues/?filter={number}", credential, **chosen)


async def tombstones(house: House) -> dict[str, str]:
    c = house.deps.tables.get("jira", "issues").table.c
    async with house.database.read() as connection:
        rows = await connection.execute(select(c.key, c.gone_reason).where(c.gone_at.is_not(None)))
        return {row.key: row.gone_reason for row in rows}


def named(*keys: int) -> Request:
    return Request("webhook", "records", {"issues": [str(key) for key in keys]})


def few_at_once(site: Remote) -> None:
    """A census takes several pages from now on."""
    site.max_page = 100
    if isinstance(site, JiraCloud):
        site.max_ids = 100


def search(site: Remote) -> str:
    return "/search/jql" if isinstance(site, JiraCloud) else "/rest/api/2/search"


def deleted(sync: Sync) -> int:
    return sync.counters.get("issues", Counts()).deleted


def why(sync: Sync) -> str | None:
    return sync.error.kind if sync.error else None


# --- moved, left, deleted, hidden


async def test_an_issue_moved_to_another_project_is_the_same_record_with_a_new_key(
    house: House, site: Remote
) -> None:
    issue = site.create_issue("TG", "Moves")
    connection = await connect(house, site, "project in (TG, OPS)")
    await house.sync(connection.id)
    site.move_issue(issue.id, "OPS")
    await house.sync(connection.id)
    await house.sync(connection.id, CENSUS)
    [row] = await house.rows("jira", "issues")
    assert (row["key"], row["issue_key"], row["project_key"]) == (str(issue.id), "OPS-1", "OPS")
    assert await tombstones(house) == {}


async def test_an_issue_moved_out_of_the_filter_has_left(house: House, site: Remote) -> None:
    stays, moves = site.create_issue("TG", "Stays"), site.create_issue("TG", "Moves")
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.move_issue(moves.id, "OPS")
    sync = await house.sync(connection.id, CENSUS)
    assert (sync.state, deleted(sync)) == ("succeeded", 1)
    assert await tombstones(house) == {str(moves.id): "left"}
    assert await house.keys("jira", "issues") == {str(stays.id)}


async def test_an_issue_that_leaves_the_filter_and_comes_back_is_there_again(
    house: House, site: Remote
) -> None:
    issue, _ = site.create_issue("TG", "Comes and goes"), site.create_issue("TG", "Stays")
    connection = await connect(house, site, "project = TG AND status != Done")
    await house.sync(connection.id)
    site.update_issue(issue.id, status="Done")
    await house.sync(connection.id, CENSUS)
    assert await tombstones(house) == {str(issue.id): "left"}
    site.update_issue(issue.id, status="In Progress")
    await house.sync(connection.id)
    assert await tombstones(house) == {}
    rows = {row["key"]: row["status"] for row in await house.rows("jira", "issues")}
    assert rows[str(issue.id)] == "In Progress"


async def test_a_deleted_issue_is_gone_with_the_next_census_and_no_other_is(
    house: House, site: Remote
) -> None:
    issues = [site.create_issue("TG", f"{n}") for n in range(5)]
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.delete_issue(issues[2].id)
    incremental = await house.sync(connection.id)
    assert (incremental.state, await tombstones(house)) == ("succeeded", {})
    sync = await house.sync(connection.id, CENSUS)
    assert sync.state == "succeeded"
    # Jira answers the same for what is deleted as for what may not be seen.
    assert await tombstones(house) == {str(issues[2].id): "hidden"}


async def test_a_credential_that_loses_one_project_hides_its_issues_and_no_other(
    house: House, site: Remote
) -> None:
    seen = [site.create_issue("TG", "a", labels=("team",)) for _ in range(6)]
    lost = [site.create_issue("OPS", "b", labels=("team",)) for _ in range(4)]
    connection = await connect(house, site, "labels = team")
    await house.sync(connection.id)
    site.hide_project("OPS")
    sync = await house.sync(connection.id, CENSUS)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert await tombstones(house) == {str(issue.id): "hidden" for issue in lost}
    assert await house.keys("jira", "issues") == {str(issue.id) for issue in seen}
    site.hidden_projects.clear()
    site.update_issue(lost[0].id, summary="Seen again")
    await house.sync(connection.id, CENSUS)
    assert await tombstones(house) == {}


async def test_a_credential_that_loses_most_of_all_is_asked_about_before_anything_is_gone(
    house: House, site: Remote
) -> None:
    site.create_issue("TG", "a", labels=("team",))
    lost = [site.create_issue("OPS", "b", labels=("team",)) for _ in range(FEW + 1)]
    connection = await connect(house, site, "labels = team")
    await house.sync(connection.id)
    site.hide_project("OPS")
    sync = await house.sync(connection.id, CENSUS)
    assert (sync.state, why(sync)) == ("partial", "mass_loss")
    assert await tombstones(house) == {}
    accepted = await house.sync(connection.id, replace(CENSUS, accept_loss=True))
    assert accepted.state == "succeeded"
    assert await tombstones(house) == {str(issue.id): "hidden" for issue in lost}


async def test_a_query_that_names_a_project_hidden_since_is_refused_and_calls_nothing_gone(
    house: House, site: Remote
) -> None:
    site.create_issue("TG", "a")
    site.create_issue("OPS", "b")
    connection = await connect(house, site, "project in (TG, OPS)")
    await house.sync(connection.id)
    site.hide_project("OPS")
    for request in (None, CENSUS):
        sync = await house.sync(connection.id, request)
        assert (sync.state, why(sync)) == ("failed", "rejected")
    assert await tombstones(house) == {}


# --- the filter


@pytest.mark.parametrize("request_", [None, CENSUS], ids=["incremental", "census"])
@pytest.mark.parametrize("how", ["deleted", "unshared"])
async def test_a_filter_that_is_not_there_any_more_fails_and_calls_nothing_gone(
    house: House, site: Remote, how: str, request_: Request | None
) -> None:
    site.create_issue("TG", "a")
    number = site.add_filter("project = TG", owner="somebody else")
    connection = await connect(house, site, number=number)
    assert (await house.sync(connection.id)).state == "succeeded"
    if how == "deleted":
        del site.filters[number]
    else:
        site.filters[number].shared = False
    sync = await house.sync(connection.id, request_)
    assert (sync.state, why(sync)) == ("failed", "not_found")
    assert sync.error is not None
    assert str(number) in sync.error.message
    assert await tombstones(house) == {}


async def test_an_edited_filter_is_read_in_full_and_counted_in_the_same_sync(
    house: House, site: Remote
) -> None:
    both, leaves, comes = (
        site.create_issue("TG", name, labels=labels)
        for name, labels in (("both", ("old", "new")), ("leaves", ("old",)), ("comes", ("new",)))
    )
    number = site.add_filter("labels = old")
    connection = await connect(house, site, number=number)
    await house.sync(connection.id)
    site.clock.advance(HOUR)
    site.filters[number].jql = "labels = new"
    sync = await house.sync(connection.id)
    assert (sync.scope, sync.state) == ("incremental", "succeeded")
    # What was there long before the edit is read, too, though nobody touched it.
    assert await house.keys("jira", "issues") == {str(both.id), str(comes.id)}
    assert await tombstones(house) == {str(leaves.id): "left"}


async def test_an_edited_filter_is_counted_although_the_sync_was_cut_in_the_middle(
    house: House, site: Remote
) -> None:
    site.seed(250)
    gone = site.create_issue("OPS", "leaves")
    number = site.add_filter("project in (TG, OPS)")
    connection = await connect(house, site, number=number)
    await house.sync(connection.id)
    site.filters[number].jql = "project = TG"
    opened = await house.open(connection.id)
    deps = replace(house.deps, slice_seconds=0.0, turn_seconds=0.0)
    for _ in range(50):
        await run_slice(deps, opened.id)
        if (await house.status(opened.id)).finished_at is not None:
            break
    assert (await house.status(opened.id)).state == "succeeded"
    assert await tombstones(house) == {str(gone.id): "left"}


async def test_an_edited_filter_is_counted_by_the_next_sync_if_the_first_was_cancelled(
    house: House, site: Remote
) -> None:
    site.seed(250)
    gone = site.create_issue("OPS", "leaves")
    number = site.add_filter("project in (TG, OPS)")
    connection = await connect(house, site, number=number)
    await house.sync(connection.id)
    site.filters[number].jql = "project = TG"
    opened = await house.open(connection.id)
    await run_slice(replace(house.deps, slice_seconds=0.0), opened.id)
    async with house.database.write() as writing:
        sync = await house.status(opened.id)
        assert sync.finished_at is None
        await syncs.cancel(writing, sync, await clock(writing))
    await house.sync(connection.id)
    assert await tombstones(house) == {str(gone.id): "left"}


async def test_a_new_connection_is_read_without_a_census(house: House, site: Remote) -> None:
    site.create_issue("TG", "a")
    connection = await connect(house, site)
    sync = await house.sync(connection.id)
    assert not sync.census


async def test_a_census_asks_within_the_same_bound_as_the_first_read(house: House, site: Remote) -> None:
    site.seed(3)
    made = site.create_issue("TG", "new")
    since = (site.clock.now() - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    connection = await connect(house, site, params={"since": since})
    await house.sync(connection.id)
    sync = await house.sync(connection.id, CENSUS)
    assert sync.receipt is not None
    assert (sync.receipt["issues"].expected, sync.receipt["issues"].stored) == (1, 1)
    assert await house.keys("jira", "issues") == {str(made.id)}


# --- an index that lags


async def test_a_change_that_the_index_shows_a_minute_late_is_read_although_a_later_one_was_seen(
    house: House, site: Remote
) -> None:
    slow, fast = site.create_issue("TG", "slow"), site.create_issue("TG", "fast")
    connection = await connect(house, site)
    site.clock.advance(HOUR)
    await house.sync(connection.id)
    site.clock.advance(HOUR)
    site.lag = timedelta(seconds=60)
    site.update_issue(slow.id, status="Done")
    unseen = site.create_issue("TG", "unseen")
    site.lag = timedelta()
    site.clock.advance(timedelta(seconds=59))
    site.update_issue(fast.id, status="Done")
    await house.sync(connection.id)
    rows = {row["key"]: row["status"] for row in await house.rows("jira", "issues")}
    assert rows == {str(slow.id): "To Do", str(fast.id): "Done"}
    site.clock.advance(timedelta(seconds=61))
    await house.sync(connection.id)
    rows = {row["key"]: row["status"] for row in await house.rows("jira", "issues")}
    assert rows == {str(slow.id): "Done", str(fast.id): "Done", str(unseen.id): "To Do"}


async def test_an_issue_that_the_index_does_not_show_yet_is_never_called_gone(
    house: House, site: Remote
) -> None:
    """It entered the filter, was stored, and a census with a search that is behind does not list it."""
    issue = site.create_issue("TG", "known", status="Done")
    connection = await connect(house, site, "project = TG AND status != Done")
    site.update_issue(issue.id, status="To Do")
    await house.sync(connection.id)
    # The index falls back to what it knew before.
    site.index[issue.id] = replace(site.index[issue.id], status="Done", updated=issue.updated)
    site.hide_project("none of ours")
    sync = await house.sync(connection.id, CENSUS)
    assert sync.state == "succeeded"
    assert await tombstones(house) == {}


async def test_an_issue_that_fell_out_of_the_index_is_never_called_gone(house: House, site: Remote) -> None:
    issues = site.seed(5)
    connection = await connect(house, site)
    await house.sync(connection.id)
    del site.index[issues[1].id]
    site.hide_project("none of ours")
    await house.sync(connection.id, CENSUS)
    assert await tombstones(house) == {}
    assert len(await house.keys("jira", "issues")) == 5


async def test_an_issue_that_just_left_is_not_kept_because_the_index_is_late(
    house: House, site: Remote
) -> None:
    issue = site.create_issue("TG", "leaves")
    connection = await connect(house, site, "project = TG AND status != Done")
    await house.sync(connection.id)
    site.lag = timedelta(seconds=0.6)
    site.update_issue(issue.id, status="Done")
    await house.sync(connection.id, named(issue.id))
    assert await tombstones(house) == {str(issue.id): "left"}


async def test_an_issue_asked_for_before_the_index_knows_it_is_stored_as_soon_as_it_does(
    house: House, site: Remote
) -> None:
    connection = await connect(house, site)
    site.lag = timedelta(seconds=0.6)
    issue = site.create_issue("TG", "Just made")
    await house.sync(connection.id, named(issue.id))
    assert await house.keys("jira", "issues") == {str(issue.id)}


# --- answers that are none


async def failing(house: House, site: Remote, fault: Fault, request: Request | None) -> Sync:
    """A sync of three issues that were stored, while the remote answers like that."""
    for name in "abc":
        site.create_issue("TG", name)
    connection = await connect(house, site)
    assert (await house.sync(connection.id)).state == "succeeded"
    site.faults.append(fault)
    opened = await house.open(connection.id, request)
    sync = await house.work(opened.id)
    assert await tombstones(house) == {}
    assert len(await house.keys("jira", "issues")) == 3
    site.faults.clear()
    site.create_issue("TG", "after")
    if sync.finished_at is None:
        await house.until_ended(opened.id)
    assert (await house.sync(connection.id)).state == "succeeded"
    assert len(await house.keys("jira", "issues")) == 4
    return sync


both_scopes = pytest.mark.parametrize("request_", [None, CENSUS], ids=["incremental", "census"])


@both_scopes
async def test_a_web_page_with_status_200_is_no_empty_answer(
    house: House, site: Remote, request_: Request | None
) -> None:
    page = Fault(search(site), 200, b"<html><title>Sign in</title></html>", HTML, times=99)
    assert why(await failing(house, site, page, request_)) == "unreadable"


@both_scopes
async def test_a_truncated_page_is_no_page(house: House, site: Remote, request_: Request | None) -> None:
    torn = b'{"isLast":true,"total":3,"startAt":0,"issues":[{"id":"10001","fiel'
    assert (
        why(await failing(house, site, Fault(search(site), 200, torn, JSON, times=99), request_))
        == "unreadable"
    )


@both_scopes
async def test_json_of_somebody_else_is_no_empty_answer(
    house: House, site: Remote, request_: Request | None
) -> None:
    other = Fault(search(site), 200, b'{"status":"ok"}', JSON, times=99)
    assert why(await failing(house, site, other, request_)) == "unreadable"


@both_scopes
async def test_a_connection_reset_in_the_middle_of_a_page_delays_and_loses_nothing(
    house: House, site: Remote, request_: Request | None
) -> None:
    sync = await failing(house, site, Fault(search(site), cut=40), request_)
    assert (sync.state, why(sync)) == ("waiting", "unreachable")


@pytest.mark.parametrize("status", [403, 404])
async def test_a_page_of_a_proxy_proves_nothing_about_an_issue(
    house: House, site: Remote, status: int
) -> None:
    issue = site.create_issue("TG", "a")
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.delete_issue(issue.id)
    page = b"<html><title>Not here</title></html>"
    site.faults.append(Fault("/issue/", status, page, HTML, times=99))
    sync = await house.sync(connection.id, named(issue.id))
    assert sync.state == "failed"
    assert await tombstones(house) == {}
    site.faults.clear()
    await house.sync(connection.id, named(issue.id))
    assert await tombstones(house) == {str(issue.id): "hidden"}


async def test_a_data_center_that_says_forbidden_of_an_issue_hides_it(house: House) -> None:
    async with datacenter() as site:
        site.add_project("TG")
        issue = site.create_issue("TG", "a")
        connection = await connect(house, site)
        await house.sync(connection.id)
        site.delete_issue(issue.id)
        said = b'{"errorMessages":["You do not have the permission to see the specified issue."],"errors":{}}'
        site.faults.append(Fault("/issue/", 403, said, JSON))
        await house.sync(connection.id, named(issue.id))
    assert await tombstones(house) == {str(issue.id): "hidden"}


async def test_a_page_that_says_more_follow_and_has_none_is_no_end(house: House, site: Remote) -> None:
    empty = {"issues": [], "isLast": False, "total": 3, "startAt": 0}
    fault = Fault(search(site), 200, json.dumps(empty).encode(), JSON, times=99)
    assert why(await failing(house, site, fault, CENSUS)) == "unreadable"


# --- tokens


@pytest.fixture
async def chained() -> AsyncIterator[JiraCloud]:
    async with cloud() as remote:
        remote.add_project("TG")
        yield remote


async def test_a_token_that_loops_is_an_error_and_not_an_endless_sync(
    house: House, chained: JiraCloud
) -> None:
    chained.seed(350)
    connection = await connect(house, chained)
    chained.repeats_token = True
    sync = await house.sync(connection.id)
    assert why(sync) == "unreadable"
    assert len(chained.requests("/search/jql")) < 10
    chained.repeats_token = False
    assert (await house.sync(connection.id)).state == "succeeded"
    assert len(await house.keys("jira", "issues")) == 350


async def test_a_token_that_loops_in_a_census_calls_nothing_gone(house: House, chained: JiraCloud) -> None:
    chained.seed(150)
    connection = await connect(house, chained)
    await house.sync(connection.id)
    chained.max_ids, chained.repeats_token = 40, True
    sync = await house.sync(connection.id, CENSUS)
    assert why(sync) == "unreadable"
    assert await tombstones(house) == {}


async def test_an_empty_page_with_a_token_is_not_the_end(house: House, chained: JiraCloud) -> None:
    chained.seed(350)
    chained.empty_pages = 2
    connection = await connect(house, chained)
    sync = await house.sync(connection.id)
    assert (sync.state, chained.empty_pages) == ("succeeded", 0)
    assert len(await house.keys("jira", "issues")) == 350


# --- the credential


async def test_a_token_that_expires_during_a_census_calls_nothing_gone(
    house: House, expiring: JiraCloud
) -> None:
    """It answers 200 with nothing from then on."""
    expiring.create_issue("TG", "the only one")
    connection = await connect(house, expiring, "created > 2000-01-01", streams=["issues"])
    await house.sync(connection.id)

    def expire(_: str | None) -> None:
        expiring.revoke("token-1")

    expiring.meanwhile = expire
    sync = await house.sync(connection.id, CENSUS)
    assert (sync.state, why(sync)) == ("failed", "auth")
    found = await house.get(connection.id)
    assert (found.health, found.cause) == ("failed", "auth")
    assert await tombstones(house) == {}


async def test_a_token_that_expires_before_a_census_calls_nothing_gone(house: House, site: Remote) -> None:
    site.create_issue("TG", "the only one")
    connection = await connect(house, site)
    await house.sync(connection.id)
    site.revoke("token-1")
    sync = await house.sync(connection.id, CENSUS)
    assert (sync.state, why(sync)) == ("failed", "auth")
    assert await tombstones(house) == {}


async def test_a_site_that_calls_us_another_during_a_census_calls_nothing_gone(
    house: House, site: Remote
) -> None:
    site.create_issue("TG", "the only one")
    connection = await connect(house, site)
    await house.sync(connection.id)
    other = b'{"accountId":"x","key":"x","name":"x","displayName":"Somebody else"}'
    site.faults.append(Fault("/myself", 200, other, JSON, after=1))
    nothing = b'{"issues":[],"isLast":true,"total":0,"startAt":0}'
    site.faults.append(Fault(search(site), 200, nothing, JSON))
    sync = await house.sync(connection.id, CENSUS)
    assert (sync.state, why(sync)) == ("failed", "auth")
    assert await tombstones(house) == {}


# --- while it is read


async def test_an_issue_created_while_the_first_sync_pages_is_in_the_next(house: House, site: Remote) -> None:
    site.seed(350)
    created: list[int] = []

    def create(at: object) -> None:
        if at and not created:
            created.append(site.create_issue("TG", "meanwhile").id)

    site.meanwhile = create
    connection = await connect(house, site)
    await house.sync(connection.id)
    await house.sync(connection.id)
    assert created
    assert len(await house.keys("jira", "issues")) == 351


async def test_issues_deleted_while_a_census_pages_make_no_other_gone(house: House, site: Remote) -> None:
    issues = site.seed(350)
    connection = await connect(house, site)
    await house.sync(connection.id)
    few_at_once(site)
    doomed = [issue.id for issue in issues[5:35]]

    def delete(at: object) -> None:
        if at:
            while doomed:
                site.delete_issue(doomed.pop())

    site.meanwhile = delete
    sync = await house.sync(connection.id, CENSUS)
    assert sync.state == "succeeded"
    assert await tombstones(house) == {}
    # Not one slipped between two pages, which would have been asked for by its id.
    assert not [seen for seen in site.requests(search(site)) if b"id in (" in seen.body]


@pytest.mark.parametrize("size", [250])
async def test_many_issues_of_one_and_the_same_moment_are_all_read(
    house: House, site: Remote, size: int
) -> None:
    now = site.clock.now()
    for n in range(size):
        site.create_issue("TG", f"Import {n}", created=now, updated=now)
    connection = await connect(house, site)
    await house.sync(connection.id)
    assert len(await house.keys("jira", "issues")) == size
    site.clock.advance(HOUR)
    later = site.clock.now()
    for number in list(site.issues):
        site.update_issue(number, updated=later, status="Done")
    sync = await house.sync(connection.id)
    assert sync.counters["issues"].changed == size


async def test_a_census_goes_on_over_many_slices(house: House, site: Remote) -> None:
    issues = site.seed(350)
    connection = await connect(house, site)
    await house.sync(connection.id)
    few_at_once(site)
    site.delete_issue(issues[7].id)
    opened = await house.open(connection.id, CENSUS)
    deps = replace(house.deps, slice_seconds=0.0)
    for _ in range(50):
        await run_slice(deps, opened.id)
        if (await house.status(opened.id)).finished_at is not None:
            break
    sync = await house.status(opened.id)
    assert (sync.state, deleted(sync)) == ("succeeded", 1)


async def test_a_census_of_a_thousand_issues_costs_few_requests(house: House, site: Remote) -> None:
    site.seed(1000)
    connection = await connect(house, site)
    await house.sync(connection.id)
    before = len(site.ledger)
    sync = await house.sync(connection.id, CENSUS)
    assert sync.state == "succeeded"
    # Who we are, the filter, one page of ids, and who we are; on Data Center also what runs there.
    assert len(site.ledger) - before <= 5
