"""Real servers on loopback for tests of the HTTP client: well-behaved, broken, and encrypted ones."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from adapters.auth import Anonymous, Auth
from adapters.guard import AddressGuard
from adapters.http import Budget, Http, Limits, LocalBudget, Meter, Reply, open_session, utc_now

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Server:
    """A server that keeps every request it got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[web.Request] = []

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def paths(self) -> list[str]:
        return [request.raw_path for request in self.seen]


class Wire:
    """A server below HTTP: it counts connections and keeps the bytes of each request's head."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.heads: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Seconds:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Handler:
    """The same JSON answer to everything; `Retry_After="7"` is the header `Retry-After`."""
    named = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=named)

    return handler


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server("")

    async def observed(request: web.Request) -> web.StreamResponse:
        server.seen.append(request)
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", observed)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(reply: bytes | Speaker) -> AsyncIterator[Wire]:
    """A server that reads the head of a request and says exactly `reply`, then hangs up."""
    wire = Wire()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        try:
            wire.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    async with server:
        yield wire


@asynccontextmanager
async def client(
    base: str,
    auth: Auth | None = None,
    *,
    limits: Limits | None = None,
    clock: Callable[[], datetime] = utc_now,
    budget: Budget | None = None,
    meter: Meter | None = None,
    allow: tuple[str, ...] = ("127.0.0.1/32",),
    ca_file: str | None = None,
    proxy: str | None = None,
) -> AsyncIterator[Http]:
    """The real client with everything that a test may want to choose."""
    guard = AddressGuard(allow)
    async with open_session(guard, ca_file, proxied=proxy is not None) as session:
        yield Http(
            session,
            base,
            auth or Anonymous(),
            budget or LocalBudget(clock),
            limits or Limits(),
            clock,
            meter or Meter(),
            proxy,
            guard,
        )


def reply(status: int = 200, body: bytes = b"{}", **headers: str) -> Reply:
    """An answer as the client would hand it over, sent at noon."""
    named: CIMultiDict[Any] = CIMultiDict({"Content-Type": "application/json"})
    named.update({k.replace("_", "-"): v for k, v in headers.items()})
    return Reply(status, CIMultiDictProxy(named), body, "https://jira.example/search?jql=x", NOON)
