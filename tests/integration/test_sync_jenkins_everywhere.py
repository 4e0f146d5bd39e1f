"""Each kind of target on Jenkins with each way to log in: what a sync comes to, and what a person is told."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from adapters.base import Check
from adapters.http import Meter, utc_now
from store.connections import Connection
from store.database import Database
from store.syncs import Sync
from tests.databases import make_tables
from tests.house import House, open_house
from tidegate.demo.remotes.base import Clock
from tidegate.demo.remotes.jenkins import JenkinsController

TOKEN = "11aa-api-token"
MINUTE = timedelta(minutes=1)


class Place(msgspec.Struct, frozen=True):
    """A URL below the controller, the jobs with builds that belong to it, and one of them to build."""

    path: str
    jobs: frozenset[str]
    build: str
    requests: int


def place(path: str, *jobs: str, requests: int) -> Place:
    return Place(path, frozenset(jobs), jobs[0], requests)


BRANCHES = ("team/app/feature%2Flogin", "team/app/main")
EVERYTHING = (*BRANCHES, "team/inner/deploy", "grid", "nightly build")
PLACES = {
    "controller": place("", *EVERYTHING, requests=4),
    "controller under a context path": place("", *EVERYTHING, requests=4),
    "folder": place("/job/team", *BRANCHES, "team/inner/deploy", requests=3),
    "nested folder": place("/job/team/job/inner/", "team/inner/deploy", requests=1),
    "multibranch": place("/job/team/job/app", *BRANCHES, requests=1),
    "branch": place("/job/team/job/app/job/feature%252Flogin/", BRANCHES[0], requests=1),
    "view": place("/view/mine/", "grid", *BRANCHES, requests=2),
    "job": place("/job/nightly%20build/", "nightly build", requests=1),
}
AT_THE_ROOT = ("controller", "nested folder", "job")
AUTHS = ("basic", "bearer", "anonymous")
LOGINS = ("basic", "bearer")


@pytest.fixture
async def remote(request: pytest.FixtureRequest) -> AsyncIterator[JenkinsController]:
    """Below a context path but for some. Its configured address leads to somebody else's controller."""
    context = "" if request.node.callspec.params["name"] in AT_THE_ROOT else "/jenkins"
    now = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
    async with JenkinsController(Clock(lambda: now)) as elsewhere:
        remote = JenkinsController(Clock(lambda: now), context=context, jenkins_url=elsewhere.url)
        plant(remote)
        async with remote:
            yield remote
        assert elsewhere.ledger == []


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """On SQLite alone: what is asked here is decided before anything is stored."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/tidegate.db")
    await make_tables(database)
    async with open_house(database) as opened:
        yield opened
    await database.close()


def plant(remote: JenkinsController) -> None:
    remote.add_folder("team")
    remote.add_folder("team/inner")
    remote.add_job("team/inner/deploy")
    remote.add_multibranch("team/app", ["main", "feature/login"])
    remote.add_matrix("grid", {"OS": ["linux", "windows"]})
    remote.add_job("nightly build")
    remote.views["mine"] = ["grid", "team/app"]
    for job in EVERYTHING:
        for _ in range(3):
            remote.start_build(job, MINUTE)
            remote.clock.advance(MINUTE)
    remote.clock.advance(MINUTE)


async def connect(
    house: House, remote: JenkinsController, path: str, auth: str, secret: str = TOKEN
) -> Connection:
    remote.users["dana"] = TOKEN
    remote.bearers[TOKEN] = "robot"
    remote.anonymous_read = auth == "anonymous"
    if auth == "anonymous":
        return await house.connection("jenkins", remote.base + path)
    credential = await house.credential("jenkins", auth, "dana" if auth == "basic" else None, secret)
    return await house.connection("jenkins", remote.base + path, credential)


def revoke(remote: JenkinsController) -> None:
    remote.users["dana"] = "another"
    remote.bearers.clear()


async def told(house: House, made: Connection, sync: Sync) -> str:
    """What a person reads of a sync that came to nothing: message and hint, without anything secret."""
    assert sync.error is not None
    said = f"{sync.error.message} {sync.error.hint}"
    assert TOKEN not in said
    assert "tree=" not in said
    return said


async def check(house: House, connection: Connection) -> Check:
    async with house.database.read() as database:
        adapter = await house.deps.remotes.open(database, connection, utc_now, Meter())
        return await adapter.check()


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("name", PLACES)
async def test_a_check_counts_what_the_first_sync_reads_and_a_second_reads_only_what_changed(
    house: House, remote: JenkinsController, name: str, auth: str
) -> None:
    place = PLACES[name]
    made = await connect(house, remote, place.path, auth)
    found = await check(house, made)
    first = await house.sync(made.id)
    assert found.account == {"basic": "dana", "bearer": "robot", "anonymous": "anonymous"}[auth]
    assert found.system_version == "2.462.1"
    assert {stream: (r.readable, r.problem) for stream, r in found.streams.items()} == {
        "jobs": (True, None),
        "builds": (True, None),
    }
    assert found.streams["jobs"].count == first.counters["jobs"].new
    assert (first.state, first.error) == ("succeeded", None)
    rows = await house.rows("jenkins", "builds")
    assert {row["parent"] for row in rows} == place.jobs
    assert first.counters["builds"].new == 3 * len(place.jobs)
    assert (await house.get(made.id)).health == "healthy"
    before = len(remote.ledger)
    idle = await house.sync(made.id)
    proof = 1 if auth == "bearer" else 0
    assert len(remote.ledger) - before == place.requests + proof
    assert {(c.new, c.changed) for c in idle.counters.values()} <= {(0, 0)}
    remote.start_build(place.build, MINUTE)
    remote.clock.advance(2 * MINUTE)
    second = await house.sync(made.id)
    assert (second.counters["builds"].new, second.counters["builds"].changed) == (1, 0)
    # The job itself tells of its last build.
    assert second.counters["jobs"].changed == 1


@pytest.mark.parametrize("auth", LOGINS)
@pytest.mark.parametrize("name", PLACES)
async def test_a_wrong_secret_fails_as_auth_and_says_how_to_get_a_right_one(
    house: House, remote: JenkinsController, name: str, auth: str
) -> None:
    # Bearers are ignored by a Jenkins that does not understand them: it then shows what everyone sees.
    made = await connect(house, remote, PLACES[name].path, auth, "a-wrong-one")
    remote.anonymous_read = auth == "bearer"
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.health, after.cause) == ("failed", "failed", "auth")
    assert "API token" in await told(house, made, sync)
    assert await house.rows("jenkins", "jobs") == []
    # No account gets locked: one refusal is enough.
    assert len(remote.ledger) <= 2


@pytest.mark.parametrize("auth", LOGINS)
@pytest.mark.parametrize("name", PLACES)
async def test_a_secret_that_is_revoked_fails_as_auth_and_keeps_what_was_read(
    house: House, remote: JenkinsController, name: str, auth: str
) -> None:
    made = await connect(house, remote, PLACES[name].path, auth)
    await house.sync(made.id)
    kept = await house.rows("jenkins", "builds")
    revoke(remote)
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.health, after.cause) == ("failed", "failed", "auth")
    assert "API token" in await told(house, made, sync)
    assert await house.rows("jenkins", "builds") == kept
    remote.users["dana"] = TOKEN
    remote.bearers[TOKEN] = "robot"
    assert (await house.sync(made.id)).state == "succeeded"
    assert (await house.get(made.id)).health == "healthy"


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("name", PLACES)
async def test_without_overall_read_it_is_forbidden_with_that_permission(
    house: House, remote: JenkinsController, name: str, auth: str
) -> None:
    made = await connect(house, remote, PLACES[name].path, auth)
    remote.anonymous_read = False
    remote.shut_out |= {"dana", "robot"}
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.health, after.cause) == ("failed", "failed", "forbidden")
    said = await told(house, made, sync)
    assert "Overall/Read" in said
    who = {"basic": "give dana", "bearer": "give robot", "anonymous": "Add a credential"}[auth]
    assert who in said


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("name", ["folder", "nested folder", "multibranch", "branch", "job"])
async def test_without_job_read_the_target_is_not_found_and_the_hint_names_the_permission(
    house: House, remote: JenkinsController, name: str, auth: str
) -> None:
    made = await connect(house, remote, PLACES[name].path, auth)
    for item in ("team", "nightly build"):
        remote.item(item).readers = {"somebody"}
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.health, after.cause) == ("failed", "failed", "not_found")
    assert "Job/Read" in await told(house, made, sync)


@pytest.mark.parametrize("name", ["folder", "branch", "job"])
async def test_with_job_discover_alone_the_target_is_forbidden_with_the_permission(
    house: House, remote: JenkinsController, name: str
) -> None:
    made = await connect(house, remote, PLACES[name].path, "basic")
    for item in ("team", "nightly build"):
        remote.item(item).readers = {"somebody"}
        remote.item(item).discoverers = {"dana", "robot", "anonymous"}
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.health, after.cause) == ("failed", "failed", "forbidden")
    assert "Job/Read" in await told(house, made, sync)


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("name", ["controller", "folder", "view"])
async def test_one_folder_without_permission_makes_partial_and_names_it(
    house: House, remote: JenkinsController, name: str, auth: str
) -> None:
    made = await connect(house, remote, PLACES[name].path, auth)
    remote.item("team/app").closed_to = {"dana", "robot", "anonymous"}
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.health) == ("partial", "partial")
    assert sync.error is not None
    assert sync.error.kind == "forbidden"
    said = await told(house, made, sync)
    assert "job 'team/app'" in said
    assert "Job/Read" in said
    assert {row["parent"] for row in await house.rows("jenkins", "builds")} == PLACES[name].jobs - set(
        BRANCHES
    )
    remote.item("team/app").closed_to = set()
    assert (await house.sync(made.id)).state == "succeeded"
    assert {row["parent"] for row in await house.rows("jenkins", "builds")} == PLACES[name].jobs


@pytest.mark.parametrize("name", ["controller", "view", "job"])
async def test_a_login_page_in_front_fails_as_auth_and_says_to_use_an_api_token(
    house: House, remote: JenkinsController, name: str
) -> None:
    made = await connect(house, remote, PLACES[name].path, "basic")
    remote.sso = "https://login.example.com/authorize?client_id=ci"
    sync = await house.sync(made.id)
    after = await house.get(made.id)
    assert (sync.state, after.cause) == ("failed", "auth")
    said = await told(house, made, sync)
    assert "login.example.com" in said
    assert "API token" in said


@pytest.mark.parametrize("name", ["controller", "multibranch", "view", "job"])
async def test_a_jenkins_that_starts_is_waited_for_and_nothing_is_lost(
    house: House, remote: JenkinsController, name: str
) -> None:
    place = PLACES[name]
    made = await connect(house, remote, place.path, "basic")
    remote.starting = True
    sync = await house.sync(made.id)
    assert sync.state == "waiting"
    assert "starting" in await told(house, made, sync)
    remote.starting = False
    ended = await house.until_ended(sync.id)
    assert ended.state == "succeeded"
    assert {row["parent"] for row in await house.rows("jenkins", "builds")} == place.jobs


async def test_two_thousand_builds_over_twenty_jobs_take_at_most_sixty_requests(house: House) -> None:
    async with JenkinsController() as remote:
        remote.seed(jobs=20, builds=100)
        made = await connect(house, remote, "", "basic")
        sync = await house.sync(made.id)
        assert (sync.state, sync.counters["builds"].new) == ("succeeded", 2000)
        assert len(remote.ledger) <= 60
        remote.ledger.clear()
        await house.sync(made.id)
        assert len(remote.ledger) == 1
