"""Azure DevOps at every address, with every kind of credential: what is synced, and what a person is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from adapters.http import utc_now
from store import credentials
from store.connections import Connection
from store.credentials import HOLDS
from store.database import Database, clock
from store.syncs import Sync
from store.tokens import Secrets
from tests.databases import make_tables
from tests.house import House, open_house
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.base import Clock
from tidegate.demo.remotes.tokens import TokenServer

PROJECT, OTHER = "Größe & Maß", "newtwitterclone"
ITEMS, BUILDS = 30, 20
STREAMS = {"projects", "work_items", "pipelines", "builds"}


class Place(msgspec.Struct, frozen=True):
    """A remote, how it is addressed, and how its account is known there."""

    remote: AzureDevOps
    url: str
    kind: str
    issuer: TokenServer
    #: Where the vendor's hosts are played by the remote.
    proxied: bool = False
    #: Whether only one of the two projects is read.
    project: bool = False
    hosted: bool = True

    @property
    def projects(self) -> int:
        return 1 if self.project else 2

    def revoke(self) -> None:
        self.remote.access.tokens.clear()
        self.remote.access.passwords["ada"] = "changed"
        self.issuer.end_tokens()
        self.issuer.clients.clear()

    def limit(self, *scopes: str) -> None:
        """What may be read from now on. With a password it is the account that lacks the rest."""
        if self.kind != "basic":
            self.remote.access.scopes = {secret: frozenset(scopes) for secret in ("azure-token", "entra")}
        elif "build" not in scopes:
            self.remote.ci.closed = set(self.remote.model.projects)


def long_ago() -> Clock:
    """A remote's clock that can be advanced without overtaking ours, which no cursor is ahead of."""
    return Clock(lambda: utc_now() - timedelta(hours=9))


