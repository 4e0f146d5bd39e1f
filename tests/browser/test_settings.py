"""Settings and activity on the page, as people use them."""

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.browser.ana import LIVE, connect
from tests.chromium import window
from tests.servers import serving
from tests.tidegates import Up
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


async def test_a_project_is_made_filled_renamed_and_removed(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    connection = await connect(up, site)
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key, "/settings/projects")
        await page.get_by_label("Name").fill("Web shop")
        await page.get_by_label("Key").fill("WEB")
        await page.get_by_role("button", name="Make the project").click()
        await page.goto(f"{up.url}/connections/{connection}/edit")
        await page.get_by_label("Project", exact=True).select_option("Web shop")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#state")).to_contain_text("Web shop")
        await page.goto(f"{up.url}/settings/projects")
        await page.locator("summary", has_text="Change").click()
        await page.get_by_label("Name").first.fill("The shop")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("link", name="The shop").click()
        await expect(page.locator(".row")).to_contain_text("The team's issues")
        await page.goto(f"{up.url}/settings/projects")
        await page.locator("summary", has_text="Change").click()
        await page.get_by_role("button", name="Remove The shop").click()
        await expect(page.get_by_text("This project is used by 1 connection")).to_be_visible()
        seen.clean()


async def test_a_key_that_was_made_signs_in_and_sees_its_project_until_it_is_revoked(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    await connect(up, site, "Not for the wall")
    project = await up.call("POST", "/v1/projects", {"name": "Wall", "key": "WALL"})
    connection = await connect(up, site, "For the wall")
    await up.call("PATCH", f"/v1/connections/{connection}", {"project_id": project["id"]})
    async with window(browser, up.url) as seen, window(browser, up.url) as wall:
        page = await seen.sign_in(up.admin_key, "/settings/keys")
        await page.get_by_label("Name").fill("wall")
        await page.get_by_text("Only some projects").click()
        await page.get_by_label("Wall", exact=True).check()
        await page.get_by_role("button", name="Make the key").click()
        theirs = await wall.sign_in(await page.locator("#made-key").inner_text())
        await expect(theirs.locator(".row")).to_have_count(1)
        await expect(theirs.locator(".row")).to_contain_text("For the wall")
        await page.locator("summary", has_text="Revoke").click()
        await page.get_by_role("button", name="Revoke wall").click()
        await theirs.reload()
        await expect(theirs.get_by_label("API key")).to_be_visible()
        seen.clean()


async def test_a_subscription_is_made_tried_and_its_deliveries_are_seen(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    async def taken(_: web.Request) -> web.Response:
        return web.Response(status=204)

    connection = await connect(up, site)
    async with serving(taken) as receiver, window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key, "/settings/subscriptions")
        await page.get_by_label("Name").fill("chat")
        await page.get_by_label("Address").fill(f"{receiver.url}/events")
        await page.get_by_role("button", name="Make the subscription").click()
        await expect(page.locator("#made-secret")).to_contain_text("whsec_")
        await page.get_by_role("link", name="chat").click()
        await page.get_by_role("button", name="Send a test").click()
        await expect(page.locator("#tested")).to_contain_text("It arrived")
        await up.call("POST", f"/v1/connections/{connection}/sync", {})
        await up.synced(connection)
        for _ in range(60):
            await page.reload()
            if await page.get_by_role("cell", name="Delivered").count():
                break
            await page.wait_for_timeout(500)
        await expect(page.get_by_role("cell", name="Delivered").first).to_be_visible()
        await page.get_by_role("button", name="Send event").first.click()
        await expect(page.locator("#tested")).not_to_be_empty()
        seen.clean()


async def test_activity_shows_what_happens_as_it_happens_and_only_what_was_asked_for(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    one, other = await connect(up, site, "One"), await connect(up, site, "Other")
    await up.synced(one)
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key, "/activity")
        await page.get_by_role("searchbox").fill("Other")
        await page.get_by_role("button", name="Apply").click()
        await page.wait_for_selector(LIVE)
        events = page.locator("#events")
        for connection in (one, other):
            await up.call("POST", f"/v1/connections/{connection}/sync", {"scope": "full"})
        await up.synced(one)
        await expect(events.get_by_text("succeeded").first).to_be_visible()
        assert await events.get_by_role("link", name="One").count() == 0
        seen.clean()


async def test_everything_of_a_connection_is_changed_in_one_form(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    connection = await connect(up, site)
    await up.synced(connection)
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key, f"/connections/{connection}/edit")
        await page.get_by_label("Name", exact=True).fill("Issues, without their comments")
        await page.get_by_label("How often").select_option("Every day")
        await page.get_by_text("Only some", exact=True).click()
        for stream in ("Comments", "Worklogs", "Changelogs"):
            await page.get_by_label(stream, exact=True).uncheck()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("without their comments")
        await expect(page.locator("#state")).to_contain_text("daily")
        seen.clean()
    changed = await up.call("GET", f"/v1/connections/{connection}")
    assert (changed["streams"], changed["frequency"]) == (["issues"], "daily")
