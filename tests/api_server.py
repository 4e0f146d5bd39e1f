"""The API on a real server over a real database, with a worker at hand to do what it opens."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from msgspec.structs import replace

from adapters.base import Adapter
from api.app import Context, make_app
from api.pace import Pace
from api.routes import ROUTES
from config.secret import Secret
from store.database import Database
from store.syncs import Ring
from tests.described import Description
from tests.house import House, open_house
from tests.shelf import Shelf
from tests.support import LOOPBACK

DESCRIBED = Description(ROUTES)
PUBLIC_URL = "https://tidegate.example/here"
ADMIN_KEY = "the key of the tests"
ADAPTERS: Mapping[str, type[Adapter]] = {"shelf": Shelf}


class Rope:
    """A bell whose rings can be counted."""

    def __init__(self) -> None:
        self.rung: list[Ring] = []
        self.checks: list[int] = []
        self.webhooks: list[int] = []

    async def ring(self, rings: Sequence[Ring]) -> None:
        self.rung += rings

    async def ring_check(self, connection_id: int) -> None:
        self.checks.append(connection_id)

    async def ring_webhook(self, connection_id: int) -> None:
        self.webhooks.append(connection_id)


class Api:
    """A client of the API, with its key. `house` works on what is opened."""

    def __init__(self, url: str, http: aiohttp.ClientSession, house: House, context: Context, rope: Rope):
        self.url = url
        self.http = http
        self.house = house
        self.context = context
        self.rope = rope

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON; None where there is no body. The answer must be such as is described."""
        status, _, told = await self.heard(method, path, body, **headers)
        return status, told

    async def heard(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Mapping[str, str], Any]:
        """The same with the headers of the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.url + path, json=body, headers=named) as answer:
            told = await answer.json(content_type=None) if await answer.read() else None
            wrong = DESCRIBED.wrong_with(method, path, answer.status, answer.headers, told)
            assert wrong is None, wrong
            return answer.status, answer.headers, told

    async def get(self, path: str, **headers: str) -> Any:
        """The JSON of a 200."""
        status, answer = await self.ask("GET", path, **headers)
        assert status == 200, answer
        return answer

    async def post(self, path: str, body: object, status: int = 201) -> Any:
        got, answer = await self.ask("POST", path, body)
        assert got == status, answer
        return answer

    async def patch(self, path: str, body: object, status: int = 200) -> Any:
        got, answer = await self.ask("PATCH", path, body)
        assert got == status, answer
        return answer

    async def delete(self, path: str, status: int = 204) -> Any:
        got, answer = await self.ask("DELETE", path)
        assert got == status, answer
        return answer

    async def refused(self, method: str, path: str, body: object = None, status: int = 422) -> dict[str, str]:
        """What is wrong by field, of an answer that is a problem with this status."""
        got, answer = await self.ask(method, path, body)
        assert (got, answer["status"]) == (status, status), answer
        return {error["field"]: error["message"] for error in answer.get("errors", ())}

    async def shelf(self, url: str | None = "shelf.example/3", **values: object) -> Any:
        """A connection to a shelf, synced only when asked unless `frequency` says otherwise."""
        body = {"name": "shelf", "system": "shelf", "url": url, "frequency": "manually", **values}
        return await self.post("/v1/connections", body)

    async def credential(self, secret: str = "a secret of the tests", **values: object) -> Any:
        body = {"name": "reader", "system": "shelf", "kind": "basic", "username": "me", "secret": secret}
        return await self.post("/v1/credentials", {**body, **values})

    async def synced(self, connection_id: int, **body: object) -> Any:
        """A sync asked for and worked through."""
        opened = await self.post(f"/v1/connections/{connection_id}/sync", body, 202)
        await self.house.work(opened["id"])
        return await self.get(f"/v1/syncs/{opened['id']}")


@asynccontextmanager
async def serving_api(
    stored: Database,
    adapters: Mapping[str, type[Adapter]] = ADAPTERS,
    allow: Sequence[str] = LOOPBACK,
    **values: Any,
) -> AsyncIterator[Api]:
    """The API over an empty database, allowed to reach some networks. `values` replace members of its
    context.
    """

    async def ready() -> Mapping[str, bool]:
        return {"scheduler": True, "worker": True}

    rope = Rope()
    async with open_house(stored, adapters, allow=allow) as house:
        context = Context(
            database=stored,
            tables=house.deps.tables,
            remotes=house.deps.remotes,
            vault=house.vault,
            bell=rope,
            admin_key=Secret(ADMIN_KEY),
            ready=ready,
            public_url=PUBLIC_URL,
            pace=Pace(at_once=10_000),
        )
        context = replace(context, **values)
        runner = web.AppRunner(make_app(context), access_log=None, shutdown_timeout=2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with aiohttp.ClientSession(headers={"X-API-Key": ADMIN_KEY}) as http:
                yield Api(url, http, house, context, rope)
        finally:
            await runner.cleanup()
