"""Connections on the page, as people use it: a real Chromium at a real Tidegate, with a simulated remote."""

import asyncio
import time
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.ana import LIVE, connect
from tests.chaos.servers import free_port
from tests.chromium import window
from tests.tidegates import Up, run, running
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


async def test_the_first_connection_is_added_and_healthy_within_two_minutes(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    began = time.monotonic()
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key)
        await page.get_by_role("link", name="Add the first connection").click()
        await page.get_by_label("Paste the address").press_sequentially(
            f"{site.url}/issues/?filter={site.add_filter('project = TG')}", delay=2
        )
        await expect(page.get_by_role("radio", name="Jira")).to_be_checked()
        await expect(page.locator("#found")).to_contain_text("The issues of filter")
        await page.get_by_label("Email, or user name").fill("ana@example.com")
        await page.get_by_label("API token, or password").fill("token-1")
        await page.get_by_role("button", name="Test").click()
        await expect(page.locator("#tested")).to_contain_text("Ana Reyes")
        await expect(page.locator("#tested")).to_contain_text("20")
        await page.get_by_label("How often").select_option("Every 15 minutes")
        await expect(page.locator("#times time")).to_have_count(3)
        await page.get_by_label("Name", exact=True).fill("The team's issues")
        await page.get_by_role("button", name="Save and sync").click()
        await expect(page.locator("#state")).to_contain_text("Healthy")
        await expect(page.locator("#streams")).to_contain_text("20 by sync 1")
        assert time.monotonic() - began < 120
        seen.clean()
    [made] = (await up.call("GET", "/v1/connections"))["connections"]
    assert (made["name"], made["frequency"], made["health"]) == ("The team's issues", "every 15m", "healthy")
    assert len((await up.call("GET", "/v1/credentials"))["credentials"]) == 1


async def test_a_connection_is_synced_tested_paused_searched_and_removed_by_hand(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    connection = await connect(up, site)
    await up.synced(connection)
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key, f"/connections/{connection}")
        site.create_issue("TG", "A gauge that reads too high")
        await page.get_by_role("button", name="Sync now").click()
        await expect(page.locator("#syncs")).to_contain_text("issues 1 new")
        await page.get_by_role("button", name="Test").click()
        await expect(page.locator("#tested")).to_contain_text("Signed in there as")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#state")).to_contain_text("Paused")
        await page.get_by_role("button", name="Enable").click()
        await expect(page.locator("#state")).to_contain_text("Healthy")
        await page.get_by_role("link", name="Records").click()
        await page.get_by_role("searchbox").fill("too high")
        await page.get_by_role("searchbox").press("Enter")
        await page.get_by_role("table").get_by_role("link").click()
        await expect(page.locator("pre")).to_contain_text('"summary": "A gauge that reads too high"')
        await page.get_by_role("link", name="Settings").last.click()
        await page.get_by_role("link", name="Remove this connection").click()
        await page.get_by_role("button", name="Remove The team's issues").click()
        await expect(page.get_by_text("Nothing is kept in step yet")).to_be_visible()
        seen.clean()


async def test_what_went_wrong_is_said_with_what_to_do_and_is_over_once_it_is_mended(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    connection = await connect(up, site, secret="expired")
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key)
        row = page.locator(f".row[data-id='{connection}']")
        await expect(row).to_contain_text("Not synced yet")
        await up.synced(connection)
        await expect(row).to_contain_text("The remote refuses the sign-in")
        await expect(page.get_by_role("radio", name="Need somebody 1")).to_be_attached()
        await row.get_by_role("link").click()
        await expect(page.locator("#state")).to_contain_text("What to do:")
        [credential] = (await up.call("GET", "/v1/credentials"))["credentials"]
        await page.goto(f"{up.url}/settings/credentials/{credential['id']}")
        await page.get_by_label("API token, or password").fill("token-1")
        await page.get_by_role("button", name="Save").click()
        await page.goto(f"{up.url}/connections/{connection}")
        await page.get_by_role("button", name="Sync now").click()
        await expect(page.locator("#state")).to_contain_text("Healthy")
        seen.clean()


