"""A browser without scripts: it keeps cookies, and sends forms as pages have them."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api

_TOKEN = re.compile(r'name="token" value="([^"]+)"')


class Shown(msgspec.Struct, frozen=True):
    """An answer to a browser."""

    status: int
    text: str
    headers: Mapping[str, str]
    path: str


class _Parsed(HTMLParser):
    """What a page would load, run or send."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given.get("src"))
        if tag == "style" or "style" in given:
            self.inline.append(tag)
        self.inline += [name for name in given if name.startswith("on")]
        if tag in ("script", "link", "img", "iframe", "use"):
            self.loaded.append(given.get("src") or given.get("href") or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(text: str) -> _Parsed:
    found = _Parsed()
    found.feed(text)
    return found


def words_of(text: str) -> str:
    """What a page says, without its tags."""
    return " ".join(" ".join(parsed(text).words).split())


class Browser:
    """One person's browser at the page of an API."""

    def __init__(self, api: Api, http: aiohttp.ClientSession) -> None:
        self.api = api
        self.http = http

    async def get(self, path: str, **headers: str) -> Shown:
        """Where this leads in the end."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.get(self.api.url + path, headers=named) as answer:
            return await _shown(answer)

    async def post(self, path: str, fields: Any = (), *, origin: str | None = None, **headers: str) -> Shown:
        """A form as it is; the answer itself, wherever it leads."""
        named = {"Origin": self.api.url if origin is None else origin}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.api.url + path
        async with self.http.post(url, data=fields, headers=named, allow_redirects=False) as answer:
            return await _shown(answer)

    async def sign_in(self, key: str = ADMIN_KEY) -> None:
        shown = await self.post("/sign-in", {"key": key})
        assert shown.status == 303, shown.text

    async def token(self) -> str:
        """The token that forms of this session carry."""
        found = _TOKEN.search((await self.get("/activity")).text)
        assert found is not None
        return found[1]

    async def send(self, path: str, **fields: Any) -> Shown:
        """A form of a page of this session."""
        return await self.post(path, {"token": await self.token(), **fields})


async def _shown(answer: aiohttp.ClientResponse) -> Shown:
    return Shown(answer.status, await answer.text(), answer.headers, answer.url.path)


@asynccontextmanager
async def browsing(api: Api, key: str | None = ADMIN_KEY) -> AsyncIterator[Browser]:
    """A browser; signed in with a key unless that is None."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        browser = Browser(api, http)
        if key is not None:
            await browser.sign_in(key)
        yield browser


def cookie_of(browser: Browser) -> Any:
    """The one cookie that the browser has."""
    [cookie] = list(browser.http.cookie_jar)
    return cookie


def keep_cookie(browser: Browser, value: str) -> None:
    """Put another value in the place of the cookie's."""
    browser.http.cookie_jar.update_cookies({cookie_of(browser).key: value}, URL(browser.api.url))


@asynccontextmanager
async def serving_page(stored: Database, **values: Any) -> AsyncIterator[Api]:
    """The API and the page over plain HTTP, as on one's own machine."""
    async with serving_api(stored, **{"public_url": "http://127.0.0.1:8420", **values}) as api:
        yield api
