"""Asking for the next answer while the present one is being put away."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


async def ahead(ask: Callable[[Q], Awaitable[A]], questions: Iterable[Q]) -> AsyncGenerator[A, None]:
    """The answers in order, one question ahead of the consumer, never more.

    Close it (`aclosing`) where it may be left early: then the open question is cancelled and awaited.
    """
    asked = (asyncio.ensure_future(ask(question)) for question in questions)
    coming = next(asked, None)
    try:
        while coming is not None:
            answer = await coming
            coming = next(asked, None)
            yield answer
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
