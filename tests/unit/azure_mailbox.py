"""A receiver of service hooks for tests: what was sent there, as it came."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from adapters.base import Hook


class Mailbox:
    """`came` are the webhooks so far. `answers` are given to the next ones, then 202."""

    def __init__(self) -> None:
        self.url = ""
        self.came: list[Hook] = []
        self.answers: list[int] = []

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.came.append(Hook(headers, await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 202)


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    made = Mailbox()
    app = web.Application()
    app.router.add_post("/webhooks/token", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/token"
    try:
        yield made
    finally:
        await runner.cleanup()
