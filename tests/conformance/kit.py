"""What the suite must know of an adapter: its simulated remote, and how to change what is in it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from adapters.base import Adapter, Gone
from tidegate.demo.remotes.base import Clock, Remote


class Kit(ABC):
    """One adapter with one kind of remote. A kit is made anew for each test, and started by the suite. Its
    remote goes by `clock`.

    All changes are made to the remote's model, at the remote's time. `create` and the like act on `stream`.
    """

    #: For people who read which test failed.
    name: str
    adapter: type[Adapter]
    #: The stream that the suite creates, changes and deletes records of.
    stream: str
    #: Kind, user name and secret of a credential that the remote knows.
    credential: tuple[str, str | None, str]
    #: Part of the path of the requests that read `stream`, for faults.
    path: str
    params: Mapping[str, Any] = {}
    #: What the remote can prove of a record that `delete` removed.
    reason: Gone = "deleted"
    #: Whether a record that is gone at the remote is kept here, only marked.
    kept: bool = False
    #: Requests of a sync that finds nothing new, with the few records that the suite makes.
    idle: int
    remote: Remote

    def __init__(self) -> None:
        # Behind the real time, so that a history has room: a clock ahead of ours is not believed.
        self.clock = Clock()
        self.clock.advance(timedelta(days=-1))

    @abstractmethod
    def serve(self) -> AbstractAsyncContextManager[object]:
        """The running remote, with the account, and without records."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What a person pastes. The remote runs."""

    @abstractmethod
    def create(self) -> str:
        """A new record; its key."""

    @abstractmethod
    def change(self, key: str) -> None:
        """Make the record another than before."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the record for good."""

    @abstractmethod
    def truth(self) -> Mapping[str, Any]:
        """What the remote holds: by key, what `seen` finds in a stored body of the same state."""

    @abstractmethod
    def seen(self, body: Mapping[str, Any]) -> Any:
        """What of a body tells one state of the record from another."""

    @abstractmethod
    def revoke(self) -> None:
        """The credential is worth nothing from now on."""

    def known_changeable(self) -> Collection[str]:
        """Keys of records that `change` may be called for."""
        return self.truth()

    def pass_time(self, seconds: float) -> None:
        self.remote.clock.advance(timedelta(seconds=seconds))

    def settle(self) -> None:
        """Time passes at the remote until whatever it shows late is shown."""
        self.pass_time(15 * 60)
