"""A secret that is given to the API is never seen again: in no answer, no log, no table, no event."""

import io
import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
import structlog
from sqlalchemy import MetaData, select
from sqlalchemy.engine import Connection

from config.logs import Redactor, configure
from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api

SECRET = "canary-3f9a-of-the-credential"
WEBHOOK = "canary-77c1-of-the-webhook"
FORMS = [form for text in (SECRET, WEBHOOK) for form in (text, b64encode(text.encode()).decode())]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged at debug. The redactor knows no secret, so it cannot be what hides one."""
    root = logging.getLogger()
    kept = (root.level, list(root.handlers))
    stream = io.StringIO()
    configure("debug", stream, True, Redactor())
    yield stream
    root.setLevel(kept[0])
    root.handlers[:] = kept[1]
    structlog.reset_defaults()


class Answers:
    """Every answer's text, heads included."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.text = ""

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        async with self._api.http.request(method, self._api.url + path, json=body) as answer:
            text = await answer.text()
        self.text += f"{answer.headers}{text}\n"
        return json.loads(text) if text.startswith("{") else None


def _dump(connection: Connection) -> str:
    found = MetaData()
    found.reflect(connection)
    assert len(found.tables) > 8
    rows = (row for table in found.tables.values() for row in connection.execute(select(table)))
    return "\n".join(str(row) for row in rows)


async def _everything(ask: Answers) -> None:
    body: dict[str, object] = {
        "name": "n",
        "system": "shelf",
        "kind": "basic",
        "username": "me",
        "secret": SECRET,
    }
    credential = await ask.ask("POST", "/v1/credentials", body)
    wrong: Mapping[str, object] = {
        "kind": "magic",
        "name": 7,
        "secret": [SECRET],
        "username": None,
        "x": SECRET,
    }
    for name, value in wrong.items():
        await ask.ask("POST", "/v1/credentials", {**body, name: value})
    path = f"/v1/credentials/{credential['id']}"
    await ask.ask("PATCH", path, {"secret": "********"})
    await ask.ask("PATCH", path, {"secret": f"{SECRET}\n"})
    await ask.ask("PATCH", path, {"secret": SECRET})
    connection = {
        "name": "n",
        "system": "shelf",
        "url": "shelf.example/2",
        "credential_id": credential["id"],
        "webhook_secret": WEBHOOK,
    }
    made = await ask.ask("POST", "/v1/connections", connection)
    await ask.ask("POST", "/v1/connections", {**connection, "timezone": "Moon/Base"})
    below = f"/v1/connections/{made['id']}"
    await ask.ask("PATCH", below, {"webhook_secret": f"{WEBHOOK}"})
    await ask.ask("POST", "/v1/connections/test", connection)
    for suffix in ("/test", "/sync"):
        await ask.ask("POST", below + suffix, {})
    for shown in ("/v1/credentials", path, "/v1/connections", below, f"{below}/status", "/v1/syncs"):
        await ask.ask("GET", shown)
    # Once more, and left as they were made.
    await ask.ask("POST", "/v1/credentials", body)
    await ask.ask("POST", "/v1/connections", connection)
    for rest in (f"{below}/records", f"{below}/quarantine", "/metrics", "/readyz"):
        await ask.ask("GET", rest)


async def test_a_secret_is_in_no_answer_log_or_table(database: Database, log: io.StringIO) -> None:
    async with serving_api(database) as api:
        answers = Answers(api)
        await _everything(answers)
        await api.house.work((await api.get("/v1/syncs"))["syncs"][0]["id"])
        async with database.write() as connection:
            # A defect while a secret is at hand: the traceback must not show it.
            await connection.exec_driver_sql("ALTER TABLE credentials RENAME COLUMN options TO other")
        body = {"name": "n", "system": "shelf", "kind": "basic", "username": "me", "secret": SECRET}
        await answers.ask("POST", "/v1/credentials", body)
        async with database.read() as connection:
            dump = await connection.run_sync(_dump)
    assert "has_secret" in answers.text
    assert "api." in log.getvalue()
    assert "v1." in dump
    for form in FORMS:
        assert form not in answers.text
        assert form not in log.getvalue()
        assert form not in dump


async def test_equal_secrets_look_different_in_the_database(database: Database) -> None:
    async with serving_api(database) as api:
        for _ in range(2):
            await api.credential(SECRET)
        async with database.read() as connection:
            rows = (await connection.exec_driver_sql("SELECT secret FROM credentials")).scalars().all()
    assert len(set(rows)) == 2


@pytest.fixture
async def stranger() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_KEY}x"}) as http:
        yield http


async def test_a_wrong_key_is_not_repeated_to_anyone(
    database: Database, log: io.StringIO, stranger: aiohttp.ClientSession
) -> None:
    async with serving_api(database) as api, stranger.get(f"{api.url}/v1/syncs") as answer:
        assert answer.status == 401
        assert ADMIN_KEY not in await answer.text()
    assert ADMIN_KEY not in log.getvalue()
