"""The demo as a client of Tidegate: it makes its connections through the API, as anyone would."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

from tidegate.demo.world import Place

#: Often enough to be seen, seldom enough to be real.
FREQUENCY = "every 1m"
LOOK_SECONDS = 0.5


class Caller:
    """Speaks to the API of this Tidegate with the administrator's key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"X-API-Key": key}

    async def ready(self) -> bool:
        """Whether API, scheduler and a worker run."""
        async with self._session.get(f"{self._url}/readyz") as answer:
            return answer.status == 200

    async def make(self, places: Sequence[Place]) -> dict[int, Place]:
        """The demo's connections, made anew; those of an earlier demo go, with their records."""
        names = {place.name for place in places}
        for old in (await self._call("GET", "/v1/connections?limit=1000"))["connections"]:
            if old["name"] in names:
                await self._call("DELETE", f"/v1/connections/{old['id']}?records=delete")
        return {(await self._connect(place))["id"]: place for place in places}

    async def have_it_call(self, connection_id: int) -> None:
        """Have the remote of a connection tell of changes at once."""
        answer = await self._call("POST", f"/v1/connections/{connection_id}/webhook")
        if answer["error"] is not None:
            raise RuntimeError(f"The remote sends no webhooks: {answer['error']}")

    async def sync_build(self, connection_id: int, key: str) -> None:
        """Ask for one build, as a webhook would."""
        wanted = {"scope": "records", "stream": "builds", "keys": [key]}
        await self._call("POST", f"/v1/connections/{connection_id}/sync", wanted)

    async def sync(self, connection_id: int) -> None:
        """Sync now."""
        await self._call("POST", f"/v1/connections/{connection_id}/sync", {})

    async def until(self, connection_id: int, health: str) -> None:
        """Wait for a health of a connection."""
        path = f"/v1/connections/{connection_id}/status"
        while (await self._call("GET", path))["health"] != health:  # noqa: ASYNC110 - as any client must
            await asyncio.sleep(LOOK_SECONDS)

    async def renew(self, connection_id: int, secret: str) -> None:
        """Give the connection's credential a new secret."""
        found = await self._call("GET", f"/v1/connections/{connection_id}")
        await self._call("PATCH", f"/v1/credentials/{found['credential_id']}", {"secret": secret})

    async def _connect(self, place: Place) -> Any:
        credential = await self._call(
            "POST",
            "/v1/credentials",
            {
                "name": f"demo, {place.system}",
                "system": place.system,
                "kind": place.kind,
                "username": place.username,
                "secret": place.secret,
            },
        )
        return await self._call(
            "POST",
            "/v1/connections",
            {
                "name": place.name,
                "system": place.system,
                "url": place.url,
                "credential_id": credential["id"],
                "frequency": FREQUENCY,
            },
        )

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with self._session.request(
            method, self._url + path, json=body, headers=self._headers
        ) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path} answered {answer.status}: {await answer.text()}")
            return None if answer.status == 204 else await answer.json()
