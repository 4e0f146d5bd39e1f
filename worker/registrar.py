"""Webhooks that Tidegate sets up at remotes itself: registered, renewed, moved and removed."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from secrets import token_urlsafe
from urllib.parse import urlsplit

import msgspec
import structlog
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Adapter, AdapterError, BadTarget, Later, NotFound, Registered, Registers
from adapters.http import Meter, utc_now
from config.vault import Vault, VaultError
from store import connections, webhooks
from store.connections import Connection
from store.database import Database, clock
from store.health import Problem
from store.webhooks import Webhook, place_of_secret
from worker.outcome import problem_of
from worker.remote import Remotes

log = structlog.get_logger()

#: How often a registration is looked at, and what has less than this left is renewed.
LOOK_EVERY = timedelta(days=1)
RENEW_BEFORE = timedelta(days=10)
#: After a remote that did not answer.
SOON = timedelta(minutes=10)
#: What a deleted connection left at a remote is not tried to be removed for longer.
GIVE_UP_AFTER = timedelta(days=2)


UNSIGNED = Problem(
    "rejected",
    "The remote does not sign webhooks that are registered with this credential, so that all are refused.",
    "Remove the webhook secret of this connection: then the address alone is the proof.",
)


class CannotRegisterError(Exception):
    """Tidegate cannot set this webhook up itself; the text says why, and what can be done."""


class Registrar:
    """Keeps registrations as they are wanted. `public_url` is where remotes reach the API."""

    def __init__(self, database: Database, remotes: Remotes, vault: Vault, public_url: str) -> None:
        self._database = database
        self._remotes = remotes
        self._vault = vault
        self._public_url = public_url

    def address(self, found: Connection) -> str:
        """What a remote calls to tell of changes."""
        return f"{self._public_url}/webhooks/{found.callback_token}"

    def kind(self, found: Connection) -> type[Adapter]:
        """The adapter, if it can register. Raises `CannotRegisterError` else, and for what cannot work."""
        kind = self._remotes.adapters.get(found.system)
        if kind is None or found.draft:
            raise CannotRegisterError(f"{found.name} is a draft: it lacks a URL or an adapter.")
        if not found.enabled:
            raise CannotRegisterError(f"{found.name} is disabled; enable it first.")
        if not issubclass(kind, Registers):
            raise CannotRegisterError(
                f"Webhooks of {found.system} are set up by a person: follow the steps, with the address."
            )
        self._reachable(kind, found)
        return kind

    def _reachable(self, kind: type[Adapter], found: Connection) -> None:
        here = urlsplit(self._public_url).hostname or ""
        assert found.url is not None
        there = urlsplit(kind.parse(found.url, found.params).base).hostname or ""
        if of_this_machine(here) and not of_this_machine(there):
            raise CannotRegisterError(
                f"{there} cannot call {self._public_url}: that is this machine's own address. Set "
                "TIDEGATE_PUBLIC_URL to the address at which it reaches this Tidegate."
            )

    async def register(self, connection_id: int) -> Webhook:
        """Have the remote call us from now on, and note it. Raises `AdapterError`, `CannotRegisterError`.

        A connection without a webhook secret gets one that nobody ever sees, if the remote signs with it.
        """
        async with self._database.read() as connection:
            found = await self._get(connection, connection_id)
            before = await webhooks.of(connection, connection_id)
        self.kind(found)
        made = await self._made(found)
        await self._write(found.id, before, made)
        return made

    async def settle(self, connection_id: int) -> Webhook | None:
        """Bring what is at the remote in line with what is wanted. Problems are noted and logged.

        Gives what is noted of it then.
        """
        async with self._database.read() as connection:
            found = await connections.get(connection, connection_id, deleted=True)
            before = await webhooks.of(connection, connection_id)
            now = await clock(connection)
        if found is None or before is None:
            return None
        try:
            after = await self._settled(found, before, now)
        except (AdapterError, BadTarget, CannotRegisterError, VaultError) as e:
            after = _failed(found, before, e, now)
            log.warning("webhook.not_settled", connection=connection_id, reason=str(e))
        await self._write(connection_id, before, after)
        return after

    async def _settled(self, found: Connection, hook: Webhook, now: datetime) -> Webhook | None:
        wanted = hook.wanted and found.enabled and not found.draft and found.deleted_at is None
        if hook.id is not None and not wanted:
            await self._remove(found, hook)
            hook = _gone(hook)
        elif hook.id is not None and self._moved(found, hook):
            hook = await self._left_behind(found, hook)
        if not wanted:
            # Of an enabled connection that nobody wants webhooks for, and of a deleted one, nothing is left.
            keeps = hook.wanted and found.deleted_at is None
            return replace(hook, look_at=now + LOOK_EVERY, problem=None) if keeps else None
        if found.paused:
            # Who is not let in asks no more than the daily check does.
            return replace(hook, look_at=now + LOOK_EVERY)
        self.kind(found)
        if hook.id is None:
            return await self._made(found)
        return await self._renewed(found, hook, now)

    def _moved(self, found: Connection, hook: Webhook) -> bool:
        return hook.address != self.address(found) or hook.url != found.url

    async def _renewed(self, found: Connection, hook: Webhook, now: datetime) -> Webhook:
        """One that does not end by itself is asked for, too: somebody may have removed it."""
        far = hook.expires_at is not None and hook.expires_at - now > RENEW_BEFORE
        hook = replace(hook, look_at=now + LOOK_EVERY, problem=None)
        if far and found.webhook_missed_at is None:
            return hook
        adapter = await self._open(found)
        assert hook.id is not None
        try:
            renewed = await adapter.renew(hook.id)
        except NotFound:
            log.info("webhook.lost", connection=found.id)
            return await self._made(found)
        return replace(hook, id=renewed.id, expires_at=renewed.expires_at)

    async def _made(self, found: Connection) -> Webhook:
        """Registered, with its secret stored."""
        adapter = await self._open(found)
        async with self._database.read() as connection:
            sealed = await webhooks.sealed_secret(connection, found.id)
        secret = self._vault.open(sealed, place_of_secret(found.id)) if sealed else token_urlsafe(32)
        registered = await adapter.register(self.address(found), secret)
        async with self._database.write() as connection:
            row = await connections.locked(connection, found.id)
            now = await clock(connection)
            # A secret that somebody gave meanwhile stays; then the remote signs with another until next time.
            if row is not None and row["webhook_secret"] is None and registered.signed:
                mine = self._vault.seal(secret, place_of_secret(found.id))
                await connections.change(connection, found.id, now, {"webhook_secret": mine})
        made = self._noted(found, registered, now)
        if not registered.signed and sealed is not None:
            return replace(made, problem=UNSIGNED)
        return made

    def _noted(self, found: Connection, registered: Registered, now: datetime) -> Webhook:
        return Webhook(
            wanted=True,
            look_at=now + LOOK_EVERY,
            id=registered.id,
            address=self.address(found),
            url=found.url,
            credential_id=found.credential_id,
            registered_at=now,
            expires_at=registered.expires_at,
        )

    async def _left_behind(self, found: Connection, hook: Webhook) -> Webhook:
        """Removed where it was before the connection became another; what cannot be is left there."""
        try:
            await self._remove(found, hook)
        except Later:
            raise
        except (AdapterError, BadTarget, CannotRegisterError) as e:
            log.warning("webhook.left_behind", connection=found.id, reason=str(e))
        return _gone(hook)

    async def _remove(self, found: Connection, hook: Webhook) -> None:
        """Where and as whom it was registered."""
        there = replace(found, url=hook.url, credential_id=hook.credential_id)
        assert hook.id is not None
        try:
            await (await self._open(there)).unregister(hook.id)
        except NotFound:
            log.info("webhook.gone_already", connection=found.id)

    async def _open(self, found: Connection) -> Registers:
        async with self._database.read() as connection:
            adapter = await self._remotes.open(connection, found, utc_now, Meter(), "records")
        if not isinstance(adapter, Registers):
            raise CannotRegisterError(f"The adapter for {found.system} does not set up webhooks.")
        return adapter

    async def _get(self, connection: AsyncConnection, connection_id: int) -> Connection:
        found = await connections.get(connection, connection_id)
        if found is None:
            raise CannotRegisterError(f"There is no connection {connection_id}.")
        return found

    async def _write(self, connection_id: int, before: Webhook | None, after: Webhook | None) -> None:
        """What somebody wants meanwhile stays wanted, and is seen after soon."""
        async with self._database.write() as connection:
            if await connections.locked(connection, connection_id) is None:
                return
            stored = await webhooks.of(connection, connection_id)
            if stored is not None and stored != before:
                now = await clock(connection)
                after = replace(after or _gone(stored), wanted=stored.wanted, look_at=now)
            await webhooks.keep(connection, connection_id, after)


def of_this_machine(host: str) -> bool:
    """Whether a name or an address means the machine that says it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _gone(hook: Webhook) -> Webhook:
    return msgspec.structs.replace(hook, id=None, address=None, registered_at=None, expires_at=None)


def _failed(found: Connection, hook: Webhook, error: Exception, now: datetime) -> Webhook | None:
    """The same with its problem. What a deleted connection left behind is given up after some time."""
    if found.deleted_at is not None and now - found.deleted_at > GIVE_UP_AFTER:
        return None
    problem = problem_of(error) if isinstance(error, AdapterError) else Problem("rejected", str(error))
    again = now + LOOK_EVERY
    if isinstance(error, Later):
        again = max(now + SOON, error.retry_at or now)
    return replace(hook, look_at=again, problem=problem)
