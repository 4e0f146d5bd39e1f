"""Nobody is shut out of the page: keyboards, readers of screens, small windows, light and dark."""

import pytest
from playwright.async_api import Browser, expect

from tests.browser.ana import LIVE, connect
from tests.chromium import axe, overflow, window
from tests.tidegates import Up
from tidegate.demo.remotes.jira import JiraCloud

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


async def views(up: Up, site: JiraCloud) -> list[str]:
    """Every view, with something in it."""
    fine, broken = await connect(up, site), await connect(up, site, "The other team's issues", "expired")
    for connection in (fine, broken):
        await up.synced(connection)
    await up.call("POST", "/v1/keys", {"name": "wall", "permissions": ["read"]})
    await up.call("POST", "/v1/projects", {"name": "Web shop", "key": "WEB"})
    told = {"name": "chat", "url": f"{site.url}/nothing", "types": ["connection_status"]}
    await up.call("POST", "/v1/subscriptions", told)
    one = f"/connections/{fine}"
    return [
        "/",
        "/?group=system&sort=name",
        "/?q=nothing+fits",
        one,
        f"/connections/{broken}",
        *(f"{one}/{page}" for page in "syncs records quarantine webhook edit remove".split()),
        f"{one}/record?stream=issues&key={next(iter(site.issues))}",
        f"/connections/new?url={site.url}/issues/?filter=1",
        "/activity",
        *(f"/settings/{page}" for page in "credentials credentials/1 credentials/new keys audit".split()),
        "/settings/projects",
        "/settings/subscriptions",
        "/settings/subscriptions/1",
        "/connections/999",
    ]


@pytest.mark.timeout(500)
async def test_axe_finds_nothing_in_any_view_and_none_is_wider_than_its_window(
    up: Up, site: JiraCloud, browser: Browser
) -> None:
    paths = await views(up, site)
    for dark, wide in ((False, 1280), (True, 1280), (False, 360), (True, 768)):
        async with window(browser, up.url, dark=dark, wide=wide) as seen:
            page = await seen.open("/sign-in")
            assert [str(one) for one in await axe(page)] == [], "/sign-in"
            page = await seen.sign_in(up.admin_key)
            for path in paths:
                await page.goto(up.url + path)
                wrong = [str(one) for one in await axe(page)]
                assert wrong == [], (path, dark, wide, "\n".join(wrong))
                assert await overflow(page) <= 0, (path, wide)
            seen.clean()


async def test_everything_is_reached_by_keyboard(up: Up, site: JiraCloud, browser: Browser) -> None:
    connection = await connect(up, site)
    await up.synced(connection)
    async with window(browser, up.url) as seen:
        page = await seen.sign_in(up.admin_key, f"/connections/{connection}")
        reached = set()
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement === document.body"):
                continue
            name = await page.evaluate("document.activeElement.textContent")
            reached.add(" ".join(name.split()))
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", name
        for name in ("Sync now", "Test", "Pause", "Records", "Settings", "Activity", "Issues", "admin key"):
            assert name in reached, (name, reached)
        await page.goto(f"{up.url}/connections/{connection}")
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#state")).to_contain_text("Paused")
        await page.goto(f"{up.url}/")
        await page.wait_for_selector(LIVE)
        await page.keyboard.press("/")
        await page.keyboard.type("nothing fits")
        await expect(page.get_by_text("No connection fits.")).to_be_visible()
