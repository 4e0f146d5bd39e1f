"""Clients of the API that live through restarts: they try again when nobody answers, and note all answers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec

from tests.chaos.town import ADMIN_KEY

_AWAY = (aiohttp.ClientError, OSError)
PAUSE_SECONDS = 0.1


class Reader:
    """Reads `/v1/events` from the first on, and resumes after the last event it saw."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self.statuses: Counter[int] = Counter()
        #: How often it had to connect again.
        self.resumed = 0

    async def read(self) -> None:
        """Until cancelled."""
        quiet = aiohttp.ClientTimeout(total=None, sock_read=30)
        async with aiohttp.ClientSession(headers={"X-API-Key": ADMIN_KEY}, timeout=quiet) as http:
            while True:
                with suppress(*_AWAY):
                    last = str(self.seen[-1][0] if self.seen else 0)
                    async with http.get(f"{self._url}/v1/events", headers={"Last-Event-ID": last}) as answer:
                        self.statuses[answer.status] += 1
                        if answer.status == 200:
                            await self._take(answer)
                self.resumed += 1
                await asyncio.sleep(PAUSE_SECONDS)

    async def _take(self, answer: aiohttp.ClientResponse) -> None:
        position = 0
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                position = int(value)
            elif name == "data":
                self.seen.append((position, msgspec.json.decode(value)))

    def has_all(self) -> None:
        """No event missing, none twice, in the order of the stream and of each connection."""
        assert [position for position, _ in self.seen] == list(range(1, len(self.seen) + 1))
        assert len({event["id"] for _, event in self.seen}) == len(self.seen)
        numbers: dict[str, list[int]] = {}
        for _, event in self.seen:
            numbers.setdefault(event["source"], []).append(event["sequence"])
        for source, sequence in numbers.items():
            assert sequence == list(range(1, len(sequence) + 1)), source


class Asker:
    """Asks something of the API again and again."""

    def __init__(self, url: str, *asked: tuple[str, str]) -> None:
        self._url = url
        self._asked = asked
        self.statuses: Counter[int] = Counter()

    async def ask(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession(headers={"X-API-Key": ADMIN_KEY}) as http:
            while True:
                for method, path in self._asked:
                    with suppress(*_AWAY):
                        body: dict[str, str] | None = {} if method == "POST" else None
                        async with http.request(method, self._url + path, json=body) as answer:
                            await answer.read()
                            self.statuses[answer.status] += 1
                    await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def at_it(*clients: Reader | Asker) -> AsyncIterator[None]:
    """Meanwhile all of them read and ask."""
    tasks = [asyncio.create_task(one.read() if isinstance(one, Reader) else one.ask()) for one in clients]
    try:
        yield
        assert not [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