async def test_the_webhook_page_sees_the_first_call(
    data_dir: Path, site: JiraCloud, browser: Browser
) -> None:
    port = str(free_port())  # the remote is told of the address
    url = f"http://127.0.0.1:{port}"
    async with running(data_dir, TIDEGATE_PORT=port) as up, window(browser, url) as seen:
        await up.ready()
        connection = await connect(up, site)
        await up.synced(connection)
        page = await seen.sign_in(up.admin_key, f"/connections/{connection}/webhook")
        await expect(page.get_by_text("Waiting for the first call")).to_be_visible()
        await page.get_by_role("button", name="Set it up").click()
        await page.goto(f"{up.url}/connections/{connection}/webhook")
        await expect(page.get_by_text("Tidegate set it up at the remote")).to_be_visible()
        site.update_issue(next(iter(site.issues)), summary="Changed")
        await expect(page.get_by_text("It calls.")).to_be_visible()
        seen.clean()


async def test_a_page_left_open_through_a_restart_goes_on_by_itself_with_no_gap(
    data_dir: Path, site: JiraCloud, browser: Browser
) -> None:
    port = {"TIDEGATE_PORT": str(free_port())}
    async with window(browser, f"http://127.0.0.1:{port['TIDEGATE_PORT']}") as seen:
        async with running(data_dir, **port) as up:
            await up.ready()
            connection = await connect(up, site)
            await up.synced(connection)
            page = await seen.sign_in(up.admin_key)
            row = page.locator(f".row[data-id='{connection}']")
            await expect(row).to_contain_text("Healthy")
            await page.wait_for_selector(LIVE)
            await page.evaluate("window.same = true")
        await expect(page.get_by_text("Reconnecting")).to_be_visible()
        # While nobody serves; it is told of once somebody does.
        done = await run(data_dir, "connections", "disable", "The team's issues")
        assert done.code == 0, done.err
        async with running(data_dir, **port) as up:
            await up.ready()
            await expect(row).to_contain_text("Paused")
            await expect(page.get_by_text("Reconnecting")).to_be_hidden()
            assert await page.evaluate("window.same") is True
            await up.call("PATCH", f"/v1/connections/{connection}", {"enabled": True})
            await expect(row).to_contain_text("Healthy")


async def test_many_pages_of_one_browser_share_one_line_of_events(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    connection = await connect(up, site)
    await up.synced(connection)
    async with window(browser, up.url) as seen:
        pages = [await seen.sign_in(up.admin_key)]
        pages += [await seen.open("/") for _ in range(9)]
        await up.call("PATCH", f"/v1/connections/{connection}", {"enabled": False})
        for page in pages:
            await expect(page.locator(f".row[data-id='{connection}']")).to_contain_text("Paused")
        seen.clean()


async def test_a_key_that_reads_finds_nothing_to_press(up: Up, site: JiraCloud, browser: Browser) -> None:
    connection = await connect(up, site)
    await up.synced(connection)
    key = await up.call("POST", "/v1/keys", {"name": "wall", "permissions": ["read"]})
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(key["key"])
        await expect(page.get_by_role("link", name="Add")).to_have_count(0)
        await page.goto(f"{up.url}/connections/{connection}")
        await expect(page.locator("#state")).to_contain_text("Healthy")
        assert await page.locator("main button").count() == 0
        seen.clean()


async def test_a_link_on_another_site_leads_to_the_page_of_who_is_signed_in(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    async with window(browser, up.url) as seen:
        await seen.sign_in(up.admin_key)
        elsewhere = await seen.context.new_page()
        # To a browser this name is another site than the number.
        await elsewhere.goto(f"{up.url.replace('127.0.0.1', 'localhost')}/docs")
        await elsewhere.evaluate(f"location.href = '{up.url}/activity'")
        await expect(elsewhere.get_by_role("heading", name="Activity")).to_be_visible()


async def test_nothing_jumps_while_a_sync_runs(up: Up, site: JiraCloud, browser: Browser) -> None:
    connection = await connect(up, site)
    await up.synced(connection)
    site.latency = 0.2
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key)
        await page.wait_for_timeout(600)
        before = await page.evaluate("shifted")
        for _ in range(2):
            sync = await up.call("POST", f"/v1/connections/{connection}/sync", {"scope": "full"})
            await up.ended(sync["id"])
        await asyncio.sleep(1)
        assert await page.evaluate("shifted") - before < 0.02
        seen.clean()


async def test_hostile_names_run_nothing(up: Up, site: JiraCloud, browser: Browser) -> None:
    name = "<script>window.hurt=1</script><img src=x onerror=window.hurt=1>"
    connection = await connect(up, site, name)
    await up.synced(connection)
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key)
        for path in ("/", f"/connections/{connection}", "/activity", "/settings/audit"):
            await page.goto(up.url + path)
            await up.synced(connection)
            await page.wait_for_timeout(300)
            assert await page.evaluate("window.hurt") is None
        seen.clean()
