"""When due times fired, by the syncs that they opened."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from sqlalchemy import select

from store.schema import syncs
from tests.chaos.town import PROMISED, Town

#: Of the connections whose due times are looked at.
INTERVAL = 60.0


async def gaps_of(town: Town, made: Sequence[int]) -> list[float]:
    """The seconds between the due times of each of these connections, as they fired."""
    c = syncs.c
    gaps: list[float] = []
    for connection_id in made:
        fired = select(c.queued_at).where(c.connection_id == connection_id, c.trigger == "schedule")
        async with town.database.read() as connection:
            at = list((await connection.execute(fired.order_by(c.id))).scalars())
        # The first is that of a connection that is new, outside of its grid.
        gaps += [(after - before) / timedelta(seconds=1) for before, after in pairwise(at[1:])]
    return gaps


def regular(gaps: Sequence[float]) -> None:
    """None was missed, and none fired twice."""
    assert max(gaps) <= INTERVAL + PROMISED
    assert min(gaps) >= INTERVAL - PROMISED
