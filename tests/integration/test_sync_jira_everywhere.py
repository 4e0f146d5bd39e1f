"""Jira at every kind of remote with every kind of credential: what is synced, and what a person is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from store.connections import Connection
from store.database import Database
from store.syncs import Sync
from tests.databases import make_tables
from tests.house import House, open_house
from tidegate.demo.remotes.jira import READ_USER, JiraCloud
from tidegate.demo.remotes.jira_datacenter import JiraDataCenter

EMAIL, LOGIN = "ana@example.com", "ana"
KOLKATA = "Asia/Kolkata"


class Place(msgspec.Struct, frozen=True):
    """A remote with an account and a project, and how to connect to it."""

    remote: JiraCloud | JiraDataCenter
    base: str
    kind: str
    username: str | None
    secret: str

    @property
    def searches(self) -> int:
        return len([seen for seen in self.remote.requests("/search") if "count" not in seen.path])


@asynccontextmanager
async def at_cloud(kind: str) -> AsyncIterator[Place]:
    async with JiraCloud(zone="Europe/Berlin") as remote:
        remote.add_account(EMAIL, "secret-1", zone="America/Los_Angeles")
        remote.public = kind == "anonymous"
        yield Place(remote, remote.url, kind, EMAIL if kind == "basic" else None, "secret-1")


@asynccontextmanager
async def at_gateway(kind: str) -> AsyncIterator[Place]:
    async with JiraCloud(zone="Europe/Berlin") as remote:
        remote.add_account(EMAIL, "not used here", zone=KOLKATA)
        remote.grant(EMAIL, "secret-1")
        yield Place(remote, remote.gateway, kind, EMAIL if kind == "basic" else None, "secret-1")


@asynccontextmanager
async def at_datacenter(kind: str, context: str = "") -> AsyncIterator[Place]:
    async with JiraDataCenter(zone="Europe/Berlin", context=context) as remote:
        remote.add_user(LOGIN, "secret-1" if kind == "basic" else "not used here", zone=KOLKATA)
        remote.add_pat(LOGIN, "not used here" if kind == "basic" else "secret-1")
        remote.public = kind == "anonymous"
        yield Place(remote, remote.base, kind, LOGIN if kind == "basic" else None, "secret-1")


@asynccontextmanager
async def below_a_path(kind: str) -> AsyncIterator[Place]:
    async with at_datacenter(kind, "/tools/jira") as place:
        yield place


KNOWN = [
    (at_cloud, "basic"),
    (at_gateway, "basic"),
    (at_gateway, "bearer"),
    (at_datacenter, "pat"),
    (at_datacenter, "bearer"),
    (at_datacenter, "basic"),
    (below_a_path, "pat"),
    (below_a_path, "basic"),
]
STRANGERS = [(at_cloud, "anonymous"), (at_datacenter, "anonymous"), (below_a_path, "anonymous")]
named = [f"{make.__name__}-{kind}" for make, kind in (*KNOWN, *STRANGERS)]

everybody = pytest.mark.parametrize("where", [*KNOWN, *STRANGERS], ids=named, indirect=True)
all_with_a_secret = pytest.mark.parametrize("where", KNOWN, ids=named[: len(KNOWN)], indirect=True)
all_strangers = pytest.mark.parametrize("where", STRANGERS, ids=named[len(KNOWN) :], indirect=True)


@pytest.fixture
async def where(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    make, kind = request.param
    async with make(kind) as place:
        place.remote.add_project("TG")
        yield place


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[House]:
    """A house on SQLite: which database it is does not matter to what a remote says."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/tidegate.db")
    await make_tables(database)
    async with open_house(database) as made:
        yield made
    await database.close()


async def connect(
    house: House, place: Place, page: str = "/browse/TG", secret: str | None = None
) -> Connection:
    credential = None
    if place.kind != "anonymous":
        credential = await house.credential("jira", place.kind, place.username, secret or place.secret)
    return await house.connection("jira", place.base + page, credential)


