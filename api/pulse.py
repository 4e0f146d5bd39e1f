"""When there are newer events: one look at the database for all who listen in this process."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

Look = Callable[[], Awaitable[int]]


class Pulse:
    """Looks at the newest position again and again, for as long as anybody waits for a newer one."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[int], int] = {}
        self._looking: asyncio.Task[None] | None = None

    async def beyond(
        self, position: int, look: Look, every: float, stopping: asyncio.Event, seconds: float
    ) -> int:
        """The newest position once it is higher than this one; else `position`, after `seconds` or at the end
        of the process. Looked up every so many seconds. Raises what `look` raises.
        """
        mine: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[mine] = position
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(look, every, stopping))
        try:
            async with asyncio.timeout(seconds):
                return await mine
        except TimeoutError:
            return position
        finally:
            self._waiting.pop(mine, None)

    async def _look(self, look: Look, every: float, stopping: asyncio.Event) -> None:
        while self._waiting:
            try:
                newest = await look()
            except (SQLAlchemyError, OSError) as e:
                for one in self._waiting:
                    if not one.done():
                        one.set_exception(e)
                return
            for one, position in self._waiting.items():
                if not one.done() and (newest > position or stopping.is_set()):
                    one.set_result(max(newest, position))
            await asyncio.sleep(every)
