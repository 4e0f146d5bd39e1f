"""Ten thousand secrets get another key while everything runs, and the change is killed again and again.

Their number is set by CHAOS_SECRETS.
"""

import asyncio
import os
import time
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import insert, select

from config.settings import load, vault_keys
from config.vault import Vault
from store import credentials
from store.database import Database, now
from store.schema import credentials as table
from tests.tidegates import Up, run, running, spawn

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(3600)]

SECRETS = int(os.environ.get("CHAOS_SECRETS", "10000"))
KILLS = 20
AT_ONCE = 500
#: Half of them are equal.
TEXTS = SECRETS // 2


def text_of(number: int) -> str:
    return f"a secret that is kept, {number % TEXTS}"


async def fill(database: Database, vault: Vault) -> None:
    """Credentials with the ids from 1 on, half of them with the secret of another."""
    for first in range(0, SECRETS, AT_ONCE):
        rows = [
            {
                "id": number + 1,
                "name": f"c{number}",
                "system": "jira",
                "kind": "pat",
                "options": {},
                "secret": vault.seal(text_of(number), credentials.place(number + 1)),
            }
            for number in range(first, min(first + AT_ONCE, SECRETS))
        ]
        async with database.write() as connection:
            query = insert(table).values(created_at=now(), updated_at=now())
            await connection.execute(query, rows)


async def killed(home: Path, random: Random, seconds: float) -> bool:
    """Begin a rotation and kill it at some moment; whether it was still at work."""
    process = await spawn(home, "secrets", "rotate")
    await asyncio.sleep(random.uniform(0.5, seconds))
    if at_work := process.returncode is None:
        process.kill()
    await process.communicate()
    return at_work


async def use(up: Up, stop: asyncio.Event) -> int:
    """Secrets are given and changed all the time; how many."""
    count = 0
    while not stop.is_set():
        body = {"name": "n", "system": "jira", "kind": "pat", "secret": "given meanwhile"}
        made = await up.call("POST", "/v1/credentials", body)
        await up.call("PATCH", f"/v1/credentials/{made['id']}", {"secret": "changed meanwhile"})
        count += 1
        await asyncio.sleep(0.1)
    return count


async def test_ten_thousand_secrets_are_rotated_however_often_that_is_killed(
    tmp_path: Path, seed: int, figures: list[str]
) -> None:
    random, home, stop = Random(seed), tmp_path / "home", asyncio.Event()
    database = Database(f"sqlite+aiosqlite:///{home}/tidegate.db")
    try:
        async with running(home) as up:
            await up.ready()
            old = Vault(vault_keys(load({"TIDEGATE_DATA_DIR": str(home)})))
            await fill(database, old)
            using = asyncio.create_task(use(up, stop))
            at_work = 0
            for _ in range(KILLS):
                at_work += await killed(home, random, 8.0)
            began = time.monotonic()
            done = await run(home, "secrets", "rotate")
            took = time.monotonic() - began
            assert done.code == 0, done.err
            stop.set()
            meanwhile = await using
            forgotten = await run(home, "secrets", "forget")
            assert forgotten.code == 0, forgotten.err
            assert up.process.returncode is None
        await all_is_readable(home, database, old, meanwhile)
    finally:
        await database.close()
    figures.append(
        f"F43: {SECRETS} secrets and {meanwhile} given meanwhile, {KILLS} kills ({at_work} at work), "
        f"all readable with the new key alone; the last pass took {took:.1f} s (seed {seed})"
    )


async def all_is_readable(home: Path, database: Database, old: Vault, meanwhile: int) -> None:
    """With what is left in the file of keys, which is one key; and no two sealed texts are the same."""
    given = vault_keys(load({"TIDEGATE_DATA_DIR": str(home)}))
    assert len(given) == 1
    vault = Vault(given)
    assert vault.fingerprint != old.fingerprint
    async with database.read() as connection:
        rows = (await connection.execute(select(table.c.id, table.c.secret).order_by(table.c.id))).all()
    opened = [vault.open(text, credentials.place(one)) for one, text in rows]
    assert opened[:SECRETS] == [text_of(number) for number in range(SECRETS)]
    assert opened[SECRETS:] == ["changed meanwhile"] * meanwhile
    assert len({text for _, text in rows}) == len(rows)
