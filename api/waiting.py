"""What is answered on the API's port before the API can work: that it lives, and what it waits for."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from api.problems import ProblemError, problem_response
from api.state import Alive

RETRY_SECONDS = 2


def waiting_app(why: Callable[[], str]) -> web.Application:
    """`/healthz` is 200; `/readyz` and all else are 503, as there is nothing to answer from yet: `why`."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(Alive()), content_type="application/json")

    async def not_yet(_: web.Request) -> web.Response:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return problem_response(ProblemError(503, f"Not ready yet: {why()}", headers=headers))

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_route("*", "/{path:.*}", not_yet)
    return app
