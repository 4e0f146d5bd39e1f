"""A remote whose every page wants a good access token, and the adapter that reads it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from aiohttp import web

from adapters.auth import Anonymous, Auth, Basic, Bearer
from adapters.base import (
    BadTarget,
    Check,
    Feed,
    Fetched,
    Hint,
    Hook,
    Keys,
    Page,
    Partition,
    Readable,
    Record,
    Stream,
    Target,
)
from adapters.http import Http, Limits
from tidegate.demo.remotes.base import Remote
from tidegate.demo.remotes.tokens import TokenServer

SYSTEM = "gated"
PAGES = 4


class GatedRemote(Remote):
    """Has `PAGES` pages of one record. `before` is awaited before each answer, with the page's number."""

    def __init__(self, issuer: TokenServer) -> None:
        super().__init__()
        self.issuer = issuer
        self.refuses_all = False
        #: Lets everyone in, without a token.
        self.open = False
        self.before: Callable[[int], Awaitable[None]] | None = None

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/pages/{number}", self._page)

    async def _page(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if self.before is not None:
            await self.before(number)
        if self.open:
            return web.json_response({"n": number})
        if self.refuses_all or not self.issuer.accepts(request.headers.get("Authorization")):
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response({"n": number})


class Gated:
    system: ClassVar[str] = SYSTEM
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("things", (Stream("things"),)),)
    limits: ClassVar[Limits] = Limits()
    overlap: ClassVar[timedelta] = timedelta(0)
    batch: ClassVar[int] = 10

    def __init__(self, target: Target, http: Http) -> None:
        self._http = http

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        if params:
            raise BadTarget("params", "This takes none.")
        return Target(url, url, {})

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        match kind:
            case "oauth2" | "bearer":
                return Bearer(reveal)
            case "basic" if username:
                return Basic(username, reveal)
            case "anonymous":
                return Anonymous()
        raise BadTarget("kind", "This takes oauth2, bearer, basic or anonymous.")

    async def check(self) -> Check:
        await self._http.get("/pages/1")
        return Check("me", "Gated 1", {"things": Readable(readable=True)})

    async def plan(self, feed: str) -> Sequence[Partition]:
        return (Partition("all"),)

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        for number in range(1, PAGES + 1):
            reply = await self._http.get(f"/pages/{number}")
            record = Record("things", str(number), reply.body)
            yield Page(reply.sent_at, str(number), [record], end=number == PAGES)

    async def census(
        self, stream: str, partition: Partition, cursor: str | None
    ) -> AsyncGenerator[Keys, None]:
        keys = [str(number) for number in range(1, PAGES + 1)]
        yield Keys(self._http.clock(), "", keys, end=True)

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:  # noqa: ARG004 - as the contract says
        return False

    @staticmethod
    def hint(hook: Hook) -> Hint:  # noqa: ARG004 - as above
        return Hint(ignored="This sends none.")

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        replies = [await self._http.get(f"/pages/{key}") for key in keys]
        records = [Record(stream, key, reply.body) for key, reply in zip(keys, replies, strict=True)]
        return Fetched(replies[0].sent_at, records)
