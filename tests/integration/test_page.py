"""The page without a browser: what it says, what it never says, and what it lets people do."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.ui.front import POLICY
from api.ui.routes import ROUTES
from config.secret import MASK
from store import outbox
from store.database import Database
from store.outbox import RELAY
from tests.api_server import ADMIN_KEY, Api
from tests.page import browsing, parsed, serving_page, words_of

pytestmark = pytest.mark.sqlite_does

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
SECRET = "a secret of the tests"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_page(database) as served:
        yield served


async def everything(api: Api) -> dict[str, int]:
    """One thing of each kind, with names that mean harm."""
    project = await api.post("/v1/projects", {"name": HOSTILE, "key": "P"})
    credential = await api.credential(name=HOSTILE, secret=SECRET)
    made = await api.shelf(
        "shelf.example/3?state=torn",
        name=HOSTILE,
        project_id=project["id"],
        credential_id=credential["id"],
        webhook_secret="another secret of the tests",
    )
    sync = await api.synced(made["id"])
    await api.post("/v1/keys", {"name": HOSTILE, "permissions": ["read"], "projects": [project["id"]]})
    async with api.context.database.write() as connection:
        fence = await outbox.take_duty(connection, RELAY, "test", 60)
        assert fence is not None
        await outbox.give_positions(connection, fence)
    return {"connection": made["id"], "sync": sync["id"], "credential": credential["id"]}


def pages(ids: dict[str, int]) -> list[str]:
    one = f"/connections/{ids['connection']}"
    return [
        "/",
        "/?group=project&q=script",
        one,
        *(f"{one}/{page}" for page in ("syncs", "records", "quarantine", "webhook", "edit", "remove")),
        f"{one}/records?stream=books&q=%3Cscript%3E",
        f"{one}/record?stream=books&key=b01",
        "/connections/new?url=%22%3E%3Cscript%3Ealert(1)",
        "/activity?what=everything",
        "/activity?q=%3Cscript%3E",
        "/settings/keys",
        "/settings/credentials",
        f"/settings/credentials/{ids['credential']}",
        "/settings/credentials/new?system=%3Cscript%3E",
        "/settings/audit",
        "/settings/subscriptions",
        "/settings/projects",
        "/connections/999",
    ]


async def test_no_page_runs_loads_or_shows_what_it_must_not(api: Api) -> None:
    ids = await everything(api)
    async with browsing(api) as browser:
        for path in pages(ids):
            shown = await browser.get(path)
            assert shown.status == (404 if "999" in path else 200), (path, shown.text)
            assert shown.headers["Content-Security-Policy"] == POLICY
            assert shown.headers["Cache-Control"] == "no-store"
            found = parsed(shown.text)
            assert found.inline == [], path
            assert all(script and "/ui/static/" in script for script in found.scripts), path
            assert all("/ui/static/" in one and "//" not in one for one in found.loaded), path
            for secret in (ADMIN_KEY, SECRET, "another secret of the tests"):
                assert secret not in shown.text, path


async def test_hostile_names_are_shown_as_they_are(api: Api) -> None:
    ids = await everything(api)
    async with browsing(api) as browser:
        for path in ("/", f"/connections/{ids['connection']}", "/activity", "/settings/audit"):
            assert HOSTILE in words_of((await browser.get(path)).text), path


async def test_every_route_but_the_open_ones_needs_a_session(api: Api) -> None:
    async with browsing(api, None) as browser:
        for route in ROUTES:
            if route.open is not None:
                continue
            path = re.sub(r"\{\w+\}", "1", route.path)
            if route.method == "GET":
                assert (await browser.get(path)).path == "/sign-in", path
            else:
                assert (await browser.post(path)).status == 401, path


async def test_what_changes_something_is_never_done_by_a_link() -> None:
    reading = {route.path for route in ROUTES if route.method == "GET" and route.view is not None}
    for word in ("sync", "pause", "enable", "test", "cancel", "revoke", "move"):
        assert not any(path.endswith(f"/{word}") for path in reading)


async def test_the_overview_shows_who_needs_somebody_first(api: Api) -> None:
    await api.synced((await api.shelf(name="fine"))["id"])
    broken = await api.shelf("shelf.example/3?state=locked", name="broken", frequency="hourly")
    await api.shelf(name="waits")
    async with api.context.database.write() as connection:
        failure = {"kind": "auth", "message": "The librarian does not know you.", "hint": "Tell her."}
        from store import connections  # noqa: PLC0415 - only here

        await connections.change(connection, broken["id"], await _now(api), {"failure": failure})
    async with browsing(api) as browser:
        text = words_of((await browser.get("/")).text)
        assert text.index("broken") < text.index("waits") < text.index("fine")
        assert "The remote refuses the sign-in" in text
        assert "Need somebody 1" in text
        only = words_of((await browser.get("/?show=attention")).text)
        assert "fine" not in only.partition("Next due")[2]
        page = words_of((await browser.get(f"/connections/{broken['id']}")).text)
        assert "The librarian does not know you." in page
        assert "What to do: Tell her." in page


async def _now(api: Api) -> Any:
    return await api.context.database.time()


async def test_rows_are_told_with_their_place(api: Api) -> None:
    first, second, third = [await api.shelf(name=name) for name in ("a", "b", "c")]
    async with browsing(api) as browser:
        wanted = f"ids={first['id']},{third['id']}&moved={first['id']},{third['id']}"
        told = json.loads((await browser.get(f"/ui/rows?{wanted}")).text)
    assert {row["id"]: row["after"] for row in told["rows"]} == {first["id"]: None, third["id"]: second["id"]}
    assert "summary" in told


async def test_a_row_that_fits_no_more_is_gone(api: Api) -> None:
    made = await api.shelf()
    async with browsing(api) as browser:
        told = json.loads((await browser.get(f"/ui/rows?ids={made['id']}&moved={made['id']}&q=other")).text)
    assert told["gone"] == [made["id"]]


async def test_a_connection_is_paused_enabled_synced_and_removed(api: Api) -> None:
    made = await api.shelf()
    path = f"/connections/{made['id']}"
    async with browsing(api) as browser:
        await browser.send(f"{path}/pause")
        assert (await api.get(f"/v1{path}"))["health"] == "disabled"
        refused = await browser.send(f"{path}/sync")
        assert refused.status == 409
        await browser.send(f"{path}/enable")
        assert (await browser.send(f"{path}/sync", scope="full")).headers["Location"] == f"../..{path}"
        [sync] = (await api.get("/v1/syncs"))["syncs"]
        assert (sync["scope"], sync["state"]) == ("full", "queued")
        assert (await browser.send(f"/syncs/{sync['id']}/cancel")).status == 303
        assert (await browser.send(f"/syncs/{sync['id']}/cancel")).status == 303
        await browser.send(f"{path}/remove", records="keep")
        assert (await browser.get(path)).status == 404
    log = (await api.get("/v1/audit"))["audit"]
    assert [one["action"] for one in log] == ["delete", "cancel", "sync", "update", "update", "create"]


async def test_a_connection_is_added_with_a_new_credential_that_works(api: Api) -> None:
    fields = {
        "url": "shelf.example/7", "system": "shelf", "credential": "new", "kind": "basic", "username": "me",
        "secret": SECRET, "often": "other", "frequency": "daily at 02:30", "timezone": "Europe/Berlin",
        "name": "Seven books", "project": "new", "project_name": "The library",
    }  # fmt: skip
    async with browsing(api) as browser:
        tried = await browser.post(
            "/connections/new/test", {**fields, "token": await browser.token()}, X_Page_Script="yes"
        )
        assert "Signed in there as reader" in words_of(tried.text)
        assert SECRET not in tried.text
        [credential] = (await api.get("/v1/credentials"))["credentials"]
        fields["credential"] = str(credential["id"])
        shown = await browser.send("/connections/new", **fields)
        assert shown.status == 303, shown.text
    [made] = (await api.get("/v1/connections"))["connections"]
    assert shown.headers["Location"] == f"../connections/{made['id']}"
    assert (made["name"], made["frequency"], made["timezone"]) == (
        "Seven books",
        "daily at 02:30",
        "Europe/Berlin",
    )
    assert made["credential_id"] == credential["id"]
    assert (await api.get(f"/v1/projects/{made['project_id']}"))["name"] == "The library"


async def test_a_new_credential_that_does_not_work_is_not_kept(api: Api) -> None:
    fields = {"url": "shelf.example/7?state=locked", "system": "shelf", "credential": "new", "kind": "basic"}
    async with browsing(api) as browser:
        tried = await browser.send("/connections/new/test", **fields, username="me", secret=SECRET)
        assert "The librarian does not know you." in tried.text
        assert SECRET not in tried.text
    assert (await api.get("/v1/credentials"))["credentials"] == []


async def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(api: Api) -> None:
    async with browsing(api) as browser:
        shown = await browser.send(
            "/connections/new", url="shelf.example/7", system="shelf", credential="none", often="other",
            frequency="sometimes", name="Seven books",
        )  # fmt: skip
        assert shown.status == 422
        assert "'sometimes' is not a frequency" in words_of(shown.text)
        assert 'value="Seven books"' in shown.text
    assert (await api.get("/v1/connections"))["connections"] == []


async def test_settings_are_changed_but_not_over_anothers_change(api: Api) -> None:
    made = await api.shelf(name="before")
    path = f"/connections/{made['id']}/edit"
    async with browsing(api) as browser:
        page = (await browser.get(path)).text
        version = page.partition('name="version" value="')[2].partition('"')[0]
        fields = {
            "name": "after", "url": "shelf.example/3", "credential": "none", "often": "hourly",
            "timezone": "UTC", "which": "some", "streams": "books", "version": version,
        }  # fmt: skip
        assert (await browser.send(path, **fields)).status == 303
        changed = await api.get(f"/v1/connections/{made['id']}")
        assert (changed["name"], changed["frequency"], changed["streams"]) == ("after", "hourly", ["books"])
        again = await browser.send(path, **{**fields, "name": "over it"})
        assert again.status == 412
        assert "changed meanwhile" in words_of(again.text)


async def test_a_project_is_made_renamed_and_removed_once_nothing_is_in_it(api: Api) -> None:
    async with browsing(api) as browser:
        assert (await browser.send("/settings/projects", name="Web shop", key="WEB")).status == 303
        [project] = (await api.get("/v1/projects"))["projects"]
        made, path = await api.shelf(project_id=project["id"]), f"/settings/projects/{project['id']}"
        assert (await browser.send(path, name="The web shop", key="SHOP")).status == 303
        shown = words_of((await browser.get("/settings/projects")).text)
        assert "The web shop SHOP 1" in shown
        refused = await browser.send(f"{path}/remove")
        assert refused.status == 409
        assert f"used by 1 connection ({made['id']})" in words_of(refused.text)
        await api.delete(f"/v1/connections/{made['id']}")
        assert (await browser.send(f"{path}/remove")).status == 303
    assert (await api.get("/v1/projects"))["projects"] == []


async def test_what_is_wrong_with_a_project_is_said_where_it_was_typed(api: Api) -> None:
    await api.post("/v1/projects", {"name": "Web", "key": "WEB"})
    other = await api.post("/v1/projects", {"name": "Office", "key": "OFF"})
    async with browsing(api) as browser:
        taken = await browser.send("/settings/projects", name="Another", key="WEB")
        assert (taken.status, 'id="wrong-key"' in taken.text) == (409, True)
        assert 'value="Another"' in taken.text
        changed = await browser.send(f"/settings/projects/{other['id']}", name="Office", key="WEB")
        assert (changed.status, "There is a project with the key WEB" in changed.text) == (409, True)
        assert (await browser.send("/settings/projects/999", name="x", key="X")).status == 404
        assert (await browser.send("/settings/projects", name="", key="")).status == 422


async def test_a_key_is_shown_once(api: Api) -> None:
    async with browsing(api) as browser:
        shown = await browser.send("/settings/keys", name="ana", permission="read")
        text = shown.text.partition('id="made-key">')[2].partition("<")[0]
        assert text.startswith("tg_")
        assert text not in (await browser.get("/settings/keys")).text
        [key] = (await api.get("/v1/keys"))["keys"]
        await browser.send(f"/settings/keys/{key['id']}/revoke")
        assert "revoked" in words_of((await browser.get("/settings/keys")).text)


async def test_a_credential_is_changed_and_its_secret_stays_where_it_is_left_empty(api: Api) -> None:
    credential = await api.credential()
    path = f"/settings/credentials/{credential['id']}"
    async with browsing(api) as browser:
        shown = await browser.send(path, name="other", kind="basic", username="you", secret="")
        assert shown.status == 303, shown.text
        changed = await api.get(f"/v1/credentials/{credential['id']}")
        assert (changed["name"], changed["username"], changed["has_secret"]) == ("other", "you", True)
        assert (await browser.send(f"{path}/remove")).status == 303


async def test_a_subscription_is_made_tried_switched_and_removed(api: Api) -> None:
    async with browsing(api) as browser:
        fields = {"name": HOSTILE, "url": f"{api.url}/healthz", "told": "trouble"}
        shown = await browser.send("/settings/subscriptions", **fields)
        secret = shown.text.partition('id="made-secret">')[2].partition("<")[0]
        assert secret.startswith("whsec_"), shown.text
        [made] = (await api.get("/v1/subscriptions"))["subscriptions"]
        assert made["healths"] == ["failed", "partial", "stale", "healthy"]
        path = f"/settings/subscriptions/{made['id']}"
        for page in ("/settings/subscriptions", path, f"{path}?state=failed"):
            again = await browser.get(page)
            assert secret not in again.text
            assert parsed(again.text).inline == []
            assert HOSTILE in words_of(again.text)
        tried = await browser.send(f"{path}/test")
        assert "It did not arrive" in words_of(tried.text)
        await browser.send(f"{path}/switch", enabled="no")
        assert (await api.get(f"/v1/subscriptions/{made['id']}"))["enabled"] is False
        rotated = await browser.send(f"{path}/rotate")
        assert 'id="made-secret">whsec_' in rotated.text
        await browser.send(f"{path}/remove")
        assert (await browser.get(path)).status == 404


async def test_what_is_wrong_with_a_subscription_is_said(api: Api) -> None:
    async with browsing(api) as browser:
        shown = await browser.send("/settings/subscriptions", name="x", url="what is this")
    assert shown.status == 422
    assert 'id="wrong-url"' in shown.text


async def test_records_are_found_by_key_and_shown_as_the_remote_sent_them(api: Api) -> None:
    made = await api.shelf()
    await api.synced(made["id"])
    path = f"/connections/{made['id']}"
    async with browsing(api) as browser:
        found = words_of((await browser.get(f"{path}/records?stream=books&q=b02")).text)
        assert "b02" in found
        assert "b01" not in found
        shown = await browser.get(f"{path}/record?stream=books&key=b02")
        assert '"n": 2' in words_of(shown.text)
        assert "1.10" in shown.text
        assert (await browser.get(f"{path}/record?stream=books&key=b09")).status == 404


async def test_what_could_not_be_read_is_in_quarantine(api: Api) -> None:
    made = await api.shelf("shelf.example/3?state=torn")
    await api.synced(made["id"])
    async with browsing(api) as browser:
        shown = words_of((await browser.get(f"/connections/{made['id']}/quarantine")).text)
    assert "b99" in shown
    assert "torn" in shown


async def test_the_webhook_page_waits_for_the_first_call(api: Api) -> None:
    made = await api.shelf()
    async with browsing(api) as browser:
        shown = await browser.get(f"/connections/{made['id']}/webhook")
        assert "Waiting for the first call" in shown.text
        assert made["callback_token"] in shown.text
        secret = await browser.send(f"/connections/{made['id']}/webhook/secret", secret=SECRET)
        assert secret.status == 303
        assert (await api.get(f"/v1/connections/{made['id']}"))["has_webhook_secret"]
        await browser.send(f"/connections/{made['id']}/webhook/secret", secret=MASK)
        assert (await api.get(f"/v1/connections/{made['id']}"))["has_webhook_secret"]


async def test_an_address_is_recognised(api: Api) -> None:
    async with browsing(api) as browser:
        shown = await browser.get("/ui/recognise?url=shelf.example/7")
        assert "checked" in shown.text
        unknown = await browser.get("/ui/recognise?url=what%20is%20this")
        assert "No system has such an address" in words_of(unknown.text)


async def test_the_next_three_times_are_shown_in_their_zone(api: Api) -> None:
    async with browsing(api) as browser:
        query = "often=other&frequency=daily+at+02%3A30&timezone=Europe/Berlin"
        shown = words_of((await browser.get(f"/ui/times?{query}")).text)
        assert shown.count(", 02:30") == 3
        assert "Europe/Berlin" in shown


async def test_files_are_kept_by_browsers_for_as_long_as_they_are_the_same(api: Api) -> None:
    async with browsing(api) as browser:
        page = (await browser.get("/")).text
        path = page.partition('src=".')[2].partition('"')[0]
        shown = await browser.get(path)
        assert shown.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert "immutable" in shown.headers["Cache-Control"]
        assert (await browser.get("/ui/static/old/page.css")).headers["Cache-Control"] == "no-cache"
        assert (await browser.get("/ui/static/old/..%2Flooks.py")).status == 404


async def test_the_page_is_no_part_of_the_apis_description(api: Api) -> None:
    described = (await api.get("/openapi.json"))["paths"]
    assert not {route.path for route in ROUTES} & set(described)
