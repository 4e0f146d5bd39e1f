"""The description of this API: for programs as OpenAPI, for people as a page that loads nothing else."""

from functools import cached_property
from typing import Any

import msgspec
from aiohttp import web

from api import page
from api.openapi import Routes, describe
from api.routing import JSON, Call, Route
from api.shapes import Nothing

HTML = "text/html; charset=utf-8"


class Description:
    """What is said of some routes; made when it is first asked for."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    @cached_property
    def document(self) -> dict[str, Any]:
        return describe(self._routes)

    @cached_property
    def json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self.document))

    @cached_property
    def page(self) -> bytes:
        return page.rendered(self.document).encode()


DESCRIPTION = web.AppKey("description", Description)


async def openapi(call: Call[Nothing, Nothing]) -> web.Response:
    """The description of this API by OpenAPI 3.1: this document."""
    body = call.request.app[DESCRIPTION].json
    headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}
    return web.Response(body=body, content_type=JSON, headers=headers)


async def docs(call: Call[Nothing, Nothing]) -> web.Response:
    """The description of this API as a page."""
    headers = {
        "Content-Type": HTML,
        "Content-Security-Policy": page.POLICY,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=call.request.app[DESCRIPTION].page, headers=headers)


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/openapi.json",
        summary="Describe this API for programs",
        permission=None,
        handler=openapi,
        body=Nothing,
        query=Nothing,
        answer=dict[str, Any],
    ),
    Route(
        method="GET",
        path="/docs",
        summary="Describe this API for people",
        permission=None,
        handler=docs,
        body=Nothing,
        query=Nothing,
        media=(HTML,),
    ),
)