At = Callable[[str], AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def played(kind: str, remote: AzureDevOps) -> AsyncIterator[TokenServer]:
    """The remote with an account for that kind of credential, and two projects."""
    async with remote, TokenServer(vendor="entra") as issuer:
        issuer.clients["us"] = "client-secret"
        remote.access.entra = issuer.accepts if kind == "oauth2" else None
        remote.access.tokens = {"azure-token": remote.model.me} if kind in ("pat", "bearer") else {}
        remote.access.passwords = {"ada": "azure-token"}
        for name in (PROJECT, OTHER):
            remote.model.create_project(name, visibility="public" if kind == "anonymous" else "private")
            remote.model.seed(ITEMS, Random(1), name)
            remote.model.seed_builds(BUILDS, Random(1), name)
        yield issuer


@asynccontextmanager
async def at_organisation(kind: str) -> AsyncIterator[Place]:
    remote = AzureDevOps(clock=long_ago())
    async with played(kind, remote) as issuer:
        yield Place(remote, "http://dev.azure.com/company", kind, issuer, proxied=True)


@asynccontextmanager
async def at_project(kind: str) -> AsyncIterator[Place]:
    remote = AzureDevOps(clock=long_ago())
    async with played(kind, remote) as issuer:
        url = "http://dev.azure.com/company/Gr%C3%B6%C3%9Fe%20%26%20Ma%C3%9F/_build?definitionId=1"
        yield Place(remote, url, kind, issuer, proxied=True, project=True)


@asynccontextmanager
async def at_visualstudio(kind: str) -> AsyncIterator[Place]:
    remote = AzureDevOps(clock=long_ago())
    async with played(kind, remote) as issuer:
        url = f"http://company.visualstudio.com/DefaultCollection/{PROJECT}/_workitems/recentlyupdated"
        yield Place(remote, url, kind, issuer, proxied=True, project=True)


@asynccontextmanager
async def at_collection(kind: str) -> AsyncIterator[Place]:
    remote = AzureDevOps("Default Collection", long_ago(), hosted=False)
    async with played(kind, remote) as issuer:
        yield Place(remote, remote.base, kind, issuer, hosted=False)


@asynccontextmanager
async def below_a_path(kind: str) -> AsyncIterator[Place]:
    remote = AzureDevOps("DefaultCollection", long_ago(), above="tfs", newest="6.0", hosted=False)
    async with played(kind, remote) as issuer:
        yield Place(remote, f"{remote.base}/{PROJECT}", kind, issuer, project=True, hosted=False)


@asynccontextmanager
async def through_a_gateway(kind: str) -> AsyncIterator[Place]:
    """The organisation under another host's name, as where a company puts a gateway before it."""
    remote = AzureDevOps(clock=long_ago())
    async with played(kind, remote) as issuer:
        yield Place(remote, remote.base, kind, issuer)


SERVICES: list[At] = [at_organisation, at_project, at_visualstudio]
SERVERS: list[At] = [at_collection, below_a_path]
KNOWN: list[tuple[At, str]] = [
    *((at, kind) for at in SERVICES for kind in ("pat", "bearer")),
    *((at, kind) for at in SERVERS for kind in ("pat", "basic")),
    (through_a_gateway, "pat"),
    (through_a_gateway, "oauth2"),
]
STRANGERS: list[tuple[At, str]] = [(at, "anonymous") for at in (*SERVICES, at_collection)]


def names(found: list[tuple[At, str]]) -> list[str]:
    return [f"{getattr(at, '__name__', '')}-{kind}" for at, kind in found]


everybody = pytest.mark.parametrize(
    "where", [*KNOWN, *STRANGERS], ids=names([*KNOWN, *STRANGERS]), indirect=True
)
with_a_secret = pytest.mark.parametrize("where", KNOWN, ids=names(KNOWN), indirect=True)
PATS = [(at, kind) for at, kind in KNOWN if kind == "pat"]
every_address = pytest.mark.parametrize("where", PATS, ids=names(PATS), indirect=True)
strangers = pytest.mark.parametrize("where", STRANGERS, ids=names(STRANGERS), indirect=True)


@pytest.fixture
async def where(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    at, kind = request.param
    async with at(kind) as place:
        # What was made long ago is behind every overlap.
        place.remote.clock.advance(timedelta(hours=1))
        yield place


@pytest.fixture
async def here(where: Place, tmp_path: Path) -> AsyncIterator[House]:
    """A house on SQLite: which database it is does not matter to what a remote says."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/tidegate.db")
    await make_tables(database)
    async with open_house(database, proxy=where.remote.url if where.proxied else None) as made:
        yield made
    await database.close()


async def connect(house: House, place: Place, secret: str | None = None) -> Connection:
    made: int | None = None
    if place.kind == "oauth2":
        made = await entra(house, place, secret or "client-secret")
    elif place.kind != "anonymous":
        user = "ada" if place.kind == "basic" else None
        made = await house.credential("azure", place.kind, user, secret or "azure-token")
    return await house.connection("azure", place.url, made)


async def entra(house: House, place: Place, secret: str) -> int:
    """A credential of kind oauth2, as the API stores it."""
    values = {"name": "c", "system": "azure", "kind": "oauth2"}
    options = {"token_url": place.issuer.token_url, "client_id": "us", HOLDS: ["secret"]}
    async with house.database.write() as connection:
        at = await clock(connection)
        made = await credentials.add(connection, {**values, "options": options}, at)
        sealed = house.vault.seal(Secrets(secret, None).as_text(), credentials.place(made))
        await credentials.change(connection, made, {"secret": sealed})
    return made


async def told(house: House, connection: Connection, sync: Sync) -> tuple[str, str | None, str]:
    """Health and cause of the connection, and the hint of the sync."""
    found = await house.get(connection.id)
    assert sync.error is not None
    assert "azure-token" not in f"{sync.error.message} {sync.error.hint}"
    return found.health, found.cause, sync.error.hint


@everybody
async def test_a_first_sync_stores_every_stream_and_says_so(here: House, where: Place) -> None:
    connection = await connect(here, where)
    sync = await here.sync(connection.id)
    assert (sync.state, sync.error) == ("succeeded", None)
    new = {stream: counts.new for stream, counts in sync.counters.items()}
    many = where.projects
    wanted = {"projects": many, "work_items": many * ITEMS, "pipelines": many * 3, "builds": many * BUILDS}
    assert new == wanted
    assert sync.receipt is not None
    assert {(r.expected, r.stored, r.complete) for r in sync.receipt.values()} == {
        (count, count, True) for count in wanted.values()
    }
    found = await here.get(connection.id)
    assert (found.health, found.cause) == ("healthy", None)


@everybody
async def test_a_second_sync_brings_what_changed_and_nothing_else(here: House, where: Place) -> None:
    connection = await connect(here, where)
    await here.sync(connection.id)
    where.remote.clock.advance(timedelta(hours=1))
    where.remote.ledger.clear()
    model = where.remote.model
    home = model.project(PROJECT).id
    item = next(item for item in model.items.values() if item.project == home)
    model.update(item.id, {"System.Title": "Seen"})
    pipeline = next(one for one in model.ci.pipelines.values() if one.project == home)
    model.ci.redefine(pipeline.id, name="renamed")
    queued = model.ci.queue(pipeline.id)
    sync = await here.sync(connection.id)
    assert (sync.state, sync.error) == ("succeeded", None)
    changes = {stream: (counts.new, counts.changed) for stream, counts in sync.counters.items()}
    assert changes == {"projects": (0, 0), "work_items": (0, 1), "pipelines": (0, 1), "builds": (1, 0)}
    rows = {row["key"]: row for row in await here.rows("azure", "builds")}
    assert rows[str(queued.id)]["status"] == "notStarted"
    assert rows[str(queued.id)]["parent"] == f"{home}/{pipeline.id}"


@every_address
async def test_an_idle_sync_makes_one_request_a_stream_and_project(here: House, where: Place) -> None:
    connection = await connect(here, where)
    await here.sync(connection.id)
    where.remote.clock.advance(timedelta(hours=1))
    where.remote.ledger.clear()
    sync = await here.sync(connection.id)
    assert {(counts.new, counts.changed) for counts in sync.counters.values()} == {(0, 0)}
    asked = [seen.path.partition("_apis/")[2].split("/0")[0] for seen in where.remote.ledger]
    data = [path for path in asked if path.startswith(("build/", "wit/"))]
    assert sorted(data) == sorted(["wit/wiql", *["build/builds", "build/definitions"] * where.projects])
    # The list of projects; where a path leaves its end open a probe, and on an older server its version.
    assert len(asked) - len(data) == 1 + 2 * (where.project and not where.proxied)


@with_a_secret
async def test_a_wrong_secret_is_a_failure_that_says_what_to_give(here: House, where: Place) -> None:
    connection = await connect(here, where, secret="wrong-secret")
    sync = await here.sync(connection.id)
    assert sync.state == "failed"
    health, cause, hint = await told(here, connection, sync)
    assert (health, cause) == ("failed", "auth")
    assert expected_words(where) in hint


def expected_words(where: Place) -> str:
    match where.kind:
        case "pat" if where.hosted:
            return "1 December 2026"
        case "pat":
            return "IIS Basic authentication"
        case "basic":
            return "user name (DOMAIN\\user) and password"
        case "bearer":
            return "Microsoft Entra"
        case _:
            return "client"


@with_a_secret
async def test_a_secret_that_was_revoked_stops_the_next_sync_and_keeps_the_records(
    here: House, where: Place
) -> None:
    connection = await connect(here, where)
    await here.sync(connection.id)
    before = {stream: await here.keys("azure", stream) for stream in STREAMS}
    where.revoke()
    sync = await here.sync(connection.id)
    health, cause, hint = await told(here, connection, sync)
    assert (sync.state, health, cause) == ("failed", "failed", "auth")
    assert expected_words(where) in hint
    assert {stream: await here.keys("azure", stream) for stream in STREAMS} == before


@with_a_secret
async def test_a_missing_permission_is_named_and_all_else_is_read(here: House, where: Place) -> None:
    where.limit("project", "work")
    connection = await connect(here, where)
    sync = await here.sync(connection.id)
    health, cause, hint = await told(here, connection, sync)
    assert (sync.state, health, cause) == ("partial", "partial", "forbidden")
    assert "Build (Read)" in hint
    assert len(await here.keys("azure", "work_items")) == where.projects * ITEMS
    assert await here.keys("azure", "builds") == set()


@strangers
async def test_what_is_not_public_is_withheld_from_strangers_and_said(here: House, where: Place) -> None:
    for project in where.remote.model.projects.values():
        project.visibility = "private"
    connection = await connect(here, where)
    sync = await here.sync(connection.id)
    health, cause, hint = await told(here, connection, sync)
    assert (sync.state, health, cause) == ("failed", "failed", "auth")
    assert "kind pat" in hint


async def test_25_000_work_items_are_all_stored(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/tidegate.db")
    await make_tables(database)
    async with AzureDevOps() as remote, open_house(database, slice_seconds=300) as house:
        home = remote.model.create_project(PROJECT)
        for number in range(25_000):
            remote.model.create(home.name, f"Number {number}")
        credential = await house.credential("azure", "pat", None, "azure-token")
        connection = await house.connection("azure", remote.base, credential, streams=["work_items"])
        sync = await house.sync(connection.id)
        assert (sync.state, sync.error) == ("succeeded", None)
        assert sync.receipt is not None
        receipt = sync.receipt["work_items"]
        assert (receipt.expected, receipt.stored, receipt.complete) == (25_000, 25_000, True)
        # The remote refuses to name more than 20,000 at once, and to give out more than 200.
        assert len(remote.requests("wiql")) == 2
        assert len(remote.requests("workitemsbatch")) == 126
    await database.close()
