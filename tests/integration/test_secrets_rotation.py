"""Another secret key for the vault, with everything running: nothing is lost, and nothing stays behind."""

import ast
import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import MetaData, Text, insert, select, update
from sqlalchemy.engine import Connection

from config.secret import Secret
from config.settings import Settings, load, vault_keys
from config.vault import SEALED, Vault
from store import credentials, idempotency, instance, processes, sealed, subscriptions, tokens, webhooks
from store.database import Database, clock, now
from store.outgoing import subscriptions as subscriptions_table
from store.schema import connections as connections_table
from store.schema import credentials as credentials_table
from store.schema import idempotency as idempotency_table
from tests.tidegates import run, running, spawn
from tests.tree import ROOT, package_files
from tidegate import rotation
from tidegate.rotation import RotationError, rotate

OLD, NEW = Secret("the old key of the tests"), Secret("the new key of the tests")
TEXT = "a secret that is kept"


def given(keys: Sequence[Secret]) -> Settings:
    return Settings(data_dir=Path("/nowhere"), secret_key=Secret(",".join(key.reveal() for key in keys)))


async def start_with(database: Database, vault: Vault) -> None:
    async with database.write() as connection:
        await instance.settle(connection, instance.VAULT, vault.fingerprint)


async def fill(database: Database, vault: Vault, count: int = 1) -> None:
    """Something sealed in every column where that happens."""
    async with database.write() as connection:
        for number in range(count):
            plain = {"name": f"c{number}", "system": "jira", "kind": "pat", "options": {}}
            times = {"created_at": now(), "updated_at": now()}
            made = await credentials.add(connection, plain, await clock(connection))
            news = {
                "secret": vault.seal(TEXT, credentials.place(made)),
                "token": vault.seal(TEXT, tokens.place(made)),
            }
            await credentials.change(connection, made, news)
            row: dict[str, object] = {
                "name": "c",
                "system": "jira",
                "frequency": "hourly",
                "timezone": "UTC",
                "params": {},
            }
            row |= {"enabled": True, "callback_token": f"t{number}", "health": "pending", "since": now()}
            query = insert(connections_table).values({**row, **times}).returning(connections_table.c.id)
            one = (await connection.execute(query)).scalar_one()
            hook = vault.seal(TEXT, webhooks.place_of_secret(one))
            await connection.execute(
                update(connections_table).where(connections_table.c.id == one).values(webhook_secret=hook)
            )
            query = (
                insert(subscriptions_table)
                .values(name="s", url="https://hooks.example", enabled=True, position=0, **times)
                .returning(subscriptions_table.c.id)
            )
            one = (await connection.execute(query)).scalar_one()
            both = {
                "secret": vault.seal(TEXT, subscriptions.place(one)),
                "old_secret": vault.seal(TEXT, subscriptions.old_place(one)),
            }
            await subscriptions.change(connection, one, both)
            at = idempotency.place("me", str(number))
            answer = {"request": vault.seal(TEXT, at), "body": vault.seal(TEXT, at), "status": 201}
            await connection.execute(
                insert(idempotency_table).values(caller="me", key=str(number), at=now(), **answer)
            )


async def all_sealed(database: Database) -> dict[str, list[str]]:
    """Every text of every table that looks as if the vault sealed it, by column: the tables as they are."""

    def look(connection: Connection) -> dict[str, list[str]]:
        tables = MetaData(schema=None if database.is_sqlite else database.schema)
        tables.reflect(connection)
        found: dict[str, list[str]] = {}
        for table in tables.tables.values():
            for column in table.columns:
                if isinstance(column.type, Text) or str(column.type).startswith("VARCHAR"):
                    for value in connection.execute(select(column)).scalars():
                        if isinstance(value, str) and SEALED.fullmatch(value):
                            found.setdefault(f"{table.name}.{column.name}", []).append(value)
        return found

    async with database.read() as connection:
        return await connection.run_sync(look)


def test_every_place_in_the_code_that_seals_for_the_database_is_known_to_the_rotation() -> None:
    sealing = {
        str(path.relative_to(ROOT))
        for path in package_files()
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "seal"
    }
    # Whoever seals in one more module adds the column to `store/sealed.py`, and then the module here.
    assert sealing <= {
        "api/credentials.py",
        "api/edits.py",
        "api/idempotency.py",
        "api/subscribing.py",
        "store/sealed.py",
        "tidegate/standalone.py",  # a database of one command
        "worker/registrar.py",
        "worker/tokens.py",
        # These keep it in a cookie, or for a moment in memory.
        "api/dialects/issue_tracker_trials.py",
        "api/ui/session.py",
        "bench/product.py",
    }


