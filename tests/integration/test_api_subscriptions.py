"""Subscriptions over the API: made, changed, tried, looked at, sent again; and who may do what."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web
from sqlalchemy import select

from store import outbox
from store.database import Database
from store.outgoing import subscriptions as table
from store.schema import outbox as outbox_table
from tests.api_server import Api, serving_api
from tests.integration.test_api_canary import _dump
from tests.subscribers import Got, Office, Receiver, open_office, receiving

HOOK = "https://hooks.example.com/tidegate?token=secret-of-the-address"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database) as served:
        yield served


@pytest.fixture
async def office(api: Api) -> AsyncIterator[Office]:
    async with open_office(api.house) as made:
        made.hands.time = await made.house.database.time()
        yield made


@pytest.fixture
async def receiver(office: Office) -> AsyncIterator[Receiver]:
    async with receiving(office.hands.now) as made:
        yield made


async def subscribe(api: Api, url: str = HOOK, **values: object) -> Any:
    return await api.post("/v1/subscriptions", {"name": "hook", "url": url, **values})


async def key(api: Api, *permissions: str, projects: list[int] | None = None) -> dict[str, str]:
    body = {"name": "other", "permissions": list(permissions), "projects": projects}
    return {"X_API_Key": (await api.post("/v1/keys", body))["key"]}


async def project(api: Api, name: str = "web") -> int:
    made: int = (await api.post("/v1/projects", {"name": name, "key": name}))["id"]
    return made


async def test_a_secret_is_shown_once_and_signs_what_is_sent(
    api: Api, office: Office, receiver: Receiver
) -> None:
    made = await subscribe(api, receiver.url)
    assert made["secret"].startswith("whsec_")
    assert made["has_secret"] is True
    assert made["status"] == "active"
    connection = await api.shelf()
    await office.happen(connection["id"])
    await office.pass_time(seconds=1)
    assert all(one.verified(made["secret"]) for one in receiver.got)
    assert receiver.got
    shown = [
        await api.get(f"/v1/subscriptions/{made['id']}"),
        await api.get("/v1/subscriptions"),
        await api.get(f"/v1/subscriptions/{made['id']}/deliveries"),
        await api.get("/v1/audit"),
    ]
    assert made["secret"].removeprefix("whsec_") not in str(shown)


async def test_a_secret_is_in_no_table_in_clear(api: Api, office: Office, receiver: Receiver) -> None:
    headers = {"Idempotency_Key": "once"}
    body = {"name": "hook", "url": receiver.url}
    _, made = await api.ask("POST", "/v1/subscriptions", body, **headers)
    assert (await api.ask("POST", "/v1/subscriptions", body, **headers))[1] == made
    path = f"/v1/subscriptions/{made['id']}"
    new = await api.post(f"{path}/rotate", {}, 200)
    await api.post(f"{path}/test", None, 200)
    connection = await api.shelf()
    await office.happen(connection["id"])
    receiver.answers = lambda got: web.Response(status=400, body=got.body + new["secret"].encode())
    await office.pass_time(seconds=1)
    async with api.house.database.read() as database:
        dump = await database.run_sync(_dump)
    assert receiver.url in dump
    for secret in (made["secret"], new["secret"]):
        assert secret.removeprefix("whsec_") not in dump


async def test_a_secret_of_ones_own_is_taken_and_a_bad_one_is_told(api: Api, receiver: Receiver) -> None:
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = await subscribe(api, receiver.url, secret=own)
    assert made["secret"] == own
    await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)
    assert receiver.got[0].verified(own)
    for bad in ("a password", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%"):
        wrong = await api.refused("POST", "/v1/subscriptions", {"name": "x", "url": HOOK, "secret": bad})
        assert "24 to 64 random bytes in base64" in wrong["secret"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hooks.example.com/x", "Give the whole URL"),
        ("ftp://hooks.example.com/x", "Give the whole URL"),
        ("https://me:pw@hooks.example.com/", "Leave user name, password"),
        ("https://hooks.example.com/#part", "Leave user name, password and fragment out"),
        ("http://10.0.0.7/hook", "private or special address"),
        ("http://localhost:8420/hook", None),
        ("http://127.0.0.1:9/hook", None),
        ("http://169.254.169.254/latest", "private or special address"),
        ("http://[::ffff:169.254.169.254]/", "private or special address"),
        ("http://0xa9fea9fe/", "private or special address"),
        ("https://hooks.example.com:99999/", "This is not a URL"),
        ("https://hooks.example.com/a b", "This holds a space"),
    ],
)
async def test_an_address_that_cannot_be_is_refused_and_loopback_only_as_it_is_allowed_here(
    api: Api, url: str, said: str | None
) -> None:
    body = {"name": "x", "url": url}
    if said is None:
        await api.post("/v1/subscriptions", body)
    else:
        assert said in (await api.refused("POST", "/v1/subscriptions", body))["url"]


async def test_what_is_not_there_is_named(api: Api) -> None:
    one, other = await project(api), await project(api, "other")
    connection = await api.shelf(project_id=other)
    body = {"name": "x", "url": HOOK, "systems": ["jirra"], "project_id": 99, "connection_ids": [1]}
    assert set(await api.refused("POST", "/v1/subscriptions", body)) == {"systems", "project_id"}
    body = {"name": "x", "url": HOOK, "project_id": one, "connection_ids": [connection["id"]]}
    wrong = await api.refused("POST", "/v1/subscriptions", body)
    assert wrong == {"connection_ids": f"There is no connection {connection['id']} in project {one}."}


async def test_filters_choose_by_type_state_health_connection_project_and_system(
    api: Api, office: Office
) -> None:
    first, second = await project(api), await project(api, "two")
    a = (await api.shelf(project_id=first))["id"]
    b = (await api.shelf("shelf.example/4", project_id=second))["id"]
    wanted: list[tuple[dict[str, object], list[int]]] = [
        ({}, [1, 2, 3, 4]),
        ({"types": ["status"]}, [1, 2, 4]),
        ({"types": ["io.tidegate.connection_status"]}, [3]),
        ({"states": ["failed"]}, [2, 3]),
        ({"healths": ["failed"]}, [1, 2, 4]),
        ({"connection_ids": [b]}, [4]),
        ({"project_id": first}, [1, 2, 3]),
        ({"systems": ["shelf"], "types": ["status"], "states": ["failed"]}, [2]),
    ]
    async with receiving(office.hands.now) as receiver:
        for number, (filters, _) in enumerate(wanted):
            await subscribe(api, f"{receiver.url}/{number}", **filters)
        await office.publish()
        receiver.got.clear()
        async with office.house.database.write() as connection:
            newest = await outbox.last_position(connection)
            await connection.execute(table.update().values(position=newest))
        await office.happen(a)
        await office.happen(a, state="failed")
        await office.happen(a, kind="connection_status")
        await office.happen(b)
        await office.pass_time(seconds=1)
        for number, (filters, numbers) in enumerate(wanted):
            got = [one.number for one in receiver.got if one.path.endswith(f"/{number}")]
            assert got == numbers, filters


async def test_a_test_says_what_came_back(api: Api, receiver: Receiver) -> None:
    made = await subscribe(api, receiver.url)
    tried = await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)
    assert (tried["ok"], tried["response"], tried["error"]) == (True, 204, None)
    [got] = receiver.got
    assert got.event["type"] == "io.tidegate.ping"
    assert got.event["source"] == f"/subscriptions/{made['id']}"
    assert got.verified(made["secret"])
    receiver.answer(500)
    tried = await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)
    assert (tried["ok"], tried["response"], tried["excerpt"]) == (False, 500, "status 500")
    assert tried["error"]["kind"] == "unreachable"
    elsewhere = await subscribe(api, "http://127.0.0.1:9/hook")
    tried = await api.post(f"/v1/subscriptions/{elsewhere['id']}/test", None, 200)
    assert (tried["ok"], tried["response"]) == (False, None)
    assert "cannot be reached" in tried["error"]["message"]


async def test_a_test_that_arrives_sends_what_waits(api: Api, office: Office, receiver: Receiver) -> None:
    made = await subscribe(api, receiver.url)
    connection = await api.shelf()
    receiver.answer(503)
    await office.happen(connection["id"])
    await office.pass_time(hours=3)
    found = await api.get(f"/v1/subscriptions/{made['id']}")
    assert (found["status"], found["last_error"]["message"]) == ("failing", "127.0.0.1 answered 503.")
    assert found["next_attempt_at"] is not None
    [waits] = (await api.get(f"/v1/subscriptions/{made['id']}/deliveries?state=pending"))["deliveries"]
    assert waits["next_attempt_at"] == found["next_attempt_at"]
    receiver.answer(200)
    receiver.got.clear()
    await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)
    await office.pass_time(seconds=1)
    assert [one.event["type"] for one in receiver.got][:2] == ["io.tidegate.ping", "io.tidegate.status"]
    assert (await api.get(f"/v1/subscriptions/{made['id']}"))["status"] == "active"


async def test_the_log_tells_of_every_attempt_and_a_delivery_is_sent_again_by_hand(
    api: Api, office: Office, receiver: Receiver
) -> None:
    connection = await api.shelf()
    await office.publish()
    made = await subscribe(api, receiver.url)
    path = f"/v1/subscriptions/{made['id']}/deliveries"
    await office.happen(connection["id"], 3)
    receiver.answers = lambda got: web.Response(status=400 if got.number == 2 else 200, text="told\0you")
    await office.pass_time(seconds=10)
    log = (await api.get(path))["deliveries"]
    assert [one["state"] for one in log] == ["delivered", "pending", "delivered"]
    [refused] = (await api.get(f"{path}?state=pending"))["deliveries"]
    assert (refused["attempts"], refused["response"]) == (2, 400)
    detail = await api.get(f"{path}/{refused['id']}")
    assert [entry["response"] for entry in detail["log"]] == [400, 400]
    assert detail["log"][0]["excerpt"] == "told\N{REPLACEMENT CHARACTER}you"
    assert detail["event"]["id"] == refused["event_id"]
    receiver.answer(200)
    again = await api.post(f"{path}/{refused['id']}/redeliver", None, 200)
    assert (again["ok"], again["delivery"]["state"], again["delivery"]["attempts"]) == (True, "delivered", 3)
    assert receiver.got[-1].uid == refused["event_id"]
    detail = await api.get(f"{path}/{refused['id']}")
    assert [entry["by_hand"] for entry in detail["log"]] == [False, False, True]
    before = len(receiver.got)
    await office.pass_time(days=1)
    assert len(receiver.got) == before
    assert (await api.ask("POST", f"{path}/99/redeliver"))[0] == 404
    assert (await api.ask("POST", f"{path}/{'9' * 30}/redeliver"))[0] == 404
    by_event = await api.get(f"{path}?event_id={refused['event_id']}")
    assert [one["id"] for one in by_event["deliveries"]] == [refused["id"]]
    page = await api.get(f"{path}?limit=2")
    rest = await api.get(f"{path}?limit=2&cursor={page['next']}")
    assert [one["id"] for one in [*page["deliveries"], *rest["deliveries"]]] == [one["id"] for one in log]


async def test_switched_on_again_it_goes_on_where_it_stopped_or_from_now(
    api: Api, office: Office, receiver: Receiver
) -> None:
    connection = await api.shelf()
    await office.publish()
    made = await subscribe(api, receiver.url)
    path = f"/v1/subscriptions/{made['id']}"
    receiver.answer(410)
    await office.happen(connection["id"], 3)
    await office.pass_time(seconds=1)
    off = await api.get(path)
    assert (off["enabled"], off["status"], off["disabled_reason"]["kind"]) == (False, "disabled", "gone")
    receiver.answer(200)
    receiver.got.clear()
    await api.patch(path, {"enabled": True})
    await office.pass_time(seconds=1)
    assert receiver.numbers == [1, 2, 3]
    by_hand = await api.patch(path, {"enabled": False})
    assert by_hand["disabled_reason"] is None
    assert by_hand["disabled_at"] is not None
    await office.happen(connection["id"], 2)
    await office.pass_time(seconds=1)
    await api.patch(path, {"enabled": True, "from": "now"})
    await office.happen(connection["id"])
    await office.pass_time(seconds=1)
    assert receiver.numbers == [1, 2, 3, 6]
    told = [(one[0], one[1], one[2]["enabled"]) for one in await _told(api, made["id"])]
    assert told == [
        (number, "subscription_status", on) for number, on in enumerate([False, True, False, True], 1)
    ]


async def _told(api: Api, subscription_id: int) -> list[tuple[int, str, Any]]:
    c = outbox_table.c
    query = select(outbox_table).where(c.subscription_id == subscription_id).order_by(c.sequence)
    async with api.house.database.read() as connection:
        rows = (await connection.execute(query)).mappings().all()
    return [(row["sequence"], row["type"], msgspec.json.decode(row["data"])) for row in rows]


async def test_for_a_day_after_a_rotation_both_secrets_verify_every_delivery(
    api: Api, office: Office, receiver: Receiver
) -> None:
    connection = await api.shelf()
    await office.publish()
    made = await subscribe(api, receiver.url)
    path = f"/v1/subscriptions/{made['id']}"
    await office.happen(connection["id"], 1000)
    half = 500

    async def rotated(got: Got) -> web.StreamResponse:
        if got.number == half:
            renewed.append(await api.post(f"{path}/rotate", {}, 200))
        return web.Response()

    renewed: list[Any] = []
    receiver.answers = rotated
    await office.pass_time(seconds=1)
    [new] = renewed
    assert receiver.numbers == list(range(1, 1001))
    assert all(one.verified(made["secret"]) for one in receiver.got)
    with_both = [one.number for one in receiver.got if one.verified(new["secret"])]
    assert with_both == list(range(half + 1, 1001))
    assert new["old_secret_until"] is not None
    await office.happen(connection["id"])
    office.hands.time += timedelta(hours=23.9)
    await office.pass_time(seconds=1)
    assert receiver.got[-1].verified(made["secret"])
    assert receiver.got[-1].verified(new["secret"])
    await office.happen(connection["id"])
    office.hands.time += timedelta(hours=0.2)
    await office.pass_time(seconds=1)
    assert not receiver.got[-1].verified(made["secret"])
    assert receiver.got[-1].verified(new["secret"])


async def test_keys_of_a_project_see_and_make_only_its_subscriptions(api: Api, office: Office) -> None:
    mine, theirs = await project(api), await project(api, "theirs")
    limited = await key(api, "write", projects=[mine])
    of_account, of_others = await subscribe(api), await subscribe(api, project_id=theirs)
    status, answer = await api.ask("POST", "/v1/subscriptions", {"name": "x", "url": HOOK}, **limited)
    assert (status, answer["errors"][0]["field"]) == (422, "project_id")
    body = {"name": "x", "url": HOOK, "project_id": mine}
    status, made = await api.ask("POST", "/v1/subscriptions", body, **limited)
    assert status == 201
    shown = await api.get("/v1/subscriptions", **limited)
    assert [one["id"] for one in shown["subscriptions"]] == [made["id"]]
    for hidden in (of_account, of_others):
        path = f"/v1/subscriptions/{hidden['id']}"
        for method, tail, given in (
            ("GET", "", None),
            ("PATCH", "", {"name": "y"}),
            ("DELETE", "", None),
            ("POST", "/rotate", {}),
            ("POST", "/test", None),
            ("GET", "/deliveries", None),
            ("GET", "/deliveries/1", None),
            ("POST", "/deliveries/1/redeliver", None),
        ):
            status, _ = await api.ask(method, path + tail, given, **limited)
            assert status == 404, (method, tail)
    moved, _ = await api.ask("PATCH", f"/v1/subscriptions/{made['id']}", {"project_id": theirs}, **limited)
    assert moved == 422


async def test_keys_that_only_read_see_no_more_of_the_address_than_its_host(api: Api) -> None:
    made = await subscribe(api)
    reads = await key(api, "read")
    shown = await api.get(f"/v1/subscriptions/{made['id']}", **reads)
    assert shown["url"] == "https://hooks.example.com/..."
    assert (await api.get(f"/v1/subscriptions/{made['id']}"))["url"] == HOOK
    status, _ = await api.ask("POST", f"/v1/subscriptions/{made['id']}/test", **reads)
    assert status == 403


async def test_a_project_with_a_subscription_is_not_removed(api: Api) -> None:
    one = await project(api)
    await subscribe(api, project_id=one)
    status, answer = await api.ask("DELETE", f"/v1/projects/{one}")
    assert status == 409
    assert "1 subscription" in answer["detail"]


async def test_what_was_removed_is_gone_with_its_log(api: Api, office: Office, receiver: Receiver) -> None:
    connection = await api.shelf()
    made = await subscribe(api, receiver.url)
    await office.happen(connection["id"], 3)
    await office.pass_time(seconds=1)
    await api.delete(f"/v1/subscriptions/{made['id']}")
    assert (await api.ask("GET", f"/v1/subscriptions/{made['id']}"))[0] == 404
    assert await office.rows() == (0, 0)
    again = await subscribe(api, receiver.url)
    assert again["id"] > made["id"]


async def test_changes_are_guarded_by_etags_and_noted_in_the_audit_log(api: Api) -> None:
    made = await subscribe(api)
    path = f"/v1/subscriptions/{made['id']}"
    _, headers, _ = await api.heard("GET", path)
    tag = headers["ETag"]
    changed = await api.patch(path, {"name": "new", "states": ["failed"], "types": None})
    assert (changed["name"], changed["states"]) == ("new", ["failed"])
    assert (await api.ask("PATCH", path, {"name": "newer"}, If_Match=tag))[0] == 412
    await api.post(f"{path}/rotate", {}, 200)
    log = (await api.get("/v1/audit?subject=subscription"))["audit"]
    assert [(one["action"], one["fields"]) for one in log] == [
        ("rotate", []),
        ("update", ["name", "states"]),
        ("create", []),
    ]


async def test_the_numbers_for_prometheus_tell_of_subscriptions(
    api: Api, office: Office, receiver: Receiver
) -> None:
    connection = await api.shelf()
    await office.publish()
    await subscribe(api, receiver.url)
    await subscribe(api, enabled=False)
    await office.happen(connection["id"], 2)
    await office.pass_time(seconds=1)
    async with api.http.get(f"{api.url}/metrics") as answer:
        text = await answer.text()
    assert 'tidegate_subscriptions{status="active"} 1.0' in text
    assert 'tidegate_subscriptions{status="disabled"} 1.0' in text
    assert 'tidegate_webhook_attempts_total{outcome="delivered"} 2.0' in text
