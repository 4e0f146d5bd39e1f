"""What the API may touch: made once by whoever serves it, handed to every handler."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry

from api.access import NOBODY, Caller
from api.inbox import Inbox
from api.keyring import Keyring
from api.pace import Pace
from api.pulse import Pulse
from api.scrapes import Scrapes
from config.secret import Secret
from config.vault import Vault
from store.database import Database
from store.streams import StreamTables
from store.syncs import Ring
from worker.remote import Remotes


class Bell(Protocol):
    """Wakes workers. A ring that is lost is rung again by the reaper, so it never fails a request."""

    async def ring(self, rings: Sequence[Ring]) -> None: ...

    async def ring_check(self, connection_id: int) -> None: ...

    async def ring_webhook(self, connection_id: int) -> None: ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that requests need. `ready` says of each role of this installation whether it runs."""

    database: Database
    tables: StreamTables
    remotes: Remotes
    vault: Vault
    bell: Bell
    admin_key: Secret
    ready: Callable[[], Awaitable[Mapping[str, bool]]]
    #: Where remotes, and others, reach this API.
    public_url: str
    #: Who asks. Each request, and each command, has the context with its own caller.
    caller: Caller = NOBODY
    inbox: Inbox = msgspec.field(default_factory=Inbox)
    keyring: Keyring = msgspec.field(default_factory=Keyring)
    #: What this process counts for itself; what the database knows is asked when metrics are read.
    metrics: CollectorRegistry = msgspec.field(default_factory=CollectorRegistry)
    scrapes: Scrapes = msgspec.field(default_factory=Scrapes)
    #: Whether Redis does; None where nobody can say.
    redis_answers: Callable[[], Awaitable[bool]] | None = None
    #: Set when the process is to end: streams close then, so that nobody waits for them.
    stopping: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    #: How often it is written when keys were last used.
    note_seconds: float = 10.0
    #: Tests of connections: how long one may take, how many may run at once, and how fast they follow.
    check_seconds: float = 60.0
    checks: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(16))
    pace: Pace = msgspec.field(default_factory=Pace)
    #: Live events: how often the database is looked at, how often a silent line is kept awake, how many.
    poll_seconds: float = 0.05
    ping_seconds: float = 15.0
    listeners: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(256))
    #: A reader of live events that takes nothing for so long is let go; it resumes where it was.
    write_seconds: float = 30.0
    pulse: Pulse = msgspec.field(default_factory=Pulse)
