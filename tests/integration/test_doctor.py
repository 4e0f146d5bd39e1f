"""The examination of an installation: what is well, what is not, and that nothing is changed by looking."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import column, update
from sqlalchemy import table as plain_table

from config.logs import Redactor
from config.secret import Secret
from config.vault import Vault
from store import instance, processes
from store.database import Database, now
from store.health import Problem
from store.migrate import migrate
from store.schema import connections as connections_table
from store.schema import outbox
from store.schema import syncs as syncs_table
from store.streams import StreamTables
from tests.api_server import serving_api
from tests.shelf import Shelf
from tests.valkey import Valkey
from tidegate.doctor import Finding, examine
from worker.queue import connect

KEY = "the key of these tests"


class Place:
    """An installation: a data folder, a database, and the settings that name them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        folder.mkdir(mode=0o700)
        self.environ: dict[str, str] = {"TIDEGATE_DATA_DIR": str(folder), "TIDEGATE_SECRET_KEY": KEY}
        if database.is_sqlite:
            self.environ["TIDEGATE_DATABASE_URL"] = f"sqlite:///{database.engine.url.database}"
        else:
            self.environ["TIDEGATE_DATABASE_URL"] = os.environ["TIDEGATE_TEST_POSTGRES"]
            self.environ["TIDEGATE_DATABASE_SCHEMA"] = database.schema

    async def look(self, **more: str) -> Mapping[str, Finding]:
        return {one.what: one for one in await examine({**self.environ, **more}, Redactor())}


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> Place:
    async with database.write() as connection:
        await instance.settle(connection, instance.VAULT, Vault([Secret(KEY)]).fingerprint)
    return Place(tmp_path / "data", database)


def states(found: Mapping[str, Finding], state: str) -> set[str]:
    return {what for what, one in found.items() if one.state == state}


async def seen(place: Place, *roles: str) -> None:
    async with place.database.write() as connection:
        await processes.beat(connection, "me", roles, "here", 1)


async def test_all_is_well_where_everything_runs(place: Place, valkey: Valkey) -> None:
    await seen(place, "api", "scheduler", "relay", "worker")
    (place.folder / "admin.key").write_text("k")
    (place.folder / "admin.key").chmod(0o600)
    found = await place.look(TIDEGATE_REDIS_URL=valkey.url, TIDEGATE_ALLOW_NETWORKS="10.1.0.0/16")
    assert states(found, "fail") == set()
    assert states(found, "warn") <= {"redis persistence"}
    assert {"settings file", "data folder", "disk", "admin.key", "networks", "database", "clock", "schema",
            "secret key", "redis", "redis memory", "redis persistence", "processes", "queue", "events",
            "connections"} <= set(found)  # fmt: skip


async def test_every_line_that_is_not_ok_says_what_to_do(place: Place) -> None:
    found = await place.look(TIDEGATE_REDIS_URL="redis://:hidden-word@127.0.0.1:1/0")
    assert states(found, "fail") == {"redis"}
    assert [one for one in found.values() if one.state != "ok" and not one.advice] == []
    assert "hidden-word" not in str(found)


async def test_settings_that_are_wrong_are_named(tmp_path: Path) -> None:
    found = await examine({"TIDEGATE_DATA_DIR": str(tmp_path), "TIDEGATE_PRT": "1"}, Redactor())
    assert [(one.state, one.what) for one in found] == [("ok", "settings file"), ("fail", "settings")]
    assert "TIDEGATE_PORT" in found[1].message


async def test_a_place_where_nothing_was_started_yet_is_left_as_it_is(tmp_path: Path) -> None:
    found = await examine({"TIDEGATE_DATA_DIR": str(tmp_path / "new")}, Redactor())
    assert {one.state for one in found} == {"ok", "warn"}
    assert os.listdir(tmp_path) == []


async def test_keys_and_folders_that_others_may_read_are_told(place: Place) -> None:
    key = place.folder / "admin.key"
    key.write_text("k")
    key.chmod(0o644)
    place.folder.chmod(0o755)
    file = place.folder / "settings.toml"
    file.write_text('secret_key = "in clear for all"\n')
    file.chmod(0o644)
    del place.environ["TIDEGATE_SECRET_KEY"]
    found = await place.look(TIDEGATE_CONFIG=str(file))
    assert (found["admin.key"].state, found["admin.key"].advice) == ("fail", f"chmod 600 {key}")
    assert (found["data folder"].state, found["settings file"].state) == ("warn", "warn")


async def test_a_network_that_is_wider_than_any_private_one_is_told(place: Place) -> None:
    assert (await place.look(TIDEGATE_ALLOW_NETWORKS="0.0.0.0/0"))["networks"].state == "warn"
    assert (await place.look(TIDEGATE_ALLOW_NETWORKS="10.0.0.0/8,fd00::/8"))["networks"].state == "warn"
    assert (await place.look(TIDEGATE_ALLOW_NETWORKS="10.0.0.0/8,fd12::/16"))["networks"].state == "ok"


