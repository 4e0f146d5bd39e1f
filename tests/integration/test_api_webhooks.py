"""The webhook of a connection over the API: its address, its steps, and setting it up at the remote."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.base import Forbidden, Unavailable
from store.database import Database
from tests.api_server import ADAPTERS, PUBLIC_URL, Api, serving_api
from tests.house import ADAPTERS as OURS
from tests.ringing_shelf import Librarian, ringing
from worker.registrar import Registrar

pytestmark = pytest.mark.sqlite_does


@pytest.fixture
def librarian() -> Librarian:
    return Librarian()


@pytest.fixture
async def api(database: Database, librarian: Librarian) -> AsyncIterator[Api]:
    adapters = {**ADAPTERS, **OURS, "ringing": ringing(librarian)}
    async with serving_api(database, adapters) as client:
        yield client


async def ringing_shelf(api: Api, **values: object) -> Any:
    body = {"name": "shelf", "system": "ringing", "url": "shelf.example/3", "frequency": "manually", **values}
    return await api.post("/v1/connections", body)


def path(made: Any) -> str:
    return f"/v1/connections/{made['id']}/webhook"


async def registered(api: Api, **values: object) -> Any:
    made = await ringing_shelf(api, **values)
    await api.post(path(made), {}, 200)
    return made


async def call(api: Api, url: str, secret: str = "") -> int:
    """The status that the remote gets."""
    local = url.replace(PUBLIC_URL, api.url)
    headers = {"X-API-Key": "", "X-Shelf-Secret": secret}
    async with api.http.post(local, data=b'{"books": ["b01"]}', headers=headers) as answer:
        return answer.status


async def audited(api: Api, made: Any) -> list[str]:
    entries = (await api.get(f"/v1/audit?subject=connection&subject_id={made['id']}"))["audit"]
    return [entry["action"] for entry in reversed(entries)]


async def test_the_address_is_where_others_reach_this_tidegate(api: Api) -> None:
    made = await api.shelf()
    found = await api.get(path(made))
    assert found["address"] == f"{PUBLIC_URL}/webhooks/{made['callback_token']}"
    assert (found["can_register"], found["registered"], found["has_secret"]) == (False, False, False)


@pytest.mark.parametrize(
    ("system", "url", "where"),
    [
        (
            "jira",
            "https://team.atlassian.net/issues/?filter=1",
            "https://team.atlassian.net/plugins/servlet/webhooks",
        ),
        (
            "jira",
            "https://api.atlassian.com/ex/jira/8bb4c1e1-2a2e-4b56-9ef4-0a51bb0a2b61/issues?filter=1",
            "https://your-site.atlassian.net/plugins/servlet/webhooks",
        ),
        (
            "jira",
            "https://jira.company.com/jira/issues/?filter=1",
            "https://jira.company.com/jira/plugins/servlet/webhooks",
        ),
        ("jenkins", "https://ci.company.com/job/api", "https://ci.company.com/job/api/configure"),
        (
            "azure",
            "https://dev.azure.com/company/web",
            "https://dev.azure.com/company/web/_settings/serviceHooks",
        ),
        (
            "azure",
            "https://dev.azure.com/company",
            "https://dev.azure.com/company/PROJECT/_settings/serviceHooks",
        ),
    ],
)
async def test_the_steps_lead_to_the_page_of_the_remote_and_hold_the_address(
    api: Api, system: str, url: str, where: str
) -> None:
    body = {"name": "any", "system": system, "url": url, "frequency": "manually", "webhook_secret": "hidden"}
    made = await api.post("/v1/connections", body)
    found = await api.get(path(made))
    assert where in [step["where"] for step in found["steps"]]
    values = [text for step in found["steps"] for text in step["values"].values()]
    assert any(made["callback_token"] in text for text in values)
    assert "hidden" not in str(found)


async def test_a_draft_has_an_address_and_steps_already(api: Api) -> None:
    made = await api.post("/v1/connections", {"name": "later", "system": "jira"})
    found = await api.get(path(made))
    assert made["callback_token"] in found["address"]
    assert found["steps"] != []


async def test_registering_has_the_remote_call_with_a_secret_that_nobody_sees(
    api: Api, librarian: Librarian
) -> None:
    made = await ringing_shelf(api)
    answer = await api.post(path(made), {}, 200)
    assert (answer["registered"], answer["has_secret"], answer["error"]) == (True, True, None)
    [(number, url)] = librarian.webhooks.items()
    secret = librarian.secrets[number]
    assert url == answer["address"]
    assert secret is not None
    assert len(secret) >= 32
    assert secret not in str(answer)
    assert await call(api, url) == 401
    assert await call(api, url, secret) == 202
    assert await audited(api, made) == ["create", "register"]


async def test_a_secret_that_was_given_is_the_one_that_is_registered(api: Api, librarian: Librarian) -> None:
    await registered(api, webhook_secret="known to both")
    assert list(librarian.secrets.values()) == ["known to both"]


async def test_registering_twice_leaves_one_webhook(api: Api, librarian: Librarian) -> None:
    made = await registered(api)
    await api.post(path(made), {}, 200)
    assert len(librarian.webhooks) == 1


async def test_a_remote_that_does_not_sign_leaves_the_connection_without_a_secret(
    api: Api, librarian: Librarian
) -> None:
    librarian.signed = False
    made = await registered(api)
    assert (await api.get(path(made)))["has_secret"] is False
    assert await call(api, next(iter(librarian.webhooks.values()))) == 202


async def test_a_secret_where_the_remote_does_not_sign_is_told(api: Api, librarian: Librarian) -> None:
    librarian.signed = False
    made = await registered(api, webhook_secret="known to both")
    assert "does not sign" in (await api.get(path(made)))["error"]["message"]


async def test_a_refusal_of_the_remote_is_told_and_changes_nothing(api: Api, librarian: Librarian) -> None:
    librarian.error = Forbidden("You are no administrator.", "Become one.")
    made = await ringing_shelf(api)
    answer = await api.post(path(made), {}, 200)
    assert (answer["registered"], answer["has_secret"]) == (False, False)
    assert answer["error"] == {
        "kind": "forbidden",
        "message": "You are no administrator.",
        "hint": "Become one.",
    }
    assert (await api.get(path(made)))["error"] is None


async def test_a_system_without_registration_is_for_a_person(api: Api) -> None:
    made = await api.shelf()
    problem = await api.post(path(made), {}, 409)
    assert "by a person" in problem["detail"]


@pytest.mark.parametrize("values", [{"url": None}, {"enabled": False}])
async def test_a_draft_or_disabled_connection_is_not_registered(api: Api, values: dict[str, object]) -> None:
    made = await ringing_shelf(api, **values)
    await api.post(path(made), {}, 409)


@pytest.mark.parametrize("own", ["http://127.0.0.1:8420", "http://localhost:8420", "http://[::1]:8420"])
async def test_an_address_that_the_remote_cannot_reach_is_not_registered(
    database: Database, librarian: Librarian, own: str
) -> None:
    async with serving_api(database, {"ringing": ringing(librarian)}, public_url=own) as api:
        made = await ringing_shelf(api)
        problem = await api.post(path(made), {}, 409)
        assert "TIDEGATE_PUBLIC_URL" in problem["detail"]
        near = await ringing_shelf(api, url="127.0.0.1/3")
        assert (await api.post(path(near), {}, 200))["registered"]
    assert len(librarian.webhooks) == 1


async def test_removing_it_takes_it_from_the_remote(api: Api, librarian: Librarian) -> None:
    made = await registered(api)
    answer = await api.delete(path(made), 200)
    assert (answer["registered"], answer["error"]) == (False, None)
    assert librarian.webhooks == {}
    assert await audited(api, made) == ["create", "register", "unregister"]


async def test_what_cannot_be_removed_now_is_told_and_removed_later(api: Api, librarian: Librarian) -> None:
    made = await registered(api)
    librarian.error = Unavailable("The library is closed.")
    answer = await api.delete(path(made), 200)
    assert (answer["registered"], answer["error"]["kind"]) == (True, "unreachable")
    librarian.error = None
    await registrar(api).settle(made["id"])
    assert (await api.get(path(made)))["registered"] is False
    assert librarian.webhooks == {}


async def test_a_leaked_address_is_replaced_and_the_remote_calls_the_new_one(
    api: Api, librarian: Librarian
) -> None:
    made = await registered(api, webhook_secret="s")
    old = (await api.get(path(made)))["address"]
    answer = await api.post(f"{path(made)}/rotate", {}, 200)
    assert answer["address"] != old
    assert list(librarian.webhooks.values()) == [answer["address"]]
    assert await call(api, old, "s") == 404
    assert await call(api, answer["address"], "s") == 202
    assert await audited(api, made) == ["create", "register", "rotate"]


async def test_an_address_can_be_replaced_where_nothing_is_registered(api: Api) -> None:
    made = await api.shelf()
    answer = await api.post(f"{path(made)}/rotate", {}, 200)
    assert made["callback_token"] not in answer["address"]
    assert (await api.get(f"/v1/connections/{made['id']}"))["callback_token"] in answer["address"]


@pytest.mark.parametrize(
    "change",
    [{"enabled": False}, {"url": "shelf.example/4"}, {"webhook_secret": "another"}, {"params": {"jql": "x"}}],
)
async def test_a_change_that_the_remote_has_to_know_is_rung_for(api: Api, change: dict[str, object]) -> None:
    made = await registered(api)
    await api.patch(f"/v1/connections/{made['id']}", change)
    assert api.rope.webhooks == [made["id"]]


async def test_other_changes_leave_the_remote_alone(api: Api) -> None:
    made = await registered(api)
    await api.patch(f"/v1/connections/{made['id']}", {"name": "another", "frequency": "daily"})
    assert api.rope.webhooks == []


async def test_a_connection_without_registration_rings_for_none(api: Api) -> None:
    made = await ringing_shelf(api)
    await api.patch(f"/v1/connections/{made['id']}", {"enabled": False})
    await api.delete(f"/v1/connections/{made['id']}")
    assert api.rope.webhooks == []


async def test_removing_the_connection_is_rung_for(api: Api) -> None:
    made = await registered(api)
    await api.delete(f"/v1/connections/{made['id']}")
    assert api.rope.webhooks == [made["id"]]


def registrar(api: Api) -> Registrar:
    context = api.context
    return Registrar(context.database, context.remotes, context.vault, context.public_url)
