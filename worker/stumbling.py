"""What ends a slice in disorder: a server that failed, or a defect; told apart, because only one counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from config.failpoints import FailpointError
from store import claims, crashes
from store.database import is_trouble
from store.syncs import LostLeaseError, Sync

if TYPE_CHECKING:
    from worker.sync import Deps

log = structlog.get_logger()


@asynccontextmanager
async def caught(deps: "Deps", sync: Sync) -> AsyncIterator[None]:
    """Hold a sync meanwhile. A server that fails tears it away, and is raised: it goes on once that is back.

    Whatever else is raised is a defect, and ends here: it is logged under a reference, and tried again some
    seconds later; the third time in a row suspends the connection.
    """
    try:
        with deps.holding.at_work(sync):
            yield
    except LostLeaseError:
        log.info("sync.lease_lost")
    except Exception as e:
        if _is_a_servers(e):
            deps.holding.tear(sync)
            raise
        await _stumble(deps, sync, e)


def _is_a_servers(error: Exception) -> bool:
    if isinstance(error, SQLAlchemyError):
        return is_trouble(error)
    return isinstance(error, RedisError | FailpointError)


async def _stumble(deps: "Deps", sync: Sync, error: Exception) -> None:
    reference, kind = uuid4().hex[:12], type(error).__name__
    log.error("sync.defect", reference=reference, exc_info=error)
    try:
        async with deps.database.write() as connection:
            await claims.stumble(connection, sync, deps.owner, crashes.defect(kind, reference))
    except LostLeaseError:
        log.info("sync.lease_lost")
    except SQLAlchemyError:
        deps.holding.tear(sync)
        raise