async def test_another_secret_key_is_told(place: Place) -> None:
    assert (await place.look())["secret key"].state == "ok"
    found = await place.look(TIDEGATE_SECRET_KEY="quite another key than before")
    assert found["secret key"].state == "fail"
    both = await place.look(TIDEGATE_SECRET_KEY=f"quite another key than before,{KEY}")
    assert both["secret key"].state == "ok"


async def test_a_database_of_another_shape_is_told(place: Place) -> None:
    versions = plain_table("alembic_version", column("version_num"))
    for version, said in (("0001", "tidegate migrate"), ("9999", "newer version")):
        async with place.database.write() as connection:
            await connection.execute(update(versions).values(version_num=version))
        found = await place.look()
        assert (found["schema"].state, said in found["schema"].advice) == ("fail", True)
        assert "processes" not in found


async def test_a_database_without_tables_is_told(empty_database: Database, tmp_path: Path) -> None:
    async with empty_database.write() as connection:
        await connection.exec_driver_sql("SELECT 1")
    place = Place(tmp_path / "data", empty_database)
    found = await place.look()
    assert (found["schema"].state, "tidegate migrate" in found["schema"].advice) == ("warn", True)
    await migrate(empty_database, StreamTables([Shelf]))
    assert (await place.look())["schema"].state == "ok"


async def test_a_database_that_does_not_let_us_in_is_told_without_the_password(place: Place) -> None:
    given = ["postgresql://a:wrong-password@127.0.0.1:1/none"]
    if not place.database.is_sqlite:
        parts = urlsplit(place.environ["TIDEGATE_DATABASE_URL"])
        stranger = f"stranger:wrong-password@{parts.hostname}:{parts.port or 5432}"
        given.append(urlunsplit(parts._replace(netloc=stranger)))
    for url in given:
        found = await place.look(TIDEGATE_DATABASE_URL=url)
        assert found["database"].state == "fail"
        assert "wrong-password" not in str(found)


async def test_a_redis_that_drops_keys_is_told(place: Place, valkey: Valkey) -> None:
    redis = connect(valkey.url)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    await redis.config_set("save", "")
    found = await place.look(TIDEGATE_REDIS_URL=valkey.url)
    assert (found["redis memory"].state, found["redis persistence"].state) == ("fail", "warn")
    await redis.config_set("save", "60 1")
    assert (await place.look(TIDEGATE_REDIS_URL=valkey.url))["redis persistence"].state == "ok"
    await redis.aclose()


async def test_a_role_that_is_missing_is_told(place: Place) -> None:
    assert (await place.look())["processes"].state == "warn"
    await seen(place, "api", "scheduler")
    found = (await place.look())["processes"]
    assert (found.state, "tidegate worker" in found.advice) == ("fail", True)


async def test_syncs_that_wait_too_long_are_told(place: Place) -> None:
    async with serving_api(place.database) as api:
        made = await api.shelf()
        sync = await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
        for seconds, state in ((0, "ok"), (120, "warn"), (3600, "fail")):
            async with place.database.write() as connection:
                mine = update(syncs_table).where(syncs_table.c.id == sync["id"])
                await connection.execute(mine.values(run_at=now(-seconds)))
            found = (await place.look())["queue"]
            assert found.state == state
            assert f"sync {sync['id']}" in found.message


async def test_events_that_nobody_publishes_are_told(place: Place) -> None:
    async with serving_api(place.database) as api:
        made = await api.shelf()
        await api.post(f"/v1/connections/{made['id']}/sync", {}, 202)
    assert (await place.look())["events"].state == "ok"
    async with place.database.write() as connection:
        await connection.execute(update(outbox).values(at=await place.database.time() - timedelta(minutes=5)))
    found = (await place.look())["events"]
    assert (found.state, "relay" in found.advice) == ("warn", True)


async def test_a_connection_that_needs_a_person_is_told_with_its_cause_and_hint(place: Place) -> None:
    async with serving_api(place.database) as api:
        made = [await api.shelf(name=f"shelf {i}") for i in range(4)]
    problem = Problem("auth", "The librarian does not know you.", "Give the right card.")
    c = connections_table.c
    news: list[dict[str, object]] = [
        {"health": "failed", "cause": "auth", "failure": problem},
        {"health": "partial", "cause": "forbidden", "partial": problem},
        {"health": "stale"},
        {"health": "failed", "cause": "auth", "failure": problem, "enabled": False},
    ]
    async with place.database.write() as connection:
        for one, values in zip(made, news, strict=True):
            await connection.execute(update(connections_table).where(c.id == one["id"]).values(values))
    found = {what: one for what, one in (await place.look()).items() if what.startswith("connection")}
    assert {what: one.state for what, one in found.items()} == {
        f"connection {made[0]['id']}": "fail",
        f"connection {made[1]['id']}": "warn",
        f"connection {made[2]['id']}": "warn",
    }
    first = found[f"connection {made[0]['id']}"]
    assert "shelf 0" in first.message
    assert "The librarian does not know you." in first.message
    assert first.advice == "Give the right card."
