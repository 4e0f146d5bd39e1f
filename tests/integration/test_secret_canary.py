"""A secret that is given to running processes is found nowhere in clear, whatever happens to them.

Logs at debug, the database, Redis, the events, all answers of the API, what commands print, and every file.
"""

import json
import zipfile
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from sqlalchemy import MetaData, select
from sqlalchemy.engine import Connection

from config import settings
from tests.chaos.gate import EMAIL
from tests.chaos.marks import GIVEN
from tests.chaos.servers import OwnRedis, free_port, own_redis
from tests.chaos.standing import town_on
from tests.chaos.town import Town
from tests.tidegates import run
from tidegate.demo.remotes.base import Fault

pytestmark = pytest.mark.timeout(240)

ENDED = ("succeeded", "partial", "failed", "cancelled")
#: With characters that are written differently in URLs, in JSON and in base64 of either alphabet.
GOOD = 'canary-good-7f>?/+%"\\1d'
CANARIES = {
    "the credential's secret": GOOD,
    "a wrong secret": "canary-wrong-52>?c7",
    "the webhook's secret": "canary-hook-9a>?e3",
    "the administrator's key": "canary-admin-4b>?06",
    "a stranger's key": "canary-stranger-8c>?f1",
    "the key of the vault": "canary-vault-e5>?2a",
    "the password of Redis": "canary-redis-0d77b9",
    "the secret of another document": 'canary-dialect-3e>?"\\b8',
    "the subscriber's secret": "whsec_" + b64encode(b"canary-subscriber-5c>?a7-sign").decode(),
}


