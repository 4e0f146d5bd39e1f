"""A database whose shape does not fit: processes wait for it, say so once, and go on by themselves."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select

from store.database import Database
from store.migrate import HEAD, shape
from store.schema import processes
from tests.chaos import roles, truth
from tests.chaos.marks import GIVEN, GIVEN_TIME
from tests.chaos.roles import Role
from tests.chaos.town import Town

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

NEWER = "9000"
PACKAGES = ("adapters", "api", "config", "events", "scheduler", "store", "tidegate", "worker")
#: What a release would do: add a table, and columns that may be empty or have a default.
NEXT = f'''"""The next release"""

import sqlalchemy as sa
from alembic import op

revision = "{NEWER}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("moorings", sa.Column("id", sa.Integer(), primary_key=True))
    for name in ("connections", "syncs", "outbox", "sync_parts", "processes"):
        op.add_column(name, sa.Column("added", sa.Text(), nullable=True))
        op.add_column(name, sa.Column("counted", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_table("moorings")
    for name in ("connections", "syncs", "outbox", "sync_parts", "processes"):
        op.drop_column(name, "counted")
        op.drop_column(name, "added")
'''


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """A copy of the code with one more migration, which it needs."""
    folder = tmp_path / "next"
    for package in PACKAGES:
        shutil.copytree(roles.ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "store/migrations/versions/9000_the_next_release.py").write_text(NEXT)
    migrate = folder / "store/migrate.py"
    told = migrate.read_text().replace(f'HEAD = "{HEAD}"', f'HEAD = "{NEWER}"')
    assert f'HEAD = "{NEWER}"' in told
    migrate.write_text(told)
    return folder


@pytest.fixture
async def town(town: Town) -> Town:
    """One whose database is migrated by hand only."""
    town.environ["TIDEGATE_MIGRATE"] = "no"
    return town


async def ran(town: Town, name: str, *arguments: str, **more: str) -> Role:
    """A command, once it has ended."""
    role = await town.start(name, *arguments, **more)
    await role.ended()
    role.meant = True
    return role


async def ready(town: Town) -> tuple[int, str]:
    """What `/readyz` answers."""
    async with town.http.get(f"{town.url}/readyz") as answer:
        return answer.status, await answer.text()


async def says(town: Town, word: str) -> None:
    """Wait until `/readyz` is 503 and gives this reason."""

    async def said() -> bool:
        status, text = await ready(town)
        return status == 503 and word in text

    await town.until(said, 60, f"/readyz says {word!r}")


async def waits(town: Town, started: list[Role]) -> None:
    async def told() -> bool:
        return all(role.said("schema.waiting") for role in started)

    await town.until(told, 60, "each says that it waits")


async def present(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(processes))).scalar_one()


@GIVEN_TIME
async def test_before_the_first_migration_all_wait_and_start_by_themselves_after_it(town: Town) -> None:
    started = [await town.start(name) for name in ("api", "scheduler", "worker")]
    await waits(town, started)
    await says(town, "There are no tables yet, and this version needs")
    async with town.http.get(f"{town.url}/healthz") as answer:
        assert answer.status == 200
    async with town.http.get(f"{town.url}/v1/connections") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert await shape(town.database) is None
    assert (await ran(town, "migrate")).child.returncode == 0
    await town.all_work(started)
    (connection_id,) = await town.connections(["TIDE"], 20)
    await town.ends(await town.sync(connection_id))
    for role in started:
        (line,) = role.said("schema.waiting")
        assert "migrate` of this version" in line["reason"]
        assert len(role.said("schema.fits")) == 1
    town.nobody_died()
    await truth.holds(town)


@pytest.mark.soak
async def test_an_older_database_is_waited_for_and_named(town: Town) -> None:
    assert (await ran(town, "migrate")).child.returncode == 0
    await now_is(town, "0001")
    started = [await town.start(name) for name in ("api", "scheduler", "worker")]
    await waits(town, started)
    await says(town, f"The tables have the shape 0001, and this version needs {HEAD}")
    assert await present(town.database) == 0
    refused = await ran(town, "connections", "list")
    assert (refused.child.returncode, "migrate` of this version" in refused.text()) == (2, True)
    await now_is(town, HEAD)
    await town.all_work(started)


async def test_a_newer_database_is_waited_for_and_nothing_is_written(town: Town) -> None:
    assert (await ran(town, "migrate")).child.returncode == 0
    await now_is(town, NEWER)
    # Whether a start may migrate or not makes no difference.
    started = [await town.start(name, TIDEGATE_MIGRATE="yes") for name in ("api", "scheduler", "worker")]
    await waits(town, started)
    await says(town, f"The tables are of a newer Tidegate (shape {NEWER}, this version knows {HEAD})")
    assert await present(town.database) == 0
    refused = await ran(town, "migrate")
    assert (refused.child.returncode, "newer Tidegate" in refused.text()) == (2, True)
    assert "Traceback" not in refused.text()
    assert await shape(town.database) == NEWER
    for role in started[1:]:
        role.ask_to_end()
        assert await role.ended(within=20) == 0
    await now_is(town, HEAD)
    await town.all_work(started[:1] + [await town.start(name) for name in ("scheduler", "worker")])


async def now_is(town: Town, revision: str) -> None:
    async with town.database.write() as connection:
        await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


@pytest.mark.soak
@GIVEN
async def test_a_release_is_rolled_out_while_the_one_before_works(town: Town, next_release: Path) -> None:
    assert (await ran(town, "migrate")).child.returncode == 0
    await town.start_all("api", "scheduler", "worker", "worker")
    old = [*town.roles[1:]]
    (connection_id,) = await town.connections(["TIDE"], 120)
    town.jira.hold(after=2)
    sync_id = await town.sync(connection_id)
    await town.stands_at(sync_id, 2)
    # First the migration, while all of the old ones work.
    new = {"PYTHONPATH": str(next_release)}
    migrated = await ran(town, "migrate", **new)
    assert (migrated.child.returncode, await shape(town.database)) == (0, NEWER)
    town.jira.let_go(1)
    await town.stands_at(sync_id, 3)
    await told_of_the_newer(town, old)
    assert (await ready(town))[0] == 200
    # An old one that is started again waits, and takes nothing.
    again = await town.start("worker")
    await waits(town, [again])
    again.ask_to_end()
    assert await again.ended(within=20) == 0
    # Then the processes, one after the other.
    for role in old:
        role.ask_to_end()
        town.jira.let_go(1)
        assert await role.ended() == 0
        await town.all_work([await town.start(role.name, **new)])
    town.jira.open()
    await town.all_end(within=120)
    assert (await town.one(sync_id))["counters"]["issues"]["read"] == 120
    town.nobody_died()
    await truth.holds(town)


async def told_of_the_newer(town: Town, old: list[Role]) -> None:
    async def told() -> bool:
        return all(role.said("schema.newer") for role in old)

    await town.until(told, 30, "each old process says that the tables are newer")
    for role in old:
        (line,) = role.said("schema.newer")
        assert (line["there"], line["known"]) == (NEWER, HEAD)
