"""What the examination finds behind the first answer: clocks, servers, secrets, remotes, webhooks."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Table, event, insert, text, update
from sqlalchemy.engine import Connection

from adapters.http import utc_now
from config.logs import Redactor
from config.secret import Secret
from config.vault import Vault
from store import credentials, instance, sealed
from store.database import Database
from store.outgoing import subscriptions
from store.schema import connections, quarantine
from tests.api_server import Api, serving_api
from tests.integration.test_doctor import KEY, Place, states
from tests.valkey import Valkey
from tidegate.demo.remotes.jira import JiraCloud
from tidegate.doctor import examine
from tidegate.doctor.server import connections_left, writable
from worker.queue import connect

OTHER = "another key of these tests"


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> Place:
    async with database.write() as connection:
        await instance.settle(connection, instance.VAULT, Vault([Secret(KEY)]).fingerprint)
    return Place(tmp_path / "data", database)


@pytest.fixture
async def api(place: Place) -> AsyncIterator[Api]:
    async with serving_api(place.database) as served:
        yield served


async def put(place: Place, table: Table, number: int, **values: object) -> None:
    async with place.database.write() as connection:
        await connection.execute(update(table).where(table.c.id == number).values(values))


async def pointed(place: Place, api: Api, *urls: str) -> None:
    """A connection to each of these servers."""
    for n, url in enumerate(urls):
        made = await api.shelf(name=f"to {n}")
        await put(place, connections, made["id"], canonical=url)


@pytest.mark.parametrize(("hours", "word"), [(2, "behind"), (-2, "ahead of")])
async def test_a_clock_that_is_off_is_told_with_the_difference(
    place: Place, valkey: Valkey, hours: int, word: str
) -> None:
    environ = {**place.environ, "TIDEGATE_REDIS_URL": valkey.url}
    found = {
        one.what: one
        for one in await examine(environ, Redactor(), lambda: utc_now() + timedelta(hours=hours))
    }
    for what in ("clock", "redis clock"):
        assert found[what].state == "warn"
        assert word in found[what].message
        assert "7200 s" in found[what].message or "7199 s" in found[what].message
    well = await place.look(TIDEGATE_REDIS_URL=valkey.url)
    assert (well["clock"].state, well["redis clock"].state) == ("ok", "ok")


async def test_a_redis_that_is_nearly_full_is_told(place: Place, valkey: Valkey) -> None:
    redis = connect(valkey.url)
    used = int((await redis.info("memory"))["used_memory"])
    for part, state in ((0.5, "fail"), (0.85, "warn"), (0.1, "ok")):
        # A limit below what is used stands for a memory that is full.
        await redis.config_set("maxmemory", int(used / part) if part != 0.5 else used)
        assert (await place.look(TIDEGATE_REDIS_URL=valkey.url))["redis room"].state == state
    await redis.aclose()


def test_a_database_with_hardly_a_connection_left_is_told() -> None:
    found = [connections_left(97, used) for used in (10, 90, 96)]
    assert [one.state for one in found] == ["ok", "warn", "fail"]
    assert "7 of 97" in found[1].message


async def test_the_database_takes_writes_and_is_sound(place: Place) -> None:
    found = await place.look()
    assert found["database writes"].state == "ok"
    more = "database integrity" if place.database.is_sqlite else "database connections"
    assert found[more].state == "ok"


async def test_a_database_that_is_read_only_is_told(place: Place) -> None:
    if place.database.is_sqlite:
        # Somebody else writes, and does not end.
        async with place.database.write() as connection:
            await connection.execute(text("SELECT 1"))
            told = await place.look()
        assert told["database writes"].state == "fail"
        return
    standby = Database(place.database.engine.url.render_as_string(hide_password=False), place.database.schema)

    @event.listens_for(standby.engine.sync_engine, "begin")
    def only_read(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    found = await writable(standby)
    await standby.close()
    assert found.state == "fail"


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-300_000, os.SEEK_END)
        file.write(os.urandom(100_000))


async def test_a_damaged_file_is_told(place: Place) -> None:
    if not place.database.is_sqlite:
        return
    path = Path(str(place.database.engine.url.database))
    async with place.database.write() as connection:
        await connection.execute(text("CREATE TABLE filler (a TEXT)"))
        await connection.execute(
            text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
                 "INSERT INTO filler SELECT hex(randomblob(200)) FROM n")
        )  # fmt: skip
    await place.database.close()
    damage(path)
    found = await place.look()
    assert found["database integrity"].state == "fail"
    assert "backup" in found["database integrity"].advice


async def stored(place: Place, *keys: str) -> None:
    """A credential sealed with each of these keys."""
    async with place.database.write() as connection:
        for key in keys:
            values = {"name": key, "system": "shelf", "kind": "basic", "username": "me"}
            made = await credentials.add(connection, values, utc_now())
            text_ = Vault([Secret(key)]).seal("the word", credentials.place(made))
            await credentials.change(connection, made, {"secret": text_})


async def test_stored_secrets_are_tried(place: Place) -> None:
    await stored(place, KEY, KEY)
    found = await place.look()
    assert (found["secrets"].state, "2" in found["secrets"].message) == ("ok", True)
    await stored(place, OTHER)
    found = await place.look()
    assert found["secrets"].state == "fail"
    assert "1 of 3" in found["secrets"].message
    assert "the word" not in str(found)


async def test_a_change_of_keys_that_was_not_ended_is_told(place: Place) -> None:
    await stored(place, KEY)
    begun = await place.look(TIDEGATE_SECRET_KEY=f"{OTHER},{KEY}")
    assert (begun["key rotation"].state, "not used yet" in begun["key rotation"].message) == ("warn", True)
    async with place.database.write() as connection:
        await instance.change(connection, instance.VAULT, Vault([Secret(OTHER)]).fingerprint)
    left = await place.look(TIDEGATE_SECRET_KEY=f"{OTHER},{KEY}")
    assert (left["key rotation"].state, "older key" in left["key rotation"].message) == ("warn", True)
    vault = Vault([Secret(OTHER), Secret(KEY)])
    await sealed.reseal(place.database, vault, lambda _: None)
    assert "key rotation" not in await place.look(TIDEGATE_SECRET_KEY=f"{OTHER},{KEY}")


@pytest.fixture
async def site() -> AsyncIterator[JiraCloud]:
    async with JiraCloud() as remote:
        yield remote


async def test_a_remote_that_cannot_be_reached_is_told_with_what_needs_it(
    place: Place, api: Api, site: JiraCloud
) -> None:
    await pointed(place, api, f"{site.url}/3", "http://127.0.0.1:1/3", "http://127.0.0.1:1/4")
    found = await place.look(TIDEGATE_ALLOW_NETWORKS="127.0.0.1/32")
    assert found["remotes"].message == "1 of 2 servers answer."
    away = found["remote http://127.0.0.1:1"]
    assert away.state == "warn"
    assert "to 1 and 1 more" in away.message
    assert f"remote {site.url}" not in found
    # Whoever looks shows nobody a credential.
    assert {(seen.path, seen.authorization) for seen in site.ledger} == {("/", None)}


async def test_remotes_are_asked_behind_the_address_guard(place: Place, api: Api, site: JiraCloud) -> None:
    await pointed(place, api, f"{site.url}/3")
    found = await place.look()
    assert found[f"remote {site.url}"].state == "fail"
    assert "TIDEGATE_ALLOW_NETWORKS" in found[f"remote {site.url}"].advice
    assert site.ledger == []


async def test_servers_that_never_answer_are_asked_side_by_side(place: Place, api: Api) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    servers = [await asyncio.start_server(silent, "127.0.0.1", 0) for _ in range(8)]
    urls = [f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}/3" for one in servers]
    await pointed(place, api, *urls)
    loop = asyncio.get_running_loop()
    began = loop.time()
    found = await place.look(TIDEGATE_ALLOW_NETWORKS="127.0.0.1/32")
    # One after the other they would take 40 s.
    assert loop.time() - began < 30
    assert found["remotes"].message == "0 of 8 servers answer."
    for one in servers:
        one.close()


async def test_a_webhook_that_has_fallen_silent_is_told(place: Place, api: Api) -> None:
    made = await api.shelf(name="quiet")
    await put(place, connections, made["id"], webhook_missed_at=utc_now(), last_webhook_at=utc_now())
    found = (await place.look())[f"webhook of connection {made['id']}"]
    assert (found.state, "quiet" in found.message, "Polling goes on" in found.advice) == ("warn", True, True)


async def test_subscriptions_in_trouble_are_told_but_not_those_switched_off_by_hand(
    place: Place, api: Api
) -> None:
    made = [
        await api.post("/v1/subscriptions", {"name": f"s{n}", "url": "https://hooks.example/"})
        for n in range(4)
    ]
    reason = {"kind": "gone", "message": "m"}
    await put(place, subscriptions, made[0]["id"], enabled=False, disabled_reason=reason)
    await put(place, subscriptions, made[1]["id"], failing_since=utc_now())
    await put(place, subscriptions, made[2]["id"], enabled=False)
    found = {what for what in states(await place.look(), "warn") if what.startswith("subscription")}
    assert found == {f"subscription {made[0]['id']}", f"subscription {made[1]['id']}"}


async def test_connections_that_missed_their_intervals_are_told(place: Place, api: Api) -> None:
    made = await api.shelf(name="late one", frequency="hourly")
    assert (await place.look())["staleness"].state == "ok"
    await put(place, connections, made["id"], last_success_at=utc_now() - timedelta(hours=5, minutes=1))
    found = (await place.look())["staleness"]
    assert (found.state, "late one" in found.message, "5 intervals" in found.message) == ("warn", True, True)


async def test_what_is_in_quarantine_is_told(place: Place, api: Api) -> None:
    made = await api.shelf(name="torn one")
    rows: Sequence[dict[str, object]] = [
        {"connection_id": made["id"], "stream": "books", "key": str(n), "reason": "r", "body": "b"}
        for n in range(3)
    ]
    async with place.database.write() as connection:
        for row in rows:
            await connection.execute(insert(quarantine).values({**row, "sync_id": 1, "at": utc_now()}))
    found = (await place.look())[f"quarantine of connection {made['id']}"]
    assert (found.state, found.message) == ("warn", "3 records of torn one could not be read.")
