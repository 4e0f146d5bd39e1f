"""Who is signed in at the page, and what no other page can have done in their name."""

from collections.abc import AsyncIterator
from urllib.parse import unquote

import msgspec
import pytest
from msgspec.structs import replace

from api.ui import session as sessions
from api.ui.front import POLICY
from config.secret import Secret
from store.database import Database
from tests.api_server import ADMIN_KEY, Api
from tests.page import browsing, cookie_of, keep_cookie, serving_page, words_of

pytestmark = pytest.mark.sqlite_does


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_page(database) as served:
        yield served


async def key_of(api: Api, *permissions: str, **values: object) -> str:
    made = await api.post("/v1/keys", {"name": "ana", "permissions": list(permissions), **values})
    return str(made["key"])


async def test_without_a_session_every_page_leads_to_the_sign_in_and_back(api: Api) -> None:
    async with browsing(api, None) as browser:
        shown = await browser.get("/activity?what=health")
        assert shown.path == "/sign-in"
        assert 'value="/activity?what=health"' in shown.text
        back = await browser.post("/sign-in", {"key": ADMIN_KEY, "next": "/activity?what=health"})
        assert back.headers["Location"] == "./activity?what=health"


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil"])
async def test_the_sign_in_leads_nowhere_else(api: Api, wanted: str) -> None:
    async with browsing(api, None) as browser:
        shown = await browser.post("/sign-in", {"key": ADMIN_KEY, "next": wanted})
        assert shown.headers["Location"] == "./"


async def test_what_the_sign_in_is_told_is_shown_as_text(api: Api) -> None:
    async with browsing(api, None) as browser:
        shown = await browser.get("/sign-in?next=%2F%22%3E%3Cscript%3E")
        assert shown.headers["Content-Security-Policy"] == POLICY
        assert "<script" not in shown.text


async def test_a_wrong_key_is_refused_and_too_many_are_told_to_wait(api: Api) -> None:
    async with browsing(api, None) as browser:
        shown = await browser.post("/sign-in", {"key": "tg_wrong"})
        assert shown.status == 401
        assert "not known" in words_of(shown.text)
        for _ in range(20):
            shown = await browser.post("/sign-in", {"key": "tg_wrong"})
        assert shown.status == 429
        assert int(shown.headers["Retry-After"]) > 0
        assert not list(browser.http.cookie_jar)


async def test_the_cookie_holds_no_key_and_no_script_or_other_site_gets_it(api: Api) -> None:
    async with browsing(api) as browser:
        cookie = cookie_of(browser)
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert int(cookie["max-age"]) == 12 * 3600
        assert ADMIN_KEY not in unquote(cookie.value)


async def test_over_https_the_cookie_is_for_this_host_and_encrypted_lines_alone(database: Database) -> None:
    async with serving_page(database, public_url="https://tidegate.example") as api:
        async with browsing(api, None) as browser:
            shown = await browser.post("/sign-in", {"key": ADMIN_KEY})
        given = shown.headers["Set-Cookie"]
        assert given.startswith("__Host-tidegate=")
        assert "Secure" in given


async def test_a_changed_cookie_opens_nothing(api: Api) -> None:
    async with browsing(api) as browser:
        value = cookie_of(browser).value
        keep_cookie(browser, value[:-2] + ("AA" if value[-2:] != "AA" else "BB"))
        assert (await browser.get("/")).path == "/sign-in"


async def test_a_session_ends_after_its_time(api: Api) -> None:
    async with browsing(api) as browser:
        vault = api.context.vault
        opened = msgspec.json.decode(
            vault.open(cookie_of(browser).value, sessions.PLACE), type=sessions.Session
        )
        over = replace(opened, expires_at=opened.expires_at - sessions.LASTS)
        keep_cookie(browser, vault.seal(msgspec.json.encode(over).decode(), sessions.PLACE))
        assert (await browser.get("/")).path == "/sign-in"


async def test_a_revoked_key_is_signed_out(api: Api) -> None:
    made = await api.post("/v1/keys", {"name": "ana", "permissions": ["read"]})
    async with browsing(api, made["key"]) as browser:
        assert (await browser.get("/")).path == "/"
        await api.delete(f"/v1/keys/{made['id']}")
        assert (await browser.get("/")).path == "/sign-in"


