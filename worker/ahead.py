"""The next page is read and prepared while the present one is being committed."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from adapters.base import Page

T = TypeVar("T")


async def ahead(pages: AsyncGenerator[Page, None], prepare: Callable[[Page], T]) -> AsyncGenerator[T, None]:
    """What `prepare` makes of each page, in order, one page ahead of the consumer and never more.

    An error of the reading comes after the pages before it. Close it (`aclosing`) where it may be left early:
    the page that was under way is then dropped, and `pages` is closed with it.
    """

    async def following() -> T:
        return prepare(await anext(pages))

    coming = asyncio.create_task(following())
    try:
        while True:
            try:
                made = await coming
            except StopAsyncIteration:
                return
            coming = asyncio.create_task(following())
            yield made
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await pages.aclose()
