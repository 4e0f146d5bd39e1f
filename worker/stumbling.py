"""What ends a slice in disorder: a server that failed, or a defect; told apart, because only one counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from config.failpoints import FailpointError
from store import claims, crashes
from store.database import Database, is_trouble
from store.syncs import LostLeaseError, Sync
from worker.holding import Holding

log = structlog.get_logger()


@asynccontextmanager
async def caught(database: Database, holding: Holding, owner: str, sync: Sync) -> AsyncIterator[None]:
    """Hold a sync meanwhile. A server that fails tears it away, and is raised: it goes on once that is back.

    Whatever else is raised is a defect, and ends here: it is logged under a reference, and tried again some
    seconds later; the third time in a row suspends the connection.
    """
    try:
        with holding.at_work(sync):
            yield
    except LostLeaseError:
        log.info("sync.lease_lost")
    except Exception as e:
        if _is_a_servers(e):
            holding.tear(sync)
            raise
        try:
            await _stumble(database, owner, sync, e)
        except LostLeaseError:
            log.info("sync.lease_lost")
        except SQLAlchemyError:
            holding.tear(sync)
            raise


def _is_a_servers(error: Exception) -> bool:
    if isinstance(error, SQLAlchemyError):
        return is_trouble(error)
    return isinstance(error, RedisError | FailpointError)


async def _stumble(database: Database, owner: str, sync: Sync, error: Exception) -> None:
    reference, kind = uuid4().hex[:12], type(error).__name__
    log.error("sync.defect", reference=reference, exc_info=error)
    async with database.write() as connection:
        await claims.stumble(connection, sync, owner, crashes.defect(kind, reference))
