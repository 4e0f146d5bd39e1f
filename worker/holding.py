"""What a worker process is at work on, what was torn out of its hands, and whether the database failed it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from store.syncs import Sync

#: For so long after a failure of the database a lease may have run out because of it: a lease, and the time
#: until those who live were seen again.
SHAKEN_SECONDS = 20.0


class Holding:
    """One per process. A sync may be here twice: lost, and taken again beside a slice that does not know."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at_work: list[Sync] = []
        self._torn: list[Sync] = []
        self._failed_at: float | None = None

    @contextmanager
    def at_work(self, sync: Sync) -> Iterator[None]:
        """Keep the lease of a sync meanwhile."""
        self._at_work.append(sync)
        try:
            yield
        finally:
            self._at_work.remove(sync)

    @property
    def sync_ids(self) -> list[int]:
        return [sync.id for sync in self._at_work]

    def tear(self, sync: Sync) -> None:
        """A failure of the database ended the work on it: it is to be given back."""
        self._torn.append(sync)
        self.shake()

    @property
    def torn(self) -> Sequence[Sync]:
        return tuple(self._torn)

    def given_back(self, given: Sequence[Sync]) -> None:
        self._torn = [sync for sync in self._torn if sync not in given]

    def shake(self) -> None:
        """The database failed just now."""
        self._failed_at = self._monotonic()

    @property
    def shaken(self) -> bool:
        """Whether it failed lately: leases of others may have run out by that, and say nothing about them."""
        return self._failed_at is not None and self._monotonic() - self._failed_at < SHAKEN_SECONDS
