"""How long a client may take to say what it wants: silent lines are hung up, or they would add up."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

log = structlog.get_logger()

#: From the beginning of a connection to the end of its first request's head; then aiohttp's own limit holds.
HEAD_SECONDS = 15.0
#: From the end of a head to the end of its body.
BODY_SECONDS = 30.0
_LOOK_SECONDS = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: The lines on which a whole head of a request was heard.
Heard = set[object]


def patient(heard: Heard, seconds: float = BODY_SECONDS) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that notes who was heard, and hangs up on bodies that do not come to an end."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        heard.add(request.protocol)
        waiting = asyncio.get_running_loop().call_later(seconds, _hang_up, request)
        try:
            return await handler(request)
        finally:
            waiting.cancel()

    return middleware


def _hang_up(request: web.Request) -> None:
    if request.transport is not None and not request.content.is_eof():
        log.warning("api.slow_body", path=request.path)
        request.transport.abort()


async def hang_up_on_the_silent(server: web.Server, heard: Heard, seconds: float = HEAD_SECONDS) -> None:
    """End connections whose first request is not there after some seconds. Until cancelled."""
    loop = asyncio.get_running_loop()
    since: dict[object, float] = {}
    while True:
        await asyncio.sleep(min(_LOOK_SECONDS, seconds / 4))
        lines = server.connections
        heard.intersection_update(lines)
        since = {line: since.get(line, loop.time()) for line in lines if line not in heard}
        for line in lines:
            if loop.time() - since.get(line, loop.time()) > seconds:
                line.force_close()
                if line.transport is not None:
                    line.transport.abort()
