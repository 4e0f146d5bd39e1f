"""Backups: made in the middle of work, put into an empty database of either kind, and gone on with."""

import asyncio
import os
import sqlite3
import stat
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import Text, cast, select, text

from config.logs import Redactor
from config.secret import Secret
from config.settings import Settings, SettingsError
from store import dump, outbox
from store.database import Database, to_text
from store.outbox import RELAY
from store.schema import ENDED, credentials, duties, processes, syncs
from store.schema import outbox as outbox_table
from tests.conftest import POSTGRES
from tests.databases import drop_schema
from tests.house import ADAPTERS, House, open_house
from tests.tidegates import run, running
from tidegate import backup
from tidegate.backup import BackupError
from tidegate.compose import Ground
from tidegate.demo.remotes.jira import JiraCloud

KEY = Secret("a key that only tests use")
#: What a restore sets anew, by table.
SET_ANEW = {
    "duties": {"owner", "lease_until", "counter"},
    "syncs": {"lease_owner", "lease_until"},
    "connections": {"change_sequence"},
}


@asynccontextmanager
async def target(kind: str, folder: Path) -> AsyncIterator[tuple[Settings, Database]]:
    """The settings of an installation whose database does not exist yet, and a way to look at it."""
    home = folder / "other"
    if kind == "sqlite":
        home.mkdir()
        # Given as a setting: an embedded database has its key in its folder.
        settings = Settings(data_dir=home, secret_key=KEY)
        database = Database(settings.async_database_url.reveal())
        yield settings, database
        await database.close()
        return
    schema = f"t_{uuid4().hex}"
    url = Secret(os.environ[POSTGRES])
    settings = Settings(data_dir=home, secret_key=KEY, database_url=url, database_schema=schema)
    database = Database(settings.async_database_url.reveal(), schema)
    yield settings, database
    await drop_schema(database, schema)
    await database.close()


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], ids=["to_sqlite", "to_postgres"]
)
async def other(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Settings, Database]]:
    async with target(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud(latency=0.02) as remote:
        remote.add_account("ana@example.com", "token-1")
        remote.add_project("TG")
        yield remote


async def connect(house: House, site: JiraCloud) -> int:
    credential = await house.credential("jira", "basic", "ana@example.com", "token-1")
    number = site.add_filter("project = TG")
    made = await house.connection("jira", f"{site.url}/issues/?filter={number}", credential)
    return made.id


def ground(house: House, tmp_path: Path) -> Ground:
    settings = Settings(data_dir=tmp_path)
    return Ground(settings, Redactor(), ADAPTERS, house.database, house.deps.tables, house.vault)


def _plain(value: Any) -> Any:
    """Times to a millisecond, as SQLite keeps them."""
    return to_text(value) if isinstance(value, datetime) else value


async def contents(house: House) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, as they are written to a backup."""
    found = {}
    async with dump.moment(house.database) as connection:
        for table in dump.tables_of(house.deps.tables):
            names = [c.name for c in table.columns if c.name not in SET_ANEW.get(table.name, ())]
            rows = [row async for batch in dump.rows(connection, table) for row in batch]
            columns = [c.name for c in table.columns]
            found[table.name] = [
                {k: _plain(v) for k, v in zip(columns, row, strict=True) if k in names} for row in rows
            ]
    return found


async def test_what_is_restored_is_what_was_there(
    house: House, site: JiraCloud, other: tuple[Settings, Database], tmp_path: Path
) -> None:
    issues = site.seed(730)
    connection_id = await connect(house, site)
    await house.sync(connection_id)
    site.delete_issue(issues[3].id)
    site.update_issue(issues[4].id, summary="With a quote ', a \\ and an emoji \U0001f600")
    await house.sync(connection_id)
    before = await contents(house)
    made = await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    settings, restored = other
    manifest = await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    assert manifest == made.manifest
    async with open_house(restored) as again:
        assert await contents(again) == before
        sync = await again.sync(connection_id)
        assert (sync.state, sync.counters["issues"].new) == ("succeeded", 0)
        names = [row["summary"] for row in await again.rows("jira", "issues")]
        assert "With a quote ', a \\ and an emoji \U0001f600" in names


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_backup_in_the_middle_of_a_sync_is_gone_on_with_and_nothing_is_lost_or_doubled(
    house: House, site: JiraCloud, other: tuple[Settings, Database], tmp_path: Path, seed: int
) -> None:
    site.seed(1500)
    connection_id = await connect(house, site)
    opened = await house.open(connection_id)
    working = asyncio.create_task(house.until_ended(opened.id))
    # Some moment between the first page and the last.
    pages = Random(seed).randint(1, 12)
    while (await house.status(opened.id)).pages < pages:  # noqa: ASYNC110 - a page sets no event of ours
        await asyncio.sleep(0.005)
    await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    assert (await working).state == "succeeded"
    site.update_issue(next(iter(site.issues)), summary="changed after the backup")
    settings, restored = other
    await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    async with open_house(restored) as again:
        status = await again.status(opened.id)
        assert status.finished_at is None
        assert len(await again.keys("jira", "issues")) < 1500
        ended = await again.until_ended(opened.id)
        assert (ended.state, ended.pages >= 15) == ("succeeded", True)
        await again.sync(connection_id)
        await the_copy_is_right(again, site)
        await events_are_right(again, connection_id)


async def the_copy_is_right(house: House, site: JiraCloud) -> None:
    """Every issue once, byte for byte."""
    table = house.deps.tables.get("jira", "issues").table
    async with house.database.read() as connection:
        rows = (await connection.execute(select(table.c.key, cast(table.c.body, Text)))).all()
    assert sorted(key for key, _ in rows) == sorted(str(one) for one in site.issues)
    summaries = {key: msgspec.json.decode(body)["fields"]["summary"] for key, body in rows}
    assert summaries == {str(one.id): one.summary for one in site.issues.values()}


async def events_are_right(house: House, connection_id: int) -> None:
    """No gap in the numbers, and one end of each sync."""
    told = await house.events(connection_id)
    assert [sequence for sequence, _, _ in told] == list(range(1, len(told) + 1))
    ends = [data["id"] for _, _, data in told if data.get("state") in ENDED]
    assert len(ends) == len({*ends})


async def test_numbers_that_others_know_are_not_given_again(
    house: House, site: JiraCloud, other: tuple[Settings, Database], tmp_path: Path
) -> None:
    """After the backup the old database went on: what it told must not be told of something else."""
    issues = site.seed(40)
    connection_id = await connect(house, site)
    await house.sync(connection_id)
    await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    for issue in issues:
        site.update_issue(issue.id, summary="after")
    await house.sync(connection_id)
    await publish(house.database)
    old_change = max(row["change"] for row in await house.rows("jira", "issues"))
    old_position = await last_position(house.database)
    settings, restored = other
    await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    async with open_house(restored) as again:
        await again.sync(connection_id)
        await publish(restored)
        changes = [row["change"] for row in await again.rows("jira", "issues")]
        assert min(changes) > old_change
        async with restored.read() as connection:
            positions = (await connection.execute(select(outbox_table.c.position))).scalars().all()
        assert min(positions) > old_position
        made = await again.credential("jira", "pat", None, "x")
        assert made == 2


async def publish(database: Database) -> None:
    async with database.write() as connection:
        fence = await outbox.take_duty(connection, RELAY, "test", 3600)
        assert fence is not None
        while await outbox.give_positions(connection, fence):
            pass


async def last_position(database: Database) -> int:
    async with database.read() as connection:
        return await outbox.last_position(connection)


async def test_an_id_of_something_removed_is_not_given_again(
    house: House, other: tuple[Settings, Database], tmp_path: Path
) -> None:
    made = [await house.credential("jira", "pat", None, "x") for _ in range(3)]
    async with house.database.write() as connection:
        await connection.execute(credentials.delete().where(credentials.c.id == made[-1]))
    await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    settings, restored = other
    await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    async with open_house(restored) as again:
        assert await again.credential("jira", "pat", None, "x") == made[-1] + 1


async def test_nobody_holds_anything_after_a_restore(
    house: House, site: JiraCloud, other: tuple[Settings, Database], tmp_path: Path
) -> None:
    opened = await house.open(await connect(house, site))
    async with house.database.write() as connection:
        lease = {"lease_owner": "dead", "lease_until": text("'2999-01-01T00:00:00.000Z'")}
        await connection.execute(syncs.update().values(state="running", **lease))
        await outbox.take_duty(connection, RELAY, "dead", 3600)
    await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    settings, restored = other
    await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    async with open_house(restored) as again:
        assert (await again.until_ended(opened.id)).state == "succeeded"
        async with restored.read() as connection:
            owners = (await connection.execute(select(duties.c.owner))).scalars().all()
            assert {*owners} == {None}
            assert (await connection.execute(select(processes))).first() is None


async def test_a_database_with_anything_in_it_is_not_touched(house: House, tmp_path: Path) -> None:
    await house.credential("jira", "pat", None, "x")
    made = await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    async with target("sqlite", tmp_path) as (settings, _):
        await backup.restore(settings, Redactor(), tmp_path / "b.zip")
        with pytest.raises(
            BackupError, match="this database is not empty, there is something in credentials"
        ):
            await backup.restore(settings, Redactor(), tmp_path / "b.zip")
    assert made.manifest.tables["credentials"].rows == 1


async def test_without_the_key_of_the_secrets_nothing_is_restored(house: House, tmp_path: Path) -> None:
    await house.credential("jira", "pat", None, "x")
    await backup.make(ground(house, tmp_path), tmp_path / "b.zip")
    home = tmp_path / "embedded"
    home.mkdir()
    with pytest.raises(SettingsError, match=r"DATA_DIR/secret\.key: the secrets in this backup"):
        await backup.restore(Settings(data_dir=home), Redactor(), tmp_path / "b.zip")
    assert [*home.iterdir()] == []
    (home / "secret.key").write_text(KEY.reveal())
    assert (await backup.restore(Settings(data_dir=home), Redactor(), tmp_path / "b.zip")).rows > 0


@pytest.mark.parametrize("damage", ["cut", "bit", "row", "text"])
async def test_a_damaged_backup_changes_nothing(house: House, tmp_path: Path, damage: str) -> None:
    for number in range(40):
        await house.credential("jira", "pat", None, f"x{number}")
    path = tmp_path / "b.zip"
    await backup.make(ground(house, tmp_path), path)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) * 2 // 3])
    elif damage == "text":
        path.write_text("not a backup")
    elif damage == "bit":
        at = whole.index(b"credentials.ndjson") + 200
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    else:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "c.zip", "w") as new:
            for name in old.namelist():
                content = old.read(name)
                new.writestr(name, content[: content.rindex(b"[")] if "credentials" in name else content)
        path = tmp_path / "c.zip"
    async with target("sqlite", tmp_path) as (settings, restored):
        with pytest.raises(BackupError):
            await backup.restore(settings, Redactor(), path)
        if damage in ("bit", "row"):
            async with restored.read() as connection:
                assert (await connection.execute(select(credentials))).first() is None


async def test_a_backup_is_for_its_owner_alone_and_holds_no_secret_in_clear(
    house: House, tmp_path: Path
) -> None:
    await house.credential("jira", "pat", None, "canary-4f0a2c")
    path = tmp_path / "b.zip"
    await backup.make(ground(house, tmp_path), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as file:
        everything = b"".join(file.read(name) for name in file.namelist())
    assert b"credentials" in everything
    assert b"canary-4f0a2c" not in everything
    assert KEY.reveal().encode() not in everything


@pytest.mark.timeout(180)
async def test_the_commands_back_up_what_runs_and_another_installation_goes_on(
    site: JiraCloud, tmp_path: Path
) -> None:
    site.seed(3000)
    home, later = tmp_path / "home", tmp_path / "later"
    async with running(home) as up:
        await up.ready()
        credential = {"name": "c", "system": "jira", "kind": "basic", "username": "ana@example.com"}
        made = await up.call("POST", "/v1/credentials", {**credential, "secret": "token-1"})
        url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
        body = {"name": "team", "system": "jira", "url": url, "credential_id": made["id"]}
        connection = await up.call("POST", "/v1/connections", {**body, "frequency": "hourly"})
        async with asyncio.timeout(60):
            while len(site.requests("/search/jql")) < 6:  # noqa: ASYNC110 - a request sets no event of ours
                await asyncio.sleep(0.02)
        done = await run(home, "backup", str(tmp_path / "b.zip"))
        assert done.code == 0, done.err
        assert "keep a copy of DATA_DIR/secret.key" in done.err
        await up.kill()
    later.mkdir()
    (later / "secret.key").write_bytes((home / "secret.key").read_bytes())
    done = await run(later, "restore", str(tmp_path / "b.zip"))
    assert done.code == 0, done.err
    async with running(later) as up:
        await up.ready()
        async with asyncio.timeout(60):
            health = "pending"
            while health != "healthy":
                await asyncio.sleep(0.1)
                health = (await up.call("GET", f"/v1/connections/{connection['id']}"))["health"]
        syncs_of = await up.call("GET", f"/v1/connections/{connection['id']}/syncs")
        assert [sync["state"] for sync in syncs_of["syncs"]] == ["succeeded"]
    with sqlite3.connect(later / "tidegate.db") as file:
        keys = [row[0] for row in file.execute("SELECT key FROM jira_issues")]
    assert sorted(keys) == sorted(str(one) for one in site.issues)