def forms(secret: str) -> Iterator[str]:
    """The ways in which a secret may be written, as part of something longer."""
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield secret.encode().hex()
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            # The characters that a neighbour has a part in are left out: what is before, and what follows.
            whole = encode(bytes(before) + secret.encode()).decode()
            yield whole[4 if before else 0 : len(whole) // 4 * 4 - 4]


def found_in(places: Mapping[str, str]) -> list[str]:
    """Which secret is to be seen where."""
    return [
        f"{name} in {place}: ...{text[max(0, text.index(form) - 200) :][:400]}..."
        for place, text in places.items()
        for name, secret in CANARIES.items()
        for form in {*forms(secret)}
        if form in text
    ]


@pytest.fixture
async def own(servers_kind: str, tmp_path: Path) -> AsyncIterator[OwnRedis | None]:
    if servers_kind == "embedded":
        yield None
        return
    async with own_redis(tmp_path, CANARIES["the password of Redis"]) as server:
        yield server


@pytest.fixture
async def town(own: OwnRedis | None, tmp_path: Path) -> AsyncIterator[Town]:
    chosen = {
        "TIDEGATE_ADMIN_KEY": CANARIES["the administrator's key"],
        "TIDEGATE_SECRET_KEY": CANARIES["the key of the vault"],
        "TIDEGATE_LOG_LEVEL": "debug",
    }
    async with town_on(tmp_path / "town", own, chosen) as made:
        yield made


class Answers:
    """A client that keeps every answer, heads included."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.text = ""

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        async with self._town.http.request(method, self._town.url + path, json=body, **more) as answer:
            text = await answer.text()
        self.text += f"{method} {path}: {answer.status} {answer.headers}\n{text}\n"
        return json.loads(text) if text.startswith("{") else None


@GIVEN
async def test_a_secret_is_nowhere_in_clear(town: Town, own: OwnRedis | None) -> None:
    town.jira.add_account(EMAIL, GOOD)
    town.jira.seed(20)
    await town.start_all("api", "scheduler", "worker")
    answers = Answers(town)
    connections = await made(town, answers)
    await subscribed(town, answers)
    await documents(answers)
    await refused(town, answers)
    await synced(town, answers, connections)
    await echoed(town, answers, connections["good"])
    for path in ("credentials", "connections", "syncs", "projects", "keys", "records", "subscriptions"):
        await answers.ask("GET", f"/v1/{path}")
    for connection_id in connections.values():
        for more in ("", "/status", "/syncs", "/records", "/log", "/quarantine"):
            await answers.ask("GET", f"/v1/connections/{connection_id}{more}")
    for path in ("/metrics", "/openapi.json", "/readyz"):
        await answers.ask("GET", path)
    printed = await commands(town, connections)
    places = {
        "the answers": answers.text,
        "what commands print": printed,
        "the database": await database(town),
        "Redis": await redis_dump(town),
        "a backup": unpacked(town.folder.parent / "backup.zip"),
        "the settings": repr(settings.load(town.environ)),
    }
    await town.end()
    files = [path for path in town.folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    places |= {str(path.relative_to(town.folder)): path.read_bytes().decode("latin-1") for path in files}
    assert found_in(places) == []
    # What was looked at is what there is: the syncs, the failures, and the logs of them.
    assert "succeeded" in answers.text
    assert "auth" in answers.text
    assert '"event":"request"' in answers.text
    assert "credentials.ndjson" in places["a backup"]
    assert all('"level": "debug"' in role.text() for role in town.roles if role.name == "worker")


async def made(town: Town, answers: Answers) -> dict[str, int]:
    """A good connection, and such that fail in every way."""
    good = await credential(answers, GOOD)
    wrong = await credential(answers, CANARIES["a wrong secret"])
    port = town.jira.url.rpartition(":")[2]
    urls = {
        "good": (town.jira.url, good),
        "wrong secret": (town.jira.url, wrong),
        "no tls": (f"https://127.0.0.1:{port}", good),
        "nobody there": (f"http://127.0.0.1:{free_port()}", good),
        "no such host": ("https://jira.invalid", good),
        "blocked": ("http://10.20.30.40", good),
        "no jira": (town.url, good),
    }
    connections = {}
    for name, (url, credential_id) in urls.items():
        body = {
            "name": name,
            "system": "jira",
            "url": url,
            "credential_id": credential_id,
            "frequency": "manually",
            "params": {"jql": "project = TG"},
            "webhook_secret": CANARIES["the webhook's secret"],
            "debug": True,
        }
        connections[name] = (await answers.ask("POST", "/v1/connections", body))["id"]
    return connections


async def credential(answers: Answers, secret: str) -> int:
    body = {"name": "canary", "system": "jira", "kind": "basic", "username": EMAIL, "secret": secret}
    return int((await answers.ask("POST", "/v1/credentials", body))["id"])


async def subscribed(town: Town, answers: Answers) -> None:
    """A subscriber with a secret of its own, which is shown this once, and which says back what it gets."""
    body = {"name": "canary", "url": town.jira.url, "secret": CANARIES["the subscriber's secret"]}
    async with town.http.post(f"{town.url}/v1/subscriptions", json=body) as answer:
        subscription_id = (await answer.json())["id"]
    await answers.ask("POST", f"/v1/subscriptions/{subscription_id}/test")
    for more in ("", "/deliveries"):
        await answers.ask("GET", f"/v1/subscriptions/{subscription_id}{more}")


async def documents(answers: Answers) -> None:
    """Secrets that come in the words of other products, and all lists in which they might be told."""
    secret = CANARIES["the secret of another document"]
    params = {
        "issue_tracker_server": "jira.invalid",
        "issue_tracker_user": "me",
        "issue_tracker_pass": secret,
    }
    connectors = "/api/v2/connectors/issue-tracker/"
    made = await answers.ask("POST", connectors, {"name": "canary", "system": "jira", "params": params})
    asked = {"name": "canary", "connector": made["id"], "params": {"issue_tracker_project": "TG"}}
    await answers.ask("POST", "/api/v2/connections/issue-tracker/", asked)
    await answers.ask("POST", "/api/v2/connections/test-issue-tracker/", {"system": "jira", "params": params})
    await answers.ask(
        "POST", connectors, {"name": "x", "system": "jira", "params": {"extra": {"pass": secret}}}
    )
    for path in (
        connectors,
        "/api/v2/connections/issue-tracker/?include=last_job",
        "/api/v2/integrations/?include=params",
        "/api/v1/integrations",
        "/integrations",
        "/api/tokens",
        "/v1/audit",
    ):
        await answers.ask("GET", path)


def unpacked(path: Path) -> str:
    """All that is in a backup, with the names of its parts."""
    with zipfile.ZipFile(path) as file:
        return "\n".join(f"{name} {file.read(name).decode()}" for name in file.namelist())


async def refused(town: Town, answers: Answers) -> None:
    """Requests that are wrong in all manners, with a secret in them."""
    body = {"name": "x", "system": "jira", "kind": "basic", "username": EMAIL, "secret": GOOD}
    await answers.ask("POST", "/v1/credentials", {**body, "kind": GOOD})
    await answers.ask("POST", "/v1/credentials", {**body, "secret": [GOOD]})
    await answers.ask("POST", "/v1/credentials", {**body, "system": "nothing"})
    await answers.ask("POST", "/v1/credentials", [GOOD])
    await answers.ask("POST", "/v1/credentials", data=f'{{"secret": "{GOOD}",', headers={})
    address = f"http://{EMAIL.partition('@')[0]}:{quote(GOOD, safe='')}@127.0.0.1/"
    await answers.ask("POST", "/v1/connections", {"name": "x", "system": "jira", "url": address})
    for header in ("X-API-Key", "Authorization"):
        stranger = {header: CANARIES["a stranger's key"], "X-API-Key": CANARIES["a stranger's key"]}
        await answers.ask("GET", "/v1/connections", headers=stranger)


async def synced(town: Town, answers: Answers, connections: Mapping[str, int]) -> None:
    """Each is tested and synced; those that would wait for a remote that is not there are cancelled."""
    ids = {}
    for name, connection_id in connections.items():
        await answers.ask("POST", f"/v1/connections/{connection_id}/test")
        ids[name] = (await answers.ask("POST", f"/v1/connections/{connection_id}/sync", {}))["id"]

    async def settled() -> bool:
        states = {(await town.one(sync_id))["state"] for sync_id in ids.values()}
        return states <= {*ENDED, "waiting"}

    await town.until(settled, 60, "all syncs come to an end or a wait")
    for sync_id in ids.values():
        await answers.ask("GET", f"/v1/syncs/{sync_id}")
        await answers.ask("POST", f"/v1/syncs/{sync_id}/cancel")


async def echoed(town: Town, answers: Answers, connection_id: int) -> None:
    """A remote that says back what it was sent, in a refusal."""
    sent = b64encode(f"{EMAIL}:{GOOD}".encode()).decode()
    said = json.dumps({"errorMessages": [f"The token {GOOD} in Basic {sent} is not good."], "errors": {}})
    head = {"Content-Type": "application/json"}
    town.jira.faults.append(Fault("/search/jql", 400, said.encode(), head, times=5))
    sync = await answers.ask("POST", f"/v1/connections/{connection_id}/sync", {})

    async def over() -> bool:
        return (await town.one(sync["id"]))["state"] in ENDED

    await town.until(over, 30, "the refused sync ends")
    await answers.ask("GET", f"/v1/syncs/{sync['id']}")
    town.jira.faults.clear()


async def commands(town: Town, connections: Mapping[str, int]) -> str:
    """What commands print about all of it, at debug."""
    wrong = ("--url", town.jira.url, "--username", EMAIL, "--secret-env", "CANARY", "--param", "jql=x = (")
    texts = []
    for arguments in (
        ("credentials", "list", "--json"),
        ("connections", "list", "--json"),
        ("connections", "show", str(connections["wrong secret"]), "--json"),
        ("connections", "show", str(connections["good"])),
        ("connections", "log", str(connections["wrong secret"])),
        ("secrets", "status"),
        ("records", "export", str(connections["good"]), "--output", "-"),
        ("events",),
        ("subscriptions", "list", "--json"),
        ("doctor",),
        ("backup", str(town.folder.parent / "backup.zip")),
        ("sync", "--system", "jira", "--output", str(town.folder.parent / "issues.ndjson"), *wrong),
    ):
        ended = await run(town.folder, *arguments, **town.environ, CANARY=GOOD)
        texts += [ended.out, ended.err]
    return "\n".join(texts)


async def database(town: Town) -> str:
    """Every row of every table."""

    def dump(connection: Connection) -> str:
        known = MetaData()
        known.reflect(connection, schema=None if town.database.is_sqlite else town.database.schema)
        assert len(known.tables) > 8
        rows = (row for table in known.tables.values() for row in connection.execute(select(table)))
        return "\n".join(map(str, rows))

    async with town.database.read() as connection:
        return await connection.run_sync(dump)


async def redis_dump(town: Town) -> str:
    """Every key and all that is in it."""
    async with town.redis() as redis:
        texts = [f"{key!r} {await _content(redis, key)!r}" async for key in redis.scan_iter()]
    assert any("tidegate:events" in text for text in texts)
    return "\n".join(texts)


async def _content(redis: Redis, key: bytes) -> object:
    match await redis.type(key):
        case b"string":
            return await redis.get(key)
        case b"hash":
            return await cast(Awaitable[object], redis.hgetall(key.decode()))
        case b"zset":
            return await redis.zrange(key, 0, -1)
        case b"stream":
            return await redis.xrange(key)
        case other:
            return other
