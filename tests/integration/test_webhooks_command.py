"""`tidegate webhooks` as users run it."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.tidegates import Ended, run

pytestmark = pytest.mark.timeout(240)

SECRET = "a-webhook-secret-4711"
PUBLIC = "https://tidegate.example"


class Desk:
    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"

    async def run(self, *args: str, code: int = 0) -> Ended:
        ended = await run(self.data, *args, TIDEGATE_PUBLIC_URL=PUBLIC, HOOK=SECRET)
        assert ended.code == code, ended.out + ended.err
        assert "Traceback" not in ended.err
        assert SECRET not in ended.out + ended.err
        return ended

    async def json(self, *args: str) -> Any:
        return json.loads((await self.run(*args, "--json")).out)

    async def builds(self) -> None:
        await self.run("connections", "add", "builds", "--system", "jenkins",
                       "--url", "https://ci.example.com/job/api", "--frequency", "manually")  # fmt: skip


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    await made.builds()
    return made


async def test_it_prints_what_to_copy_into_the_remote(desk: Desk) -> None:
    address = (await desk.json("webhooks", "builds"))["address"]
    assert address.startswith(f"{PUBLIC}/webhooks/")
    shown = (await desk.run("webhooks", "builds")).out
    assert address in shown
    assert "https://ci.example.com/job/api/configure" in shown
    assert "last webhook\tnever" in shown


async def test_a_secret_is_stored_and_forgotten_again_and_never_shown(desk: Desk) -> None:
    await desk.run("webhooks", "builds", "--secret-env", "HOOK")
    assert (await desk.json("webhooks", "builds"))["has_secret"] is True
    assert (await desk.json("webhooks", "builds", "--no-secret"))["has_secret"] is False


async def test_what_a_person_has_to_do_is_not_registered(desk: Desk) -> None:
    refused = await desk.run("webhooks", "builds", "--register", code=1)
    assert "by a person" in refused.err


async def test_a_new_address_replaces_the_old(desk: Desk) -> None:
    old = (await desk.json("webhooks", "builds"))["address"]
    new = (await desk.json("webhooks", "builds", "--rotate"))["address"]
    assert old != new
    assert (await desk.json("webhooks", "1"))["address"] == new


async def test_two_things_at_once_are_refused(desk: Desk) -> None:
    await desk.run("webhooks", "builds", "--rotate", "--register", code=2)
    await desk.run("webhooks", "builds", "--secret-env", "HOOK", "--no-secret", code=2)


async def test_a_connection_shows_when_it_was_called_and_that_it_is_not_any_more(desk: Desk) -> None:
    assert "last_webhook_at\tnever" in (await desk.run("connections", "show", "builds")).out
    with sqlite3.connect(desk.data / "tidegate.db") as database:
        database.execute("UPDATE connections SET last_webhook_at = '2026-01-02T03:04:05.000Z'")
        database.execute("UPDATE connections SET webhook_missed_at = '2026-01-03T03:04:05.000Z'")
    shown = (await desk.run("connections", "show", "builds")).out
    assert "last_webhook_at\t2026-01-02T03:04:05.000Z" in shown
    assert "webhook_missed_at\t2026-01-03T03:04:05.000Z: polling finds changes that no webhook" in shown
