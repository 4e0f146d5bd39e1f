"""The page in a real browser, which notes whatever it was refused, whatever failed, and whom it asked."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
    expect,
)

#: The machines of CI are slow.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

#: What the page may not do is told to the console and here.
_WATCH = """
addEventListener("securitypolicyviolation", (one) => {
  window.violated(`${one.violatedDirective} ${one.blockedURI}`);
});
window.shifted = 0;
new PerformanceObserver((seen) => {
  for (const one of seen.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
_AXE = (
    "() => axe.run(document, {resultTypes: ['violations']}).then((found) => JSON.stringify(found.violations))"
)


class Wrong(msgspec.Struct, frozen=True):
    """What axe finds wrong with a page, and where."""

    id: str
    help: str
    nodes: Sequence[dict[str, object]]

    def __str__(self) -> str:
        where = [f"  {node['html']}: {node['failureSummary']}" for node in self.nodes[:4]]
        return "\n".join([f"{self.id}: {self.help}", *where])


class Window:
    """Pages that share their cookies, as those of one person do."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.troubles: list[str] = []
        context.on("console", self._said)
        context.on("request", self._asked)
        context.on("weberror", lambda error: self.troubles.append(str(error.error)))

    def _said(self, message: ConsoleMessage) -> None:
        # A server that is away, or says no, is no defect of the page.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.troubles.append(message.text)

    def _asked(self, request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme in ("http", "https", "ws", "wss") and asked.netloc != urlsplit(self.url).netloc:
            self.troubles.append(f"asked {request.url}")

    def refused(self, what: str) -> None:
        """What the policy of the page did not allow."""
        self.troubles.append(what)

    async def open(self, path: str) -> Page:
        page = await self.context.new_page()
        await page.goto(self.url + path)
        return page

    async def sign_in(self, key: str, path: str = "/") -> Page:
        """A page, reached through the sign-in."""
        page = await self.open(path)
        await page.get_by_label("API key").fill(key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_selector("header.top")
        return page

    def clean(self) -> None:
        """Nothing was refused by the policy, nothing failed, nobody else was asked."""
        assert self.troubles == []


async def axe(page: Page) -> list[Wrong]:
    """What stands in the way of people who do not see, or do not see well."""
    await page.evaluate(AXE_FILE_PATH.read_text("utf-8"))
    return msgspec.json.decode(await page.evaluate(_AXE), type=list[Wrong])


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window."""
    path = shutil.which("chromium")
    assert path is not None, "chromium is not installed: apt-get install chromium"
    async with async_playwright() as playwright:
        # Its own sandbox needs rights that containers do not give.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def window(
    browser: Browser, url: str, *, dark: bool = False, wide: int = 1280
) -> AsyncIterator[Window]:
    context = await browser.new_context(
        color_scheme="dark" if dark else "light", viewport={"width": wide, "height": 900}, locale="en-GB"
    )
    context.set_default_timeout(PATIENCE_MS)
    made = Window(context, url)
    await context.expose_function("violated", made.refused)
    await context.add_init_script(_WATCH)
    yield made
    await context.close()
