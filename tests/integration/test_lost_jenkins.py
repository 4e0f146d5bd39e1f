"""Jenkins loses, hides, renames and discards: what the copy says then, and that nothing is gone in vain."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import select, text

from adapters.times import to_millis
from scheduler.dispatch import Request
from store.connections import Connection
from store.syncs import Counts, Sync
from tests.engine import connection_row
from tests.house import House
from tidegate.demo.remotes.base import Clock, Fault
from tidegate.demo.remotes.jenkins import JenkinsController
from worker.sync import run_slice

pytestmark = pytest.mark.sqlite_does

TOKEN = "11aa-api-token"
MINUTE = timedelta(minutes=1)
CENSUS = Request("api", "census")
JENKINS = {"X-Jenkins": "2.462.1", "Content-Type": "text/html"}
JSON = {"X-Jenkins": "2.462.1", "Content-Type": "application/json;charset=utf-8"}


@pytest.fixture
async def remote() -> AsyncIterator[JenkinsController]:
    # Its time stands still unless a test moves it.
    now = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
    controller = JenkinsController(Clock(lambda: now))
    controller.users["dana"] = TOKEN
    controller.bearers[TOKEN] = "dana"
    async with controller:
        yield controller


async def connect(
    house: House, remote: JenkinsController, path: str = "", kind: str = "basic", **values: object
) -> Connection:
    credential = await house.credential("jenkins", kind, "dana" if kind == "basic" else None, TOKEN)
    return await house.connection("jenkins", remote.base + path, credential, **values)


def build(remote: JenkinsController, job: str, times: int = 1) -> None:
    """So many builds, one after the other, all over by now."""
    for _ in range(times):
        remote.start_build(job, MINUTE)
        remote.clock.advance(2 * MINUTE)


def plant(remote: JenkinsController) -> None:
    """Two folders with two jobs each, and three builds of each job."""
    for folder in ("team", "shop"):
        remote.add_folder(folder)
        for job in ("app", "web"):
            remote.add_job(f"{folder}/{job}")
            build(remote, f"{folder}/{job}", 3)


async def tombstones(house: House, stream: str = "builds") -> dict[str, str]:
    c = house.deps.tables.get("jenkins", stream).table.c
    async with house.database.read() as connection:
        rows = await connection.execute(select(c.key, c.gone_reason).where(c.gone_at.is_not(None)))
        return {row.key: row.gone_reason for row in rows}


async def gone(house: House) -> dict[str, str]:
    """All tombstones: builds as `job#number`, the time left out."""
    jobs = await tombstones(house, "jobs")
    return jobs | {key.partition("@")[0]: why for key, why in (await tombstones(house)).items()}


async def living(house: House) -> set[str]:
    """The living builds as `job#number`."""
    return {key.partition("@")[0] for key in await house.keys("jenkins", "builds")}


async def shown(house: House) -> set[str]:
    """The builds that the view for users shows, as `job#number`."""
    async with house.database.read() as connection:
        rows = (await connection.execute(text("SELECT key FROM jenkins_builds"))).scalars()
        return {key.partition("@")[0] for key in rows}


def there(remote: JenkinsController) -> set[str]:
    """The builds that the remote has, as `job#number`."""
    jobs = [item for item in remote.root.every() if hasattr(item, "builds")]
    return {f"{job.full_name}#{number}" for job in jobs for number in job.builds}


async def stepwise(
    house: House,
    connection_id: int,
    request: Request | None,
    between: Callable[[int], None],
) -> Sync:
    """A sync whose slices end as early as they can; `between` them the remote may change."""
    deps = replace(house.deps, slice_seconds=0.0)
    opened = await house.open(connection_id, request)
    for number in range(1, 300):
        await run_slice(deps, opened.id)
        sync = await house.status(opened.id)
        if sync.finished_at is not None:
            return sync
        between(number)
    raise AssertionError("it does not end")


def once(change: Callable[[], object], after: int = 1) -> Callable[[int], None]:
    """For `stepwise`: change the remote once, after so many slices."""

    def between(number: int) -> None:
        if number == after:
            change()

    return between


# --- builds


async def test_a_build_that_runs_on_under_its_number_after_it_ended_is_read_again(
    house: House, remote: JenkinsController
) -> None:
    remote.add_job("app")
    build(remote, "app", 3)
    made = await connect(house, remote)
    await house.sync(made.id)
    keys = await house.keys("jenkins", "builds")
    remote.resume_build("app", 3)
    await house.sync(made.id)
    row = (await house.rows("jenkins", "builds"))[-1]
    assert (row["number"], row["building"]) == (3, True)
    remote.clock.advance(MINUTE)
    remote.finish_build("app", 3, "FAILURE")
    await house.sync(made.id)
    row = (await house.rows("jenkins", "builds"))[-1]
    assert (row["result"], row["building"], row["look_again_at"]) == ("FAILURE", False, None)
    assert await house.keys("jenkins", "builds") == keys


async def test_a_build_that_ran_on_and_ended_between_two_syncs_is_read_again(
    house: House, remote: JenkinsController
) -> None:
    remote.add_job("app")
    build(remote, "app", 3)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.resume_build("app", 3)
    remote.clock.advance(MINUTE)
    remote.finish_build("app", 3, "UNSTABLE")
    sync = await house.sync(made.id)
    assert sync.counters["builds"].changed == 1
    assert (await house.rows("jenkins", "builds"))[-1]["result"] == "UNSTABLE"
    remote.ledger.clear()
    await house.sync(made.id)
    assert len(remote.ledger) == 1


async def test_a_number_given_again_after_its_build_was_deleted_is_another_build(
    house: House, remote: JenkinsController
) -> None:
    remote.add_job("app")
    build(remote, "app", 3)
    made = await connect(house, remote)
    await house.sync(made.id)
    old = f"app#3@{to_millis(remote.job('app').builds[3].started)}"
    remote.delete_build("app", 3)
    remote.job("app").next_number = 3
    build(remote, "app")
    new = f"app#3@{to_millis(remote.job('app').builds[3].started)}"
    await house.sync(made.id)
    assert new in await house.keys("jenkins", "builds")
    await house.sync(made.id, CENSUS)
    assert await tombstones(house) == {old: "deleted"}


@pytest.mark.parametrize("builds", [2, 8])
async def test_a_job_recreated_at_number_one_keeps_both_apart(
    house: House, remote: JenkinsController, builds: int
) -> None:
    remote.add_job("app")
    build(remote, "app", 5)
    made = await connect(house, remote)
    await house.sync(made.id)
    old = await house.keys("jenkins", "builds")
    remote.recreate_job("app")
    build(remote, "app", builds)
    assert (await house.sync(made.id)).counters["builds"].new == builds
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "succeeded"
    assert await tombstones(house) == dict.fromkeys(old, "deleted")
    assert await living(house) == {f"app#{number}" for number in range(1, builds + 1)}


async def test_builds_of_a_recreated_job_whose_first_ones_were_discarded_are_deleted_not_rotated(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    remote.add_job("app")
    build(remote, "app", 5)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.recreate_job("app")
    build(remote, "app", 9)
    # Number 2 is kept for ever, 3 to 7 were discarded: the old 3 to 5 are not these.
    kept = remote.job("app").builds
    remote.job("app").builds = {number: kept[number] for number in (2, 8, 9)}
    await house.sync(made.id, Request("api", "incremental", census=True))
    # Of number 1 nothing tells which job it was of, and so it is kept.
    expected = {f"app#{number}": "deleted" for number in range(2, 6)} | {"app#1": "rotated"}
    assert await gone(house) == expected


async def test_a_branch_created_and_deleted_comes_and_goes_with_its_builds(
    house: House, remote: JenkinsController
) -> None:
    remote.add_multibranch("app", ["main"])
    build(remote, "app/main", 3)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.add_job("app/feature%2Fx")
    build(remote, "app/feature%2Fx", 2)
    await house.sync(made.id)
    assert {"app/feature%2Fx#1", "app/feature%2Fx#2"} < await living(house)
    remote.delete_item("app/feature%2Fx")
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "succeeded"
    lost = ["app/feature%2Fx", "app/feature%2Fx#1", "app/feature%2Fx#2"]
    assert await gone(house) == dict.fromkeys(lost, "deleted")
    assert await shown(house) == {"app/main#1", "app/main#2", "app/main#3"}


async def test_builds_rotated_while_they_are_read_cost_no_other_build_and_no_loop(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(1, 450)
    made = await connect(house, remote)
    # Ranges move up in the list when builds before them vanish.
    lost = {1: range(360, 420), 2: range(1, 50), 3: range(300, 310)}

    def rotate(after: int) -> None:
        for number in lost.get(after, ()):
            remote.delete_build("service-0000", number)

    sync = await stepwise(house, made.id, None, rotate)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert there(remote) <= await living(house)
    assert len(remote.requests("/job/")) < 20


async def test_builds_rotated_while_they_are_counted_are_marked_and_no_other(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(1, 1400)
    made = await connect(house, remote)
    await house.sync(made.id)

    def rotate(after: int) -> None:
        for number in {3: range(1310, 1360), 4: range(1, 10)}.get(after, ()):
            remote.delete_build("service-0000", number)

    sync = await stepwise(house, made.id, CENSUS, rotate)
    assert sync.state == "succeeded"
    assert set((await gone(house)).values()) <= {"rotated"}
    assert not set(await gone(house)) & there(remote)
    await house.sync(made.id, CENSUS)
    assert await living(house) == there(remote)


async def test_builds_rotated_later_are_marked_and_stay_in_the_view(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(1, 200)
    remote.add_job("other")
    build(remote, "other")
    made = await connect(house, remote)
    await house.sync(made.id)
    everything = await shown(house)
    remote.rotate("service-0000", keep=120)
    remote.ledger.clear()
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "succeeded"
    assert await gone(house) == {f"service-0000#{n}": "rotated" for n in range(1, 81)}
    assert await shown(house) == everything
    assert await living(house) == there(remote)
    # Not one by one: the job tells its oldest build.
    assert len(remote.ledger) <= 8


async def test_single_builds_that_a_person_deleted_are_rotated_too(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.delete_build("team/app", 2)
    remote.delete_build("shop/web", 3)
    await house.sync(made.id, CENSUS)
    assert await gone(house) == {"team/app#2": "rotated", "shop/web#3": "rotated"}
    assert {"team/app#2", "shop/web#3"} <= await shown(house)


async def test_a_running_build_is_looked_at_again_until_it_is_final(
    house: House, remote: JenkinsController
) -> None:
    remote.add_job("app")
    remote.start_build("app")
    made = await connect(house, remote)
    await house.sync(made.id)
    # Later builds overtake it, and a census is taken meanwhile.
    build(remote, "app", 15)
    for request in (None, CENSUS, None):
        assert (await house.sync(made.id, request)).state == "succeeded"
        [row] = [row for row in await house.rows("jenkins", "builds") if row["number"] == 1]
        assert (row["building"], row["look_again_at"] is None) == (True, False)
    remote.finish_build("app", 1, "ABORTED")
    await house.sync(made.id)
    [row] = [row for row in await house.rows("jenkins", "builds") if row["number"] == 1]
    assert (row["building"], row["result"], row["look_again_at"]) == (False, "ABORTED", None)
    assert (await connection_row(house, made.id))["next_look_at"] is None
    assert await gone(house) == {}


# --- jobs and folders


@pytest.mark.parametrize("to", ["team/renamed", "shop/app2", "app"])
async def test_a_job_renamed_or_moved_is_stored_under_its_new_name_with_its_builds(
    house: House, remote: JenkinsController, to: str
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.move_item("team/app", to)
    sync = await house.sync(made.id, Request("api", "incremental", census=True))
    assert sync.state == "succeeded"
    old = ["team/app", *(f"team/app#{n}" for n in (1, 2, 3))]
    assert await gone(house) == dict.fromkeys(old, "deleted")
    assert await living(house) == there(remote)
    assert to in await house.keys("jenkins", "jobs")


async def test_a_job_taken_out_of_a_view_has_left(house: House, remote: JenkinsController) -> None:
    plant(remote)
    remote.views["mine"] = ["team/app", "team/web", "shop/app"]
    made = await connect(house, remote, "/view/mine")
    await house.sync(made.id)
    remote.views["mine"] = ["team/app", "shop/app"]
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "succeeded"
    lost = ["team/web", *(f"team/web#{n}" for n in (1, 2, 3))]
    assert await gone(house) == dict.fromkeys(lost, "left")


async def test_builds_from_before_a_later_since_have_left_without_being_asked_for(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(1, 60)
    made = await connect(house, remote)
    await house.sync(made.id)
    since = remote.job("service-0000").builds[21].started
    later = await connect(house, remote, params={"since": since.isoformat()})
    await house.sync(later.id)
    assert len(await house.rows("jenkins", "builds", later.id)) == 40
    async with house.database.write() as connection:
        await connection.execute(
            text("UPDATE connections SET params = :p WHERE id = :i"),
            {"p": f'{{"since": "{since.isoformat()}"}}', "i": made.id},
        )
    remote.ledger.clear()
    await house.sync(made.id, CENSUS)
    assert set((await tombstones(house)).values()) == {"left"}
    assert await living(house) == {f"service-0000#{n}" for n in range(21, 61)}
    assert len(remote.ledger) == 3


async def test_a_folder_that_is_hidden_from_the_account_with_most_of_all_is_not_called_gone(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    build(remote, "team/app", 10)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.item("team").readers = {"somebody"}
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "partial"
    assert sync.error is not None
    assert sync.error.kind == "mass_loss"
    assert await tombstones(house) == {}
    remote.item("team").readers = None
    assert (await house.sync(made.id, CENSUS)).state == "succeeded"
    assert await gone(house) == {}


async def test_a_hidden_folder_that_may_be_discovered_is_hidden_and_comes_back(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.item("team").readers = {"somebody"}
    remote.item("team").discoverers = {"dana"}
    await house.sync(made.id, CENSUS)
    hidden = {key for key, why in (await gone(house)).items() if why == "hidden"}
    assert hidden == set(await gone(house))
    assert {"team", "team/app", "team/web", "team/app#1"} <= hidden
    remote.item("team").readers = None
    await house.sync(made.id, CENSUS)
    assert await gone(house) == {}
    assert await living(house) == there(remote)


async def test_an_account_that_sees_no_job_any_more_deleted_nothing(
    house: House, remote: JenkinsController
) -> None:
    # One job with one build: too few for the guard against mass loss.
    remote.add_job("app")
    build(remote, "app")
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.item("app").readers = {"somebody"}
    await house.sync(made.id, CENSUS)
    assert set((await gone(house)).values()) == {"hidden"}


async def test_a_credential_that_loses_one_folder_calls_nothing_gone_and_names_it(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.item("team").closed_to = {"dana"}
    # Gone for certain, but a census that could not see all tells nothing.
    remote.delete_build("shop/app", 1)
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "partial"
    assert sync.error is not None
    assert sync.error.kind == "forbidden"
    assert "'team'" in sync.error.message
    assert await gone(house) == {}
    remote.item("team").closed_to = set()
    assert (await house.sync(made.id, CENSUS)).state == "succeeded"
    assert await gone(house) == {"shop/app#1": "rotated"}


@pytest.mark.parametrize("after", [1, 2, 3, 4])
@pytest.mark.parametrize("way", ["token revoked", "bearer ignored", "all hidden"])
async def test_an_account_that_loses_everything_during_a_census_calls_nothing_gone(
    house: House, remote: JenkinsController, way: str, after: int
) -> None:
    plant(remote)
    # What everyone may see is enough for an answer, and tells nothing.
    remote.anonymous_read = True
    made = await connect(house, remote, kind="bearer" if way == "bearer ignored" else "basic")
    assert (await house.sync(made.id)).state == "succeeded"
    for folder in ("team", "shop"):
        remote.item(folder).readers = {"dana"}

    def lose() -> None:
        remote.users["dana"] = "another"
        remote.bearers.clear()

    def hide() -> None:
        for folder in ("team", "shop"):
            remote.item(folder).readers = {"somebody"}

    sync = await stepwise(house, made.id, CENSUS, once(hide if way == "all hidden" else lose, after))
    assert await gone(house) == {}
    assert sync.error is not None
    if way == "all hidden":
        assert sync.state == "partial"
        assert sync.error.kind in ("mass_loss", "forbidden", "not_found")
    else:
        assert (sync.state, sync.error.kind) == ("failed", "auth")


async def test_a_bearer_that_is_ignored_from_the_listing_on_calls_nothing_gone(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    remote.anonymous_read = True
    made = await connect(house, remote, kind="bearer", streams=["jobs"])
    await house.sync(made.id)
    for job in ("team/app", "team/web"):
        remote.item(job).readers = {"dana"}
    # The first proof is let through; then the plugin is gone.
    remote.faults.append(Fault("/whoAmI", 200, b'{"name":"dana","anonymous":false}', JSON, times=1))
    remote.bearers.clear()
    sync = await house.sync(made.id, CENSUS)
    assert (sync.state, sync.error.kind if sync.error else None) == ("failed", "auth")
    assert await gone(house) == {}


# --- answers that are none


def truncated(remote: JenkinsController, path: str) -> Fault:
    return Fault(path, 200, b'{"_class":"hudson.model.Hudson","jobs":[{"name":"te', JSON, times=1)


def torn(remote: JenkinsController, path: str) -> Fault:
    return Fault(path, cut=40, times=1)


def a_page(remote: JenkinsController, path: str) -> Fault:
    return Fault(path, 200, b"<html><body>Maintenance</body></html>", JENKINS, times=1)


def a_login(remote: JenkinsController, path: str) -> Fault:
    return Fault(path, 200, b"<html><input type='password'></html>", JENKINS, times=1)


def nothing(remote: JenkinsController, path: str) -> Fault:
    return Fault(path, 200, b"{}", JSON, times=1)


ODD = [truncated, torn, a_page, a_login, nothing]


@pytest.mark.parametrize("path", ["/api/json", "/job/team/api", "/job/team/job/app/api", "/job/app/2/"])
@pytest.mark.parametrize("odd", ODD)
async def test_an_answer_that_is_none_calls_nothing_gone_in_a_census(
    house: House, remote: JenkinsController, odd: Callable[[JenkinsController, str], Fault], path: str
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.delete_build("shop/app", 1)
    if path == "/job/app/2/":
        # Only asked for because it is missing from what the census saw.
        remote.delete_build("team/app", 2)
        remote.delete_build("shop/app", 2)
    remote.faults.append(odd(remote, path))
    sync = await house.until_ended((await house.open(made.id, CENSUS)).id)
    expected = {"shop/app#1": "rotated"}
    if path == "/job/app/2/":
        expected |= {"shop/app#2": "rotated", "team/app#2": "rotated"}
    found = await gone(house)
    if sync.state == "succeeded":
        # A connection that broke is asked again.
        assert odd is torn
        assert found == expected
    else:
        assert sync.error is not None
        assert found.items() <= expected.items()
    remote.faults.clear()
    again = await house.until_ended((await house.open(made.id, CENSUS)).id)
    assert again.state == "succeeded"
    assert await gone(house) == expected


@pytest.mark.parametrize("odd", ODD)
async def test_a_range_that_is_truncated_torn_or_no_json_loses_no_build(
    house: House, remote: JenkinsController, odd: Callable[[JenkinsController, str], Fault]
) -> None:
    remote.seed(2, 250)
    made = await connect(house, remote)
    fault = odd(remote, "/job/service-0000/")
    fault.after = 1
    remote.faults.append(fault)
    sync = await house.until_ended((await house.open(made.id)).id)
    assert fault.times == 0
    assert sync.state == ("succeeded" if odd is torn else "partial")
    assert (await house.until_ended((await house.open(made.id)).id)).state == "succeeded"
    assert await living(house) == there(remote)


@pytest.mark.parametrize("times", [1, 1000])
async def test_a_folder_that_answers_404_though_listed_calls_nothing_gone(
    house: House, remote: JenkinsController, times: int
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.faults.append(Fault("/job/team/", 404, b"<html>", JENKINS, times=times))
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "partial"
    assert await gone(house) == {}
    remote.faults.clear()
    assert (await house.sync(made.id, CENSUS)).state == "succeeded"
    assert await gone(house) == {}


# --- between the plan and the reading


def delete(remote: JenkinsController) -> None:
    remote.delete_item("team/app")


def create(remote: JenkinsController) -> None:
    remote.add_job("aaa")
    build(remote, "aaa", 2)


def recreate(remote: JenkinsController) -> None:
    remote.recreate_job("team/app")
    build(remote, "team/app", 2)


def move(remote: JenkinsController) -> None:
    remote.move_item("team/app", "shop/moved")


def go_on(remote: JenkinsController) -> None:
    build(remote, "team/app", 120)


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("change", [delete, create, recreate, move, go_on])
async def test_what_changes_between_plan_and_reading_is_right_after_the_next_census(
    house: House,
    remote: JenkinsController,
    change: Callable[[JenkinsController], None],
    after: int,
) -> None:
    plant(remote)
    made = await connect(house, remote)
    first = await stepwise(house, made.id, None, once(lambda: change(remote), after))
    assert first.state == "succeeded"
    second = await house.sync(made.id, Request("api", "incremental", census=True))
    assert second.state == "succeeded"
    assert await living(house) == there(remote)
    assert await house.keys("jenkins", "jobs") == {item.full_name for item in remote.root.every()}


@pytest.mark.parametrize("change", [delete, create, recreate, move, go_on])
async def test_what_changes_between_plan_and_counting_calls_nothing_gone_that_is_there(
    house: House, remote: JenkinsController, change: Callable[[JenkinsController], None]
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    sync = await stepwise(house, made.id, CENSUS, once(lambda: change(remote)))
    assert sync.state == "succeeded"
    assert not set(await gone(house)) & (there(remote) - {"team/app#1", "team/app#2"})
    await house.sync(made.id, Request("api", "incremental", census=True))
    assert await living(house) == there(remote)


# --- what it costs


async def test_a_census_of_two_thousand_builds_in_twenty_jobs_takes_twenty_two_requests(
    house: House, remote: JenkinsController
) -> None:
    remote.seed(20, 100)
    made = await connect(house, remote)
    await house.sync(made.id)
    remote.ledger.clear()
    sync = await house.sync(made.id, CENSUS)
    assert sync.state == "succeeded"
    assert sync.receipt is not None
    assert {name: (r.expected, r.stored, r.complete) for name, r in sync.receipt.items()} == {
        "jobs": (20, 20, True),
        "builds": (2000, 2000, True),
    }
    # The listing, the proof that we are known, and the newest hundred of each job.
    assert len(remote.ledger) == 22
    assert len(remote.requests("/whoAmI")) == 1
    asked = [seen.query["tree"] for seen in remote.ledger if "service" in seen.path]
    assert set(asked) == {"builds[number,timestamp]{0,100}"}


async def test_an_idle_sync_after_a_census_asks_for_one_listing_only(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    await house.sync(made.id, CENSUS)
    remote.ledger.clear()
    sync = await house.sync(made.id)
    assert sync.counters.get("builds", Counts()).read == 0
    assert sorted(seen.path for seen in remote.ledger) == [
        "/api/json",
        "/job/shop/api/json",
        "/job/team/api/json",
    ]


async def test_a_webhook_brings_the_build_it_is_about_and_nothing_else(
    house: House, remote: JenkinsController
) -> None:
    plant(remote)
    made = await connect(house, remote)
    await house.sync(made.id)
    build(remote, "team/app")
    remote.ledger.clear()
    keys = {"builds": ["team/app#4"], "jobs": ["team/app"]}
    sync = await house.sync(made.id, Request("webhook", "records", keys))
    assert sync.state == "succeeded"
    assert (sync.counters["builds"].new, sync.counters["jobs"].changed) == (1, 1)
    assert await living(house) == there(remote)
    assert len(remote.ledger) == 2