async def test_whatever_was_sealed_is_sealed_with_the_new_key_and_still_opens(database: Database) -> None:
    old, both = Vault([OLD]), Vault([NEW, OLD])
    await start_with(database, old)
    await fill(database, old, 3)
    before = await all_sealed(database)
    assert {*before} == {each.name for each in sealed.SEALED}
    done = await rotate(given([NEW, OLD]), database, both)
    after = await all_sealed(database)
    assert {name: len(texts) for name, texts in after.items()} == dict.fromkeys(before, 3)
    new = Vault([NEW])
    assert not any(new.needs_rotation(text) for texts in after.values() for text in texts)
    assert (done.count, done.unreadable) == (3 * len(before), [])
    async with database.read() as connection:
        assert await instance.get(connection, instance.VAULT) == new.fingerprint
        for each in sealed.SEALED:
            for row in await connection.execute(select(*each.key, each.column)):
                assert new.open(row[-1], each.place(*row[:-1])) == TEXT


async def test_nothing_changes_while_a_running_process_lacks_the_new_key(database: Database) -> None:
    old = Vault([OLD])
    await start_with(database, old)
    await fill(database, old)
    async with database.write() as connection:
        await processes.beat(connection, "one", ["worker"], "here", 7, old.key_ids[0])
    before = await all_sealed(database)
    with pytest.raises(RotationError, match=r"do not have the new key: worker on here \(pid 7\)"):
        await rotate(given([NEW, OLD]), database, Vault([NEW, OLD]), patience=0)
    assert await all_sealed(database) == before
    async with database.read() as connection:
        assert await instance.get(connection, instance.VAULT) == old.fingerprint


async def test_a_rotation_is_not_over_while_a_running_process_seals_with_the_old_key(
    database: Database,
) -> None:
    old, both = Vault([OLD]), Vault([NEW, OLD])
    await start_with(database, old)
    await fill(database, old)
    new_id, _ = both.newest
    async with database.write() as connection:
        await processes.beat(connection, "one", ["worker"], "here", 7, f"{old.key_ids[0]},{new_id}")
    with pytest.raises(RotationError, match="do not use the new key yet"):
        await rotate(given([NEW, OLD]), database, both, patience=0)
    async with database.write() as connection:
        again = old.seal(TEXT, credentials.place(1))
        await credentials.change(connection, 1, {"secret": again})
        await processes.beat(connection, "one", ["worker"], "here", 7, f"{new_id},{old.key_ids[0]}")
    done = await rotate(given([NEW, OLD]), database, both)
    assert done.count == 1
    assert (await rotation.state(database, both)).left == 0


async def test_without_a_newer_key_the_operator_is_told_how_to_give_one(database: Database) -> None:
    vault = Vault([OLD])
    await start_with(database, vault)
    with pytest.raises(RotationError, match="Set TIDEGATE_SECRET_KEY to the new one, a comma and"):
        await rotate(given([OLD]), database, vault)


async def test_what_no_key_opens_is_named_and_left_as_it_is(database: Database) -> None:
    old, stranger = Vault([OLD]), Vault([Secret("a key that was lost long ago")])
    await start_with(database, old)
    await fill(database, old)
    foreign = stranger.seal(TEXT, credentials.place(1))
    async with database.write() as connection:
        await credentials.change(connection, 1, {"secret": foreign})
    done = await rotate(given([NEW, OLD]), database, Vault([NEW, OLD]))
    assert done.unreadable == [credentials.place(1)]
    async with database.read() as connection:
        assert await credentials.sealed(connection, 1) == foreign


@pytest.mark.timeout(180)
async def test_a_rotation_killed_again_and_again_comes_to_its_end_while_everything_runs(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    dice = random.Random(5)
    count = 400
    async with running(home) as up:
        await up.ready()
        for number in range(count):
            body = {"name": f"c{number}", "system": "jira", "kind": "pat", "secret": f"{TEXT} {number}"}
            await up.call("POST", "/v1/credentials", body)
        before = (home / "secret.key").read_text()
        for _ in range(8):
            process = await spawn(home, "secrets", "rotate")
            # From before its first step to after its last one.
            await asyncio.sleep(dice.uniform(0.5, 7.0))
            if process.returncode is None:
                process.kill()
            await process.communicate()
        done = await run(home, "secrets", "rotate")
        assert done.code == 0, done.err
        made = await up.call(
            "POST", "/v1/credentials", {"name": "x", "system": "jira", "kind": "pat", "secret": TEXT}
        )
        forgotten = await run(home, "secrets", "forget")
        assert forgotten.code == 0, forgotten.err
    after = (home / "secret.key").read_text()
    assert after.strip() != before.strip()
    assert "," not in after
    vault = Vault(vault_keys(load({"TIDEGATE_DATA_DIR": str(home)})))
    database = Database(f"sqlite+aiosqlite:///{home}/tidegate.db")
    try:
        async with database.read() as connection:
            rows = (
                await connection.execute(select(credentials_table.c.id, credentials_table.c.secret))
            ).all()
        opened = {vault.open(text, credentials.place(one)) for one, text in rows}
        assert opened == {f"{TEXT} {number}" for number in range(count)} | {TEXT}
        assert made["has_secret"]
    finally:
        await database.close()
