"""Declared connections are made so: the plan is what happens, twice is once, and it is all or nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.declared import load
from store import credentials, tokens
from store.database import Database
from store.tokens import Secrets
from tests.api_server import Api, serving_api
from tidegate.applying import Moved, Refused, carry_out, draw
from tidegate.plan import Plan

pytestmark = pytest.mark.sqlite_does

FILE = """
set = "team"

[projects.pay]
name = "Payments"

[credentials.reader]
system = "shelf"
username = "me"
secret = "open sesame"

[connections.payments]
system = "shelf"
url = "shelf.example/3"
credential = "reader"
project = "pay"
frequency = "every 15m"
webhook_secret = "a hook's secret"
"""
OTHER = '\n[connections.other]\nsystem = "shelf"\nurl = "shelf.example/4"\n'


class Desk:
    """A file beside an installation: what is written into it can be drawn and applied."""

    def __init__(self, api: Api, file: Path) -> None:
        self.api = api
        self.rules = api.context
        self.file = file

    async def drawn(self, text: str, *, prune: bool = False) -> Plan:
        self.file.write_text(text)
        return await draw(self.rules, load(self.file, {}), prune=prune)

    async def applied(self, text: str, *, prune: bool = False) -> Plan:
        plan = await self.drawn(text, prune=prune)
        await carry_out(self.rules, load(self.file, {}), plan, prune=prune)
        return plan

    async def refused(self, text: str, *, prune: bool = False) -> dict[str, str]:
        with pytest.raises(Refused) as raised:
            await self.drawn(text, prune=prune)
        return {one.place: one.message for one in raised.value.wrong}

    async def connections(self) -> dict[str, Any]:
        found = await self.api.get("/v1/connections")
        return {one["name"]: one for one in found["connections"]}

    async def stored_secret(self, credential_id: int) -> str:
        async with self.rules.database.read() as connection:
            sealed = await credentials.sealed(connection, credential_id)
        assert sealed is not None
        return self.rules.vault.open(sealed, credentials.place(credential_id))


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with serving_api(database) as api:
        yield Desk(api, tmp_path / "declared.toml")


def steps(plan: Plan) -> list[str]:
    return [f"{step.action} {step.kind} {step.name}" for step in plan.steps]


def fields(plan: Plan) -> dict[str, tuple[object, object]]:
    (step,) = plan.steps
    return {field.name: (field.before, field.after) for field in step.fields}


async def test_what_is_declared_is_made_and_the_second_plan_is_empty(desk: Desk) -> None:
    plan = await desk.applied(FILE)
    assert steps(plan) == ["create project pay", "create credential reader", "create connection payments"]
    made = (await desk.connections())["payments"]
    assert (made["url"], made["frequency"], made["has_webhook_secret"]) == (
        "shelf.example/3",
        "every 15m",
        True,
    )
    assert made["next_due_at"] is not None
    assert await desk.stored_secret(made["credential_id"]) == "open sesame"
    again = await desk.drawn(FILE)
    assert (again.steps, again.undeclared) == ((), ())
    assert {(one.kind, one.name) for one in again.same} == {
        ("project", "pay"), ("credential", "reader"), ("connection", "payments"),
    }  # fmt: skip


async def test_a_plan_changes_nothing(desk: Desk) -> None:
    await desk.drawn(FILE)
    assert await desk.connections() == {}
    assert (await desk.api.get("/v1/projects"))["projects"] == []
    assert (await desk.api.get("/v1/audit"))["audit"] == []


async def test_only_the_fields_that_differ_are_changed(desk: Desk) -> None:
    await desk.applied(FILE)
    before = (await desk.connections())["payments"]
    plan = await desk.applied(FILE.replace("every 15m", "daily at 02:30"))
    assert fields(plan) == {"frequency": ("every 15m", "daily at 02:30")}
    after = (await desk.connections())["payments"]
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"frequency", "next_due_at", "updated_at"}
    assert "frequency" in changed


async def test_a_project_is_renamed(desk: Desk) -> None:
    await desk.applied(FILE)
    plan = await desk.applied(FILE.replace('"Payments"', '"Payments EU"'))
    assert fields(plan) == {"name": ("Payments", "Payments EU")}
    (one,) = (await desk.api.get("/v1/projects"))["projects"]
    assert (one["key"], one["name"]) == ("pay", "Payments EU")
    (entry, *_) = (await desk.api.get("/v1/audit"))["audit"]
    assert (entry["action"], entry["subject"], entry["fields"]) == ("update", "project", ["name"])


async def test_a_changed_secret_is_noticed_and_not_shown(desk: Desk) -> None:
    await desk.applied(FILE)
    plan = await desk.applied(FILE.replace("open sesame", "open barley"))
    assert fields(plan) == {"secret": ("********", "(changed)")}
    assert "barley" not in repr(plan)
    credential_id = (await desk.connections())["payments"]["credential_id"]
    assert await desk.stored_secret(credential_id) == "open barley"
    assert steps(await desk.applied(FILE.replace("a hook's", "another hook's"))) == [
        "change credential reader", "change connection payments",
    ]  # fmt: skip


async def test_a_secret_that_is_left_out_stays_as_it_is_stored(desk: Desk) -> None:
    await desk.applied(FILE)
    without = FILE.replace('secret = "open sesame"\n', "").replace('webhook_secret = "a hook\'s secret"', "")
    assert (await desk.drawn(without)).steps == ()


async def test_a_connection_that_was_disabled_by_hand_stays_so_unless_the_file_says_otherwise(
    desk: Desk,
) -> None:
    await desk.applied(FILE)
    id_ = (await desk.connections())["payments"]["id"]
    await desk.api.patch(f"/v1/connections/{id_}", {"enabled": False})
    assert (await desk.drawn(FILE)).steps == ()
    assert fields(await desk.applied(f"{FILE}enabled = true")) == {"enabled": (False, True)}


async def test_a_debug_log_is_kept_where_the_file_says_so_and_else_as_somebody_set_it(desk: Desk) -> None:
    await desk.applied(f"{FILE}debug = true")
    assert (await desk.connections())["payments"]["debug"] is True
    assert (await desk.drawn(f"{FILE}debug = true")).steps == ()
    assert (await desk.drawn(FILE)).steps == ()
    assert fields(await desk.applied(f"{FILE}debug = false")) == {"debug": (True, False)}
    assert (await desk.connections())["payments"]["debug"] is False


async def test_what_was_changed_by_hand_is_set_back(desk: Desk) -> None:
    await desk.applied(FILE)
    id_ = (await desk.connections())["payments"]["id"]
    body = {"url": "shelf.example/9", "credential_id": None, "streams": ["books"], "params": {"jql": "a"}}
    await desk.api.patch(f"/v1/connections/{id_}", body)
    assert fields(await desk.applied(FILE)) == {
        "url": ("shelf.example/9", "shelf.example/3"),
        "credential": (None, "reader"),
        "streams": (["books"], None),
        "params.jql": ("a", None),
    }
    assert (await desk.drawn(FILE)).steps == ()


async def test_a_change_follows_the_rules_of_the_api(desk: Desk) -> None:
    """Another target cancels what runs and forgets the cursors."""
    await desk.applied(FILE)
    id_ = (await desk.connections())["payments"]["id"]
    opened = await desk.api.post(f"/v1/connections/{id_}/sync", {}, 202)
    await desk.applied(FILE.replace("shelf.example/3", "shelf.example/4"))
    assert (await desk.api.get(f"/v1/syncs/{opened['id']}"))["state"] == "cancelled"


async def test_what_is_not_declared_is_left_alone_and_told(desk: Desk) -> None:
    await desk.api.shelf()
    await desk.api.credential()
    plan = await desk.applied(FILE.replace("credentials.reader", "credentials.writer").replace(
        'credential = "reader"', 'credential = "writer"'
    ))  # fmt: skip
    assert [(one.kind, one.name) for one in plan.undeclared] == [
        ("credential", "reader"),
        ("connection", "shelf"),
    ]
    assert set(await desk.connections()) == {"shelf", "payments"}


async def test_a_connection_can_use_a_credential_and_a_project_that_are_stored(desk: Desk) -> None:
    made = await desk.api.credential()
    project = await desk.api.post("/v1/projects", {"name": "Books", "key": "books"})
    text = OTHER + 'credential = "reader"\nproject = "books"\n'
    await desk.applied(text)
    one = (await desk.connections())["other"]
    assert (one["credential_id"], one["project_id"]) == (made["id"], project["id"])
    assert (await desk.drawn(text)).steps == ()


async def test_everything_that_is_wrong_is_said_at_once_with_its_place(desk: Desk) -> None:
    text = """
        [credentials.reader]
        system = "shelf"
        kind = "pat"
        secret = "s"
        [connections.a]
        system = "shelf"
        url = "a book"
        frequency = "often"
        [connections.b]
        system = "shelf"
        url = "shelf.example/3"
        credential = "nobody"
        project = "none"
        streams = ["films"]
        colour = "blue"
        [connections.c]
        system = "shelf"
        url = "shelf.example/3"
        params = { colour = "blue" }
    """
    found = await desk.refused(text)
    assert set(found) == {
        "credentials.reader.kind",
        "connections.a.url",
        "connections.a.frequency",
        "connections.b.credential",
        "connections.b.project",
        "connections.b.streams",
        "connections.b.colour",
        "connections.c.params.colour",
    }
    assert "shelf.example/7" in found["connections.a.url"]
    assert "There are reader." in found["connections.b.credential"]


async def test_what_only_follows_from_another_mistake_is_not_said_too(desk: Desk) -> None:
    text = FILE.replace('secret = "open sesame"', 'secret_env = "NOWHERE"')
    assert set(await desk.refused(text)) == {"credentials.reader.secret_env"}
    text = FILE.replace('system = "shelf"\nusername', "username")
    assert set(await desk.refused(text)) == {"credentials.reader.system"}


async def test_nothing_is_made_while_one_thing_cannot_be(desk: Desk) -> None:
    await desk.applied(FILE)
    bad = FILE.replace("every 15m", "hourly") + OTHER.replace("shelf.example/4", "a book")
    assert set(await desk.refused(bad)) == {"connections.other.url"}
    there = await desk.connections()
    assert (set(there), there["payments"]["frequency"]) == ({"payments"}, "every 15m")


async def test_a_plan_that_was_overtaken_is_not_carried_out(desk: Desk) -> None:
    await desk.applied(FILE)
    text = FILE.replace("every 15m", "hourly") + OTHER
    plan = await desk.drawn(text)
    id_ = (await desk.connections())["payments"]["id"]
    await desk.api.patch(f"/v1/connections/{id_}", {"frequency": "daily"})
    with pytest.raises(Moved):
        await carry_out(desk.rules, load(desk.file, {}), plan, prune=False)
    there = await desk.connections()
    assert (set(there), there["payments"]["frequency"]) == ({"payments"}, "daily")


async def test_two_connections_of_one_name_cannot_be_told_apart(desk: Desk) -> None:
    for _ in range(2):
        await desk.api.shelf(name="payments")
    found = await desk.refused(FILE)
    assert "There are 2 connections called payments (ids 1, 2)" in found["connections.payments.name"]


async def test_a_system_cannot_be_changed(desk: Desk) -> None:
    await desk.applied(FILE)
    found = await desk.refused(FILE.replace('system = "shelf"\nurl', 'system = "papyrus"\nurl'))
    assert "give this one another name" in found["connections.payments.system"]


async def test_prune_removes_what_this_file_made_and_no_longer_has(desk: Desk) -> None:
    await desk.api.shelf(name="by hand")
    await desk.applied(OTHER.replace("other", '"of another file"'))
    await desk.applied(FILE + OTHER)
    assert (await desk.drawn(FILE)).steps == ()
    plan = await desk.applied(FILE, prune=True)
    assert steps(plan) == ["remove connection other"]
    assert set(await desk.connections()) == {"by hand", "of another file", "payments"}
    assert (await desk.drawn(FILE, prune=True)).steps == ()


async def test_prune_removes_a_credential_that_nothing_uses_any_more(desk: Desk) -> None:
    await desk.applied(FILE)
    text = 'set = "team"' + OTHER
    await desk.api.shelf(
        name="by hand", credential_id=(await desk.connections())["payments"]["credential_id"]
    )
    assert steps(await desk.applied(text, prune=True)) == [
        "create connection other",
        "remove connection payments",
    ]
    await desk.api.delete(f"/v1/connections/{(await desk.connections())['by hand']['id']}")
    assert steps(await desk.applied(text, prune=True)) == ["remove credential reader"]
    assert (await desk.api.get("/v1/credentials"))["credentials"] == []


async def test_what_one_file_takes_over_another_does_not_prune(desk: Desk) -> None:
    await desk.applied(FILE + OTHER)
    await desk.applied('set = "others"' + OTHER)
    assert (await desk.drawn(FILE, prune=True)).steps == ()


async def test_a_file_without_a_name_cannot_be_pruned(desk: Desk) -> None:
    found = await desk.refused(OTHER, prune=True)
    assert 'set = "some-name"' in found["set"]


async def test_who_applied_is_in_the_audit_log(desk: Desk) -> None:
    await desk.applied(FILE)
    entries = (await desk.api.get("/v1/audit"))["audit"]
    assert {(e["action"], e["subject"]) for e in entries} == {
        ("create", "project"), ("create", "credential"), ("create", "connection"),
    }  # fmt: skip


OAUTH2 = """
[credentials.robot]
system = "papyrus"
token_url = "https://login.example.com/token"
client_id = "us"
secret = "the client's"
refresh_token = "the first"
"""


async def test_a_refresh_token_that_the_issuer_replaced_is_not_put_back(desk: Desk) -> None:
    await desk.applied(OAUTH2)
    (made,) = (await desk.api.get("/v1/credentials"))["credentials"]
    assert (made["kind"], made["has_secret"], made["has_refresh_token"]) == ("oauth2", True, True)
    async with desk.rules.database.write() as connection:
        text = Secrets("the client's", "the second").as_text()
        sealed = desk.rules.vault.seal(text, credentials.place(made["id"]))
        await credentials.change(connection, made["id"], {"secret": sealed})
    assert (await desk.drawn(OAUTH2)).steps == ()
    plan = await desk.applied(OAUTH2.replace("the first", "the third"))
    assert fields(plan) == {"refresh_token": ("********", "(changed)")}
    assert tokens.secrets_of(await desk.stored_secret(made["id"])) == Secrets("the client's", "the third")


async def test_a_declared_secret_goes_to_another_token_url_and_an_undeclared_one_does_not(desk: Desk) -> None:
    await desk.applied(OAUTH2)
    moved = OAUTH2.replace("login.example.com", "login.example.org")
    found = await desk.refused(moved.replace('refresh_token = "the first"\n', ""))
    assert "not sent to another host" in found["credentials.robot.refresh_token"]
    assert set(fields(await desk.applied(moved))) == {"token_url", "secret", "refresh_token"}


async def test_a_credential_that_becomes_anonymous_loses_its_secret(desk: Desk) -> None:
    await desk.applied(FILE)
    anonymous = FILE.replace('username = "me"\nsecret = "open sesame"', 'kind = "anonymous"')
    assert ("secret" in fields(await desk.applied(anonymous))) is True
    (one,) = (await desk.api.get("/v1/credentials"))["credentials"]
    assert (one["kind"], one["has_secret"]) == ("anonymous", False)
    assert (await desk.drawn(anonymous)).steps == ()
