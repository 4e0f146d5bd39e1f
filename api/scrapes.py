"""The memory of one process about its metrics: who asks again within a second gets the same numbers."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from store.staleness import Periods

#: Far less than anybody's interval of scraping; as long as it holds, asking costs nothing.
KEPT_SECONDS = 1.0


class Scrapes:
    """The last numbers, with and without what only some callers see."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        self._kept_seconds = kept_seconds
        self._kept: dict[bool, tuple[float, bytes]] = {}
        self._asking = asyncio.Lock()
        self.periods = Periods()

    async def get(self, *, detailed: bool, ask: Callable[[], Awaitable[bytes]]) -> bytes:
        """The numbers of at most so long ago. Who comes while they are asked for waits for those."""
        async with self._asking:
            at, body = self._kept.get(detailed, (float("-inf"), b""))
            if time.monotonic() - at >= self._kept_seconds:
                body = await ask()
                self._kept[detailed] = (time.monotonic(), body)
            return body