async def told(house: House, connection: Connection, sync: Sync) -> tuple[str, str | None, str]:
    """Health and cause of the connection, and the hint of the sync."""
    found = await house.get(connection.id)
    assert sync.error is not None
    return found.health, found.cause, sync.error.hint


@everybody
async def test_a_first_sync_stores_everything_and_says_so(here: House, where: Place) -> None:
    issues = where.remote.seed(230)
    connection = await connect(here, where)
    sync = await here.sync(connection.id)
    assert (sync.state, sync.error) == ("succeeded", None)
    assert sync.receipt is not None
    receipt = sync.receipt["issues"]
    exact = isinstance(where.remote, JiraDataCenter)
    assert (receipt.expected, receipt.stored, receipt.complete) == (230 if exact else None, 230, True)
    assert await here.keys("jira", "issues") == {str(issue.id) for issue in issues}
    found = await here.get(connection.id)
    assert (found.health, found.cause) == ("healthy", None)


@everybody
async def test_a_second_sync_brings_what_changed_and_nothing_else(here: House, where: Place) -> None:
    issues = where.remote.seed(120)
    connection = await connect(here, where)
    await here.sync(connection.id)
    before = {row["key"]: row for row in await here.rows("jira", "issues")}
    where.remote.ledger.clear()
    where.remote.update_issue(issues[3].id, summary="Changed since")
    made = where.remote.create_issue("TG", "New since")
    sync = await here.sync(connection.id)
    counts = sync.counters["issues"]
    assert (sync.state, counts.new, counts.changed) == ("succeeded", 1, 1)
    after = {row["key"]: row for row in await here.rows("jira", "issues")}
    assert {key for key, row in after.items() if before.get(key) != row} == {str(issues[3].id), str(made.id)}
    # Who we are, and a search. Nobody knows a stranger's time zone, so that it looks back further.
    assert len(where.remote.ledger) == 2


# What a refused credential is to be replaced by, in the words of the hint.
ADVICE = {
    ("at_cloud", "basic"): "API token",
    ("at_gateway", "basic"): "API token with scopes",
    ("at_gateway", "bearer"): "OAuth access token",
    ("at_datacenter", "pat"): "personal access token",
    ("at_datacenter", "bearer"): "personal access token",
    ("at_datacenter", "basic"): "user name and password",
    ("below_a_path", "pat"): "personal access token",
    ("below_a_path", "basic"): "user name and password",
}
advised = pytest.mark.parametrize(
    ("where", "advice"),
    [((make, kind), ADVICE[make.__name__, kind]) for make, kind in KNOWN],
    ids=named[: len(KNOWN)],
    indirect=["where"],
)


@advised
async def test_a_wrong_secret_stops_the_connection_and_says_what_to_use(
    here: House, where: Place, advice: str
) -> None:
    where.remote.seed(3)
    connection = await connect(here, where, secret="wrong")
    sync = await here.sync(connection.id)
    assert sync.state == "failed"
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "auth")
    assert advice in hint
    assert (await here.get(connection.id)).paused
    # One failed login and no second: nobody's account gets locked.
    assert len(where.remote.ledger) == 1


@advised
async def test_a_revoked_secret_keeps_what_was_stored_and_says_what_to_use(
    here: House, where: Place, advice: str
) -> None:
    where.remote.seed(12)
    connection = await connect(here, where)
    await here.sync(connection.id)
    where.remote.revoke("secret-1")
    sync = await here.sync(connection.id)
    assert sync.state == "failed"
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "auth")
    assert advice in hint
    assert len(await here.keys("jira", "issues")) == 12


@everybody
async def test_a_project_that_may_not_be_browsed_says_which_permission(here: House, where: Place) -> None:
    where.remote.seed(12)
    connection = await connect(here, where)
    await here.sync(connection.id)
    where.remote.hide_project("TG")
    sync = await here.sync(connection.id)
    assert sync.state == "failed"
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "rejected")
    assert ("use a credential" if where.kind == "anonymous" else "Browse Projects") in hint
    assert len(await here.keys("jira", "issues")) == 12


