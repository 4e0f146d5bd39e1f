"""The adapter contract: what a remote system must be able to tell, and the words for what goes wrong.

An adapter knows the remote and nothing else: no database, no Redis, no events. It declares its feeds,
streams and typed columns as data, and answers `check`, `plan`, `read` and `fetch`.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from adapters.errors import AdapterError as AdapterError
from adapters.errors import AuthFailed as AuthFailed
from adapters.errors import BadHook as BadHook
from adapters.errors import BadTarget as BadTarget
from adapters.errors import Blocked as Blocked
from adapters.errors import Forbidden as Forbidden
from adapters.errors import Later as Later
from adapters.errors import NotFound as NotFound
from adapters.errors import QueryRejected as QueryRejected
from adapters.errors import RateLimited as RateLimited
from adapters.errors import TlsFailed as TlsFailed
from adapters.errors import TooLarge as TooLarge
from adapters.errors import Unavailable as Unavailable
from adapters.errors import Unreadable as Unreadable

if TYPE_CHECKING:
    from adapters.auth import Auth
    from adapters.http import Http, Limits

ColumnType = Literal["text", "integer", "number", "boolean", "time"]
Value = str | int | float | bool | datetime | None
#: Why a record is gone. `deleted` at the remote; `left`: still there, but outside of what is read; `hidden`:
#: no longer shown to this credential; `rotated`: discarded by the remote's own housekeeping, so it is kept.
Gone = Literal["deleted", "left", "hidden", "rotated"]


class Column(msgspec.Struct, frozen=True):
    """A typed column of a stream's table: a real column, filled when the record is decoded.

    `unit` says what a number counts (`ms`, `points`); `source` names the member of the remote's JSON.
    """

    name: str
    type: ColumnType
    source: str
    unit: str | None = None


class Stream(msgspec.Struct, frozen=True):
    """One kind of record. `parent` names what `Record.parent` holds the key of, if anything.

    `volatile` are the members of the JSON that may differ although the record did not change, as dotted
    paths (`fields.lastViewed`); they are stored, but left out of the hash that decides *unchanged*.
    `embedded`: its records come only as parts of their parent, in the same page as that; so no census asks
    for them, and a `Family` in the page tells which there are.
    """

    name: str
    columns: tuple[Column, ...] = ()
    parent: str | None = None
    volatile: tuple[str, ...] = ()
    embedded: bool = False


class Feed(msgspec.Struct, frozen=True):
    """Streams that come out of the same requests and share a cursor per partition."""

    name: str
    streams: tuple[Stream, ...]


class Partition(msgspec.Struct, frozen=True):
    """An independently read part of a feed, as `plan` saw it.

    `name` is stable from sync to sync. `mark` is the adapter's own note from planning, handed back to
    `read` (Jenkins: the newest build number, so that an idle job costs no request).
    """

    name: str
    mark: str = ""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One remote object. `key` is stable for its life and unique within (connection, stream).

    `version` orders observations: a longer text is newer, texts of one length compare as text; None where
    the remote has none. `final` is False while the record can still change without a newer cursor.
    `columns` are the values of the stream's columns, in their order. `body` is the remote's own JSON.
    """

    stream: str
    key: str
    body: bytes
    parent: str | None = None
    updated_at: datetime | None = None
    version: str | None = None
    final: bool = True
    columns: tuple[Value, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """A record that could not be read, for quarantine. `key` is None if not even that was legible."""

    stream: str
    key: str | None
    reason: str
    body: bytes


class Family(msgspec.Struct, frozen=True):
    """All records of an embedded stream that a parent has, because the parent was read completely.

    What is known of that parent and not among `keys` is gone.
    """

    stream: str
    parent: str
    keys: Sequence[str]


class Keys(msgspec.Struct, frozen=True):
    """A page of a census: keys that exist now, and where to go on once they are noted.

    `end` is True only if the remote itself said that nothing follows.
    """

    observed_at: datetime
    cursor: str
    keys: Sequence[str] = ()
    end: bool = False


class Page(msgspec.Struct, frozen=True):
    """What one step of reading brought, committed as a whole together with `cursor`.

    `observed_at` is when the request for these records was sent. `cursor` is where to go on once this page
    is committed. `expected` is the remote's exact count, per stream, of the whole range that is being read,
    as soon as it is known. `end` is True only if the remote itself said that nothing follows. `renewed`:
    the cursor belonged to another question (the filter was edited), so that reading began anew and what is
    stored may lie outside of it; a census follows.
    """

    observed_at: datetime
    cursor: str
    records: Sequence[Record] = ()
    rejected: Sequence[Rejected] = ()
    expected: Mapping[str, int] | None = None
    end: bool = False
    families: Sequence[Family] = ()
    renewed: bool = False


class Missing(msgspec.Struct, frozen=True):
    """A key that was asked for and is not there, with what the remote proved about it."""

    key: str
    reason: Gone


class Fetched(msgspec.Struct, frozen=True):
    """The answer to `fetch`: every key asked for is in exactly one of the three."""

    observed_at: datetime
    records: Sequence[Record] = ()
    rejected: Sequence[Rejected] = ()
    missing: Sequence[Missing] = ()
    families: Sequence[Family] = ()


class Hook(msgspec.Struct, frozen=True):
    """An inbound webhook as it came: header names in lower case, and the body byte for byte."""

    headers: Mapping[str, str]
    body: bytes


class Hint(msgspec.Struct, frozen=True):
    """What a webhook is about: keys by stream, to be fetched, because the payload itself is never copied.

    `delivery` is the sender's own id of this delivery, equal when it is sent again; None where there is
    none. Without keys, `ignored` says for a person why there is nothing to do.
    """

    keys: Mapping[str, Sequence[str]] = {}
    delivery: str | None = None
    ignored: str | None = None


class Registered(msgspec.Struct, frozen=True):
    """A webhook of ours at the remote. Not renewed it ends at `expires_at`; None: never.

    `signed`: what it sends proves that it knows the secret that it was given.
    """

    id: str
    expires_at: datetime | None = None
    signed: bool = True


class Readable(msgspec.Struct, frozen=True):
    """Whether a stream can be read: `count` matches where known, `problem` for a person where not.

    `kind` is the cause that a sync would end with.
    """

    readable: bool
    count: int | None = None
    problem: str | None = None
    kind: str | None = None


class Check(msgspec.Struct, frozen=True):
    """What `check` found: who we are there, what the remote is, and what can be read.

    `notes` are for a person: what is fine today and needs doing soon.
    """

    account: str | None
    system_version: str | None
    streams: Mapping[str, Readable]
    notes: Sequence[str] = ()


class Target(msgspec.Struct, frozen=True):
    """A parsed connection URL. `base` is the root all requests are made below, without a trailing slash.

    `canonical` is the one spelling of the URL; `options` are what the adapter read out of URL and params,
    and `streams`, with commas between, where a connection wants only some.
    """

    base: str
    canonical: str
    options: Mapping[str, str] = {}


class Adapter(Protocol):
    """A connection to one remote, good for one slice of one sync. All methods raise `AdapterError` only.

    What an instance learned (the identity check, a listing) it may keep for its own life, no longer.
    """

    system: ClassVar[str]
    feeds: ClassVar[tuple[Feed, ...]]
    limits: ClassVar["Limits"]
    #: How late the remote's index may show a change; no cursor goes nearer to now than this.
    overlap: ClassVar[timedelta]
    #: How many keys one `fetch` may be asked for.
    batch: ClassVar[int]

    def __init__(self, target: Target, http: "Http") -> None: ...

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        """Understand a URL as people paste it; no request is made. Raises `BadTarget`."""

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> "Auth":
        """The way this system is told who we are. `reveal` gives the secret, at the time of a request.

        Raises `BadTarget` (field `kind` or `username`) for what the system does not take.
        """

    async def check(self) -> Check:
        """Say who we are, what the remote is, and for each stream whether it can be read."""

    async def plan(self, feed: str) -> Sequence[Partition]:
        """The partitions of a feed as they are now. Proves our identity where that fails silently."""

    def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """Pages from `cursor` on (None: from the beginning) until the remote has no more.

        Stopping early loses nothing: reading goes on from the cursor of the last page that was kept.
        """

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        """The present records of at most `batch` keys, in the representation that `read` uses."""

    def census(self, stream: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Keys, None]:
        """Only the keys of a stream that is not embedded, as cheaply as the remote allows.

        `partition` is one of the stream's feed, as `plan` saw it; all of them together are the whole. Not
        one page comes out of a remote that does not know us (`AuthFailed`).
        """

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        """Whether whoever sent this knows the connection's webhook secret. Compares in constant time."""

    @staticmethod
    def hint(hook: Hook) -> Hint:
        """What a webhook is about. Raises `BadHook` for a body that this system does not send."""


@runtime_checkable
class Registers(Protocol):
    """An adapter that sets up its own webhook where the credential may; else `Forbidden` says what lacks."""

    async def register(self, url: str, secret: str | None) -> Registered:
        """Have the remote call `url`, signed with `secret`. What calls it already is changed, not doubled."""

    async def renew(self, id: str) -> Registered:
        """Keep the webhook for longer, where it ends by itself. Raises `NotFound` if it is gone."""

    async def unregister(self, id: str) -> None:
        """Remove the webhook. One that is gone already is no error."""


def newer(version: str | None, than: str | None) -> bool | None:
    """True or False by the order of `Record.version`; None if the versions do not tell."""
    if version is None or than is None or version == than:
        return None
    return (len(version), version) > (len(than), than)