async def test_another_administrators_key_ends_the_sessions_of_the_old_one(database: Database) -> None:
    async with serving_page(database) as api, browsing(api) as browser:
        value = cookie_of(browser).value
    renewed = "another key of the tests"
    async with (
        serving_page(database, admin_key=Secret(renewed)) as api,
        browsing(api, renewed) as browser,
    ):
        assert (await browser.get("/")).path == "/"
        keep_cookie(browser, value)
        assert (await browser.get("/")).path == "/sign-in"


async def test_signing_out_takes_the_cookie_back(api: Api) -> None:
    async with browsing(api) as browser:
        shown = await browser.send("/sign-out")
        assert shown.status == 303
        assert not list(browser.http.cookie_jar)
        assert (await browser.get("/")).path == "/sign-in"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
async def test_what_comes_from_another_site_does_nothing(api: Api, origin: str) -> None:
    made = await api.shelf()
    async with browsing(api) as browser:
        fields = {"token": await browser.token(), "scope": "full"}
        shown = await browser.post(f"/connections/{made['id']}/sync", fields, origin=origin)
        assert shown.status == 403
    assert (await api.get("/v1/syncs"))["syncs"] == []


@pytest.mark.parametrize("token", ["", "that of another session"])
async def test_a_form_of_another_session_does_nothing(api: Api, token: str) -> None:
    made = await api.shelf()
    async with browsing(api) as browser:
        shown = await browser.post(f"/connections/{made['id']}/sync", {"token": token})
        assert shown.status == 403
    assert (await api.get("/v1/syncs"))["syncs"] == []


async def test_the_cookie_does_not_open_the_api(api: Api) -> None:
    async with browsing(api) as browser:
        assert (await browser.get("/v1/connections")).status == 401


async def test_a_link_from_elsewhere_is_asked_for_again_from_here(api: Api) -> None:
    async with browsing(api, None) as browser:
        shown = await browser.get("/connections/1", Sec_Fetch_Site="cross-site")
        assert shown.path == "/connections/1"
        assert 'http-equiv="refresh"' in shown.text


async def test_scripts_of_a_page_that_is_signed_out_are_told_so(api: Api) -> None:
    async with browsing(api, None) as browser:
        assert (await browser.get("/ui/session", X_Page_Script="yes")).status == 401
        assert (await browser.get("/ui/events", X_Page_Script="yes")).status == 401


async def test_a_key_that_reads_sees_everything_and_can_do_nothing(api: Api) -> None:
    made = await api.shelf()
    await api.synced(made["id"])
    path = f"/connections/{made['id']}"
    async with browsing(api, await key_of(api, "read")) as browser:
        for page in ("/", path, f"{path}/records", f"{path}/quarantine", f"{path}/syncs", "/activity"):
            shown = await browser.get(page)
            assert shown.status == 200
            assert "Sync now" not in shown.text
            assert "Add" not in words_of(shown.text)
        for page in (
            f"{path}/edit",
            f"{path}/webhook",
            f"{path}/remove",
            "/connections/new",
            "/settings/keys",
        ):
            assert (await browser.get(page)).status == 403
        for act in ("sync", "test", "pause", "enable", "remove", "edit", "webhook/move", "webhook/secret"):
            assert (await browser.send(f"{path}/{act}")).status == 403
        assert (await browser.send("/settings/keys", name="mine", permission="admin")).status == 403
        assert (await browser.send("/settings/credentials/new", name="mine")).status == 403
        assert (await browser.send("/settings/projects", name="mine", key="M")).status == 403
        assert "Make a project" not in (await browser.get("/settings/projects")).text
    assert (await api.get(f"/v1/connections/{made['id']}"))["enabled"]


async def test_a_key_of_a_project_sees_its_own(api: Api) -> None:
    project = await api.post("/v1/projects", {"name": "Web", "key": "WEB"})
    mine = await api.shelf(name="mine", project_id=project["id"])
    other = await api.shelf(name="not for ana")
    async with browsing(api, await key_of(api, "write", projects=[project["id"]])) as browser:
        shown = await browser.get("/")
        assert "mine" in shown.text
        assert "not for ana" not in shown.text
        assert (await browser.get(f"/connections/{mine['id']}")).status == 200
        for page in ("", "/records", "/syncs", "/webhook", "/edit", "/quarantine"):
            assert (await browser.get(f"/connections/{other['id']}{page}")).status == 404
        assert (await browser.send(f"/connections/{other['id']}/sync")).status == 404
        rows = await browser.get(f"/ui/rows?ids={mine['id']},{other['id']}&moved={other['id']}")
        assert "not for ana" not in rows.text
        assert (await browser.get("/settings/credentials")).status == 403