@everybody
async def test_a_filter_that_is_not_shared_says_so(here: House, where: Place) -> None:
    where.remote.seed(3)
    number = where.remote.add_filter("project = TG", owner="somebody else", shared=False)
    connection = await connect(here, where, f"/issues/?filter={number}")
    sync = await here.sync(connection.id)
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "not_found")
    assert "share the filter" in hint


@all_strangers
async def test_a_site_that_closes_to_strangers_asks_for_a_credential(here: House, where: Place) -> None:
    where.remote.seed(3)
    connection = await connect(here, where)
    await here.sync(connection.id)
    where.remote.public, where.remote.strict_to_strangers = False, True
    sync = await here.sync(connection.id)
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "rejected")
    assert "use a credential" in hint


@pytest.mark.parametrize(
    "where", [(at_gateway, "basic"), (at_gateway, "bearer")], ids=["basic", "bearer"], indirect=True
)
async def test_a_token_without_a_scope_says_which(here: House, where: Place) -> None:
    assert isinstance(where.remote, JiraCloud)
    where.remote.seed(3)
    where.remote.grant(EMAIL, "secret-1", [READ_USER])
    connection = await connect(here, where)
    sync = await here.sync(connection.id)
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "forbidden")
    assert "read:jira-work is missing" in hint


@pytest.mark.parametrize(
    "where",
    [(at_datacenter, "basic"), (below_a_path, "basic")],
    ids=["at_datacenter", "below_a_path"],
    indirect=True,
)
@pytest.mark.parametrize(
    ("break_it", "hint"),
    [
        (lambda remote: remote.failed_logins.update({LOGIN: 3}), "captcha"),
        (lambda remote: setattr(remote, "takes_passwords", False), "personal access token"),
    ],
    ids=["captcha", "passwords off"],
)
async def test_a_login_that_data_center_stopped_says_how_to_go_on(
    here: House, where: Place, break_it: Callable[[JiraDataCenter], None], hint: str
) -> None:
    assert isinstance(where.remote, JiraDataCenter)
    where.remote.seed(3)
    connection = await connect(here, where)
    break_it(where.remote)
    sync = await here.sync(connection.id)
    health, cause, said = await told(here, connection, sync)
    assert (health, cause) == ("failed", "auth")
    assert hint in said


@all_with_a_secret
async def test_a_credential_that_is_put_right_goes_on_where_it_stopped(here: House, where: Place) -> None:
    issues = where.remote.seed(12)
    connection = await connect(here, where)
    await here.sync(connection.id)
    stopped = (
        dict(where.remote.tokens),
        getattr(where.remote, "pats", {}),
        getattr(where.remote, "grants", {}),
    )
    kept = [dict(kind) for kind in stopped]
    where.remote.revoke("secret-1")
    await here.sync(connection.id)
    where.remote.tokens = kept[0]
    for name, value in zip(("pats", "grants"), kept[1:], strict=True):
        setattr(where.remote, name, value)
    where.remote.update_issue(issues[5].id, status="Done")
    sync = await here.sync(connection.id)
    assert (sync.state, sync.counters["issues"].changed) == ("succeeded", 1)
    assert (await here.get(connection.id)).health == "healthy"


@pytest.mark.parametrize("where", [(at_datacenter, "pat")], ids=["pat"], indirect=True)
async def test_forty_changes_after_twenty_five_hundred_issues_in_kolkata_cost_six_searches_at_most(
    here: House, where: Place
) -> None:
    issues = where.remote.seed(2500)
    connection = await connect(here, where)
    first = await here.sync(connection.id)
    assert first.receipt is not None
    assert first.receipt["issues"].expected == first.receipt["issues"].stored == 2500
    where.remote.ledger.clear()
    changed = {str(where.remote.update_issue(issue.id, status="Done").id) for issue in issues[1000:1040]}
    sync = await here.sync(connection.id)
    rows = await here.rows("jira", "issues")
    assert sync.counters["issues"].changed == 40
    assert {row["key"] for row in rows if row["change"] > 2500} == changed
    assert where.searches <= 6
