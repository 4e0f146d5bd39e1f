"""What processes count for whoever watches: kept in the database, so that no restart begins it anew."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from store import instance as facts
from store.database import Database
from store.schema import instance

log = structlog.get_logger()

#: The fact of the installation that holds all counts of all processes.
COUNTS = "counts"
#: How often a process writes what it counted. One that is killed loses so much.
WRITE_SECONDS = 5.0

#: What is counted: answers 429 by system, webhooks in by system and outcome, attempts of subscriptions that
#: were removed by outcome.
RATE_LIMITED = "rate_limited"
WEBHOOKS_IN = "webhooks_in"
REMOVED_ATTEMPTS = "removed_attempts"


class Counts:
    """The counts of one process on their way to the database."""

    def __init__(self) -> None:
        self._new: Counter[str] = Counter()
        self._writing = asyncio.Lock()

    def add(self, *words: str) -> None:
        """Count one more of what these words name: a kind, and its labels."""
        self._new[" ".join(words)] += 1

    async def write(self, database: Database) -> None:
        """Add what is new to what all have counted. Nothing is written where nothing is new."""
        async with self._writing:
            new, self._new = self._new, Counter()
            if not new:
                return
            try:
                async with database.write() as connection:
                    await add(connection, new)
            except BaseException:
                self._new += new
                raise

    @asynccontextmanager
    async def written(self, database: Database) -> AsyncIterator[None]:
        """Write now and then, and what is left at the end."""
        writing = asyncio.create_task(self._keep_writing(database))
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._try(database)

    async def _keep_writing(self, database: Database) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._try(database)

    async def _try(self, database: Database) -> None:
        try:
            await self.write(database)
        except (SQLAlchemyError, OSError) as e:
            log.warning("counts.not_written", error=str(e))


async def add(connection: AsyncConnection, new: Mapping[str, int]) -> None:
    """Add to what was counted, in the caller's transaction. Others who add wait for its end."""
    await facts.settle(connection, COUNTS, "{}")
    held = select(instance.c.value).where(instance.c.name == COUNTS).with_for_update()
    known = _read((await connection.execute(held)).scalar_one())
    known.update(new)
    await facts.change(connection, COUNTS, msgspec.json.encode(dict(sorted(known.items()))).decode())


async def counted(connection: AsyncConnection, kind: str) -> Mapping[tuple[str, ...], int]:
    """All that was counted of a kind, by labels."""
    known = _read(await facts.get(connection, COUNTS) or "{}")
    named = {tuple(words.split(" ")): count for words, count in known.items()}
    return {words[1:]: count for words, count in named.items() if words[0] == kind}


def _read(text: str) -> Counter[str]:
    return Counter(msgspec.json.decode(text, type=dict[str, int]))
