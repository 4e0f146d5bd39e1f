"""A Jira whose searches a test can hold back, so that a sync stands still at a page of its choice."""

import asyncio

from aiohttp import web

from tidegate.demo.remotes.jira import JiraCloud

EMAIL, TOKEN = "ana@example.com", "a token that only tests use"
PAGE = 10


class GatedJira(JiraCloud):
    """Pages of ten. Held searches are answered, the oldest first, when they are let go.

    With a `pace`, each search takes so many seconds. `answered` counts those whose asker was still there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.max_page = PAGE
        self.add_account(EMAIL, TOKEN)
        self._passes: int | None = None
        self._project = ""
        self._held: list[asyncio.Event] = []
        self.pace = 0.0
        self.answered = 0

    @property
    def held(self) -> int:
        """How many searches wait at the gate."""
        return len(self._held)

    def hold(self, after: int = 0) -> None:
        """Let `after` more searches pass, and hold those that follow."""
        self._passes = after

    def hold_project(self, key: str) -> None:
        """Hold the searches in one project, and no others."""
        self._passes, self._project = 0, key

    def let_go(self, count: int) -> None:
        """Answer the searches that wait the longest; the gate stays closed."""
        for event in self._held[:count]:
            event.set()
        del self._held[:count]

    def open(self) -> None:
        """Answer what waits and whatever comes."""
        self._passes = None
        self.let_go(self.held)

    async def close(self) -> None:
        self.open()
        await super().close()

    async def _search(self, request: web.Request) -> web.Response:
        if self._passes is not None and self._project in await request.text():
            if self._passes <= 0:
                event = asyncio.Event()
                self._held.append(event)
                await event.wait()
            else:
                self._passes -= 1
        await asyncio.sleep(self.pace)
        answer = await super()._search(request)
        self.answered += request.transport is not None and not request.transport.is_closing()
        return answer
