"""What every simulated remote has: a clock, a ledger of all requests, faults on demand, a real server."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Self

import msgspec
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Clock:
    """The remote's own time: the real one, shifted by what a test or story asks for."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._shift = timedelta()

    def now(self) -> datetime:
        """Whole milliseconds, as the vendors stamp them."""
        moment = self._now() + self._shift
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def advance(self, by: timedelta) -> None:
        self._shift += by


class Seen(msgspec.Struct, frozen=True):
    """One request as it arrived. `authorization` is kept so that tests can look for leaks."""

    method: str
    path: str
    query: Mapping[str, str]
    authorization: str | None
    body: bytes
    at: datetime

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class Fault(msgspec.Struct):
    """An answer given instead of the real one to the next `times` requests whose path contains `path`.

    `after` matching requests are let through first. `delay` seconds pass before any answer. `cut` sends
    only so many bytes of the real answer and drops the connection. `status` 0 keeps the real answer.
    """

    path: str
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = {}
    times: int = 1
    after: int = 0
    delay: float = 0.0
    cut: int | None = None


class Remote(ABC):
    """A server on a free local port. Subclasses add routes in `routes` and hold the model."""

    def __init__(self, clock: Clock | None = None, latency: float = 0.0) -> None:
        """`latency` is waited before every answer, in seconds."""
        self.clock = clock or Clock()
        self.latency = latency
        self.ledger: list[Seen] = []
        #: How many requests are being answered, and the most that ever were at the same time.
        self.here = self.most = 0
        self.faults: list[Fault] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def routes(self, app: web.Application) -> None:
        """Add the routes of the simulated vendor."""

    async def start(self, port: int = 0) -> Self:
        app = web.Application(middlewares=[self._observe], client_max_size=16 << 20)
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def requests(self, path: str = "") -> list[Seen]:
        """What arrived so far whose path contains `path`."""
        return [seen for seen in self.ledger if path in seen.path]

    @web.middleware
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            return await self._answered(request, handler)
        finally:
            self.here -= 1

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        # raw_path keeps the percent-encoding, which is part of what the vendors' servers see.
        path = request.raw_path.partition("?")[0]
        self.ledger.append(
            Seen(
                request.method,
                path,
                dict(request.query),
                request.headers.get("Authorization"),
                body,
                self.clock.now(),
            )
        )
        fault = self._next_fault(path)
        delay = self.latency + (fault.delay if fault else 0.0)
        if delay:
            await asyncio.sleep(delay)
        if fault and fault.status:
            response: web.StreamResponse = web.Response(
                status=fault.status, body=fault.body, headers=fault.headers
            )
        else:
            response = await handler(request)
        response.headers["Date"] = format_datetime(self.clock.now(), usegmt=True)
        if fault and fault.cut is not None:
            return await self._broken(request, response, fault.cut)
        return response

    def _next_fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.path not in path or fault.times <= 0:
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault
        return None

    async def _broken(self, request: web.Request, whole: web.StreamResponse, cut: int) -> web.StreamResponse:
        """Announce the whole answer, send a part of it, drop the line."""
        body = whole.body if isinstance(whole, web.Response) else b""
        content = body if isinstance(body, bytes) else b""
        part = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
        part.content_length = len(content)
        await part.prepare(request)
        await part.write(content[:cut])
        if request.transport is not None:
            request.transport.close()
        return part
