"""Access tokens in the database: fetched by one process at a time, and stored before they are used."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import oauth2
from adapters.base import AuthFailed, Unavailable
from adapters.oauth2 import Client, Door, Granted, Token
from config.vault import Vault, VaultError
from store import credentials, tokens
from store.database import Database, clock
from store.tokens import Held, Secrets

log = structlog.get_logger()

#: A token is renewed so long before its end; each process draws its own moment within.
EARLY_SECONDS = (30.0, 60.0)
#: So long others wait for the one who fetches.
PATIENCE_SECONDS = 30.0
#: So often the database is asked again to take a token that the issuer gives only once.
COMMIT_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)


class StoredTokens:
    """The tokens of one credential, shared with every process that has the same database."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        credential_id: int,
        door: Callable[[str], Door],
        random: Random,
    ) -> None:
        """`door` gives the way to a token URL."""
        self._database = database
        self._vault = vault
        self._id = credential_id
        self._door = door
        self._early = timedelta(seconds=random.uniform(*EARLY_SECONDS))
        self._random = random

    async def usable(self, refused: str | None = None) -> Token:
        """A stored token that is not due, else a new one. Raises `AdapterError`: `Unavailable` if another
        process fetches one and does not come to an end.

        Once begun, a request for a token is completed and its answer stored, even when we are cancelled.
        """
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            async with self._database.read() as connection:
                held, now = await tokens.get(connection, self._id), await clock(connection)
            if held is None:
                raise AuthFailed("The credential is gone.", "Give the connection another credential.")
            if token := self._good(held, now, refused):
                return token
            if not held.is_leased(now):
                who = uuid4().hex
                async with self._database.write() as connection:
                    leased = await tokens.lease(connection, self._id, who, held.token)
                if leased and (token := await _finished(self._renew(leased, who, now))):
                    return token
            if time.monotonic() > give_up:
                raise Unavailable(f"Another process is fetching a token for credential {held.name}.")
            await asyncio.sleep(self._random.uniform(0.05, 0.15))

    def _good(self, held: Held, now: datetime, refused: str | None) -> Token | None:
        if held.token is None or held.token_expires_at is None:
            return None
        token = self._token(held.token, held.token_expires_at)
        return None if token.due <= now or token.reveal() == refused else token

    def _token(self, sealed: str, end: datetime) -> Token:
        return Token(lambda: self._open(sealed, tokens.place(self._id)), end - self._early)

    def _open(self, sealed: str, place: str) -> str:
        try:
            return self._vault.open(sealed, place)
        except VaultError as e:
            raise AuthFailed(f"What is stored of this credential cannot be opened: {e}") from e

    async def _renew(self, held: Held, who: str, now: datetime) -> Token | None:
        """Fetch a token and store it. None if our secrets were not the stored ones any more."""
        keeping = asyncio.create_task(self._keep(who))
        try:
            secrets = tokens.secrets_of(self._open(held.secret or "", credentials.place(self._id)))
            client = Client(
                token_url=held.options["token_url"],
                client_id=held.options["client_id"],
                scope=held.options.get("scope"),
                secret=secrets.secret,
                refresh_token=secrets.refresh_token,
            )
            granted = await oauth2.fetch(client, self._door(client.token_url))
            return await self._commit(held, secrets, granted, now)
        except AuthFailed:
            async with self._database.read() as connection:
                stored = await tokens.get(connection, self._id)
            if stored is None or stored.secret == held.secret:
                raise
            return None
        finally:
            keeping.cancel()
            with suppress(SQLAlchemyError, OSError):  # the lease runs out by itself
                async with self._database.write() as connection:
                    await tokens.release(connection, self._id, who)

    async def _commit(self, held: Held, secrets: Secrets, granted: Granted, now: datetime) -> Token | None:
        """The old refresh token is worth nothing from now on: what took its place must not be lost."""
        secret = None
        if granted.refresh_token is not None:
            other = Secrets(secrets.secret, granted.refresh_token)
            secret = self._vault.seal(other.as_text(), credentials.place(self._id))
        token = self._vault.seal(granted.access_token, tokens.place(self._id))
        end = _end(now, granted.lives)
        for wait in (*COMMIT_WAITS, None):
            try:
                async with self._database.write() as connection:
                    used = await self._as_sealed_now(connection, held, secrets)
                    kept = secret or used.secret or ""
                    stored = await tokens.commit(connection, self._id, used, kept, token, end)
                return self._token(token, end) if stored else None
            except (SQLAlchemyError, OSError) as e:
                log.warning("token.not_stored_yet", credential=self._id, error=type(e).__name__)
                if wait is None:
                    raise
                await asyncio.sleep(wait)
        return None

    async def _as_sealed_now(self, connection: AsyncConnection, held: Held, secrets: Secrets) -> Held:
        """What we used, also if it was sealed with another key meanwhile."""
        await credentials.locked(connection, self._id)
        stored = await tokens.get(connection, self._id)
        if stored is None or stored.secret is None or stored.secret == held.secret:
            return held
        same = tokens.secrets_of(self._open(stored.secret, credentials.place(self._id))) == secrets
        return stored if same else held

    async def _keep(self, who: str) -> None:
        while True:
            await asyncio.sleep(tokens.LEASE_SECONDS / 3)
            with suppress(SQLAlchemyError, OSError):
                async with self._database.beside() as connection:
                    await tokens.keep(connection, self._id, who)


def _end(now: datetime, lives: float) -> datetime:
    """When the token ends. One that lives less than two minutes is to be renewed at half its life, and not
    at once: so its end is noted as a minute after that."""
    return now + timedelta(seconds=max(lives, lives / 2 + EARLY_SECONDS[1]))


async def _finished(work: Coroutine[object, object, Token | None]) -> Token | None:
    """The result of `work`, which goes on to its end also when we are cancelled meanwhile."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Waited for, so that the process does not end under it. Its error is nobody's any more.
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
