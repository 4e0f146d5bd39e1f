"""The ledger as a simulated remote, and how the suite changes it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from aiohttp import web
from tidegate_ledger import Ledger

from tests.conformance.kit import Kit
from tidegate.demo.remotes.base import Clock, Remote

TOKEN = "ledger-token"


class LedgerServer(Remote):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.entries: dict[int, dict[str, Any]] = {}
        self.token: str | None = TOKEN
        self._next_id = 0
        self._next_seq = 0

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/me", self._me)
        app.router.add_get("/entries", self._entries)
        app.router.add_get("/entries/ids", self._ids)
        app.router.add_post("/entries/get", self._some)

    def write(self, text: str, number: int | None = None) -> int:
        self._next_seq += 1
        if number is None:
            self._next_id += 1
            number = self._next_id
        self.entries[number] = {"id": number, "seq": self._next_seq, "text": text}
        return number

    async def _me(self, request: web.Request) -> web.Response:
        return self._answer(request, {"name": "Ada", "version": "1"})

    async def _entries(self, request: web.Request) -> web.Response:
        after, limit = int(request.query["after"]), int(request.query["limit"])
        found = sorted((e for e in self.entries.values() if e["seq"] > after), key=lambda e: int(e["seq"]))
        return self._answer(request, {"entries": found[:limit], "more": len(found) > limit})

    async def _ids(self, request: web.Request) -> web.Response:
        found = sorted(number for number in self.entries if number > int(request.query["after"]))
        return self._answer(request, {"ids": found[:10], "more": len(found) > 10})

    async def _some(self, request: web.Request) -> web.Response:
        ids = msgspec.json.decode(await request.read(), type=dict[str, list[int]])["ids"]
        return self._answer(request, {"entries": [self.entries[n] for n in ids if n in self.entries]})

    def _answer(self, request: web.Request, answer: object) -> web.Response:
        if self.token is None or request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, body=b"{}", content_type="application/json")
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


class LedgerKit(Kit):
    name = "ledger"
    adapter = Ledger
    stream = "entries"
    credential = ("bearer", None, TOKEN)
    path = "/entries"
    idle = 1
    remote: LedgerServer

    def serve(self) -> AbstractAsyncContextManager[object]:
        self.remote = LedgerServer(self.clock)
        return self.remote

    @property
    def url(self) -> str:
        return self.remote.url

    def create(self) -> str:
        return str(self.remote.write("first"))

    def change(self, key: str) -> None:
        self.remote.write(self.remote.entries[int(key)]["text"] + "+", int(key))

    def delete(self, key: str) -> None:
        del self.remote.entries[int(key)]

    def truth(self) -> Mapping[str, Any]:
        return {str(number): entry["text"] for number, entry in self.remote.entries.items()}

    def seen(self, body: Mapping[str, Any]) -> Any:
        return body["text"]

    def revoke(self) -> None:
        self.remote.token = None
