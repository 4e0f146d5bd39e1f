"""From a stored connection to an adapter that can be read: the URL understood, the secret at hand."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from random import Random

import msgspec
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.auth import Anonymous, Auth
from adapters.base import Adapter, AuthFailed, BadTarget
from adapters.guard import AddressGuard
from adapters.http import Budget, Http, Lane, Limits, Meter, Session, origin_of
from adapters.oauth2 import LIMITS, Door, OAuth2
from adapters.outgoing import Post, poster
from config.vault import Vault, VaultError
from store import credentials
from store.connections import Connection
from store.counts import RATE_LIMITED, Counts
from store.credentials import Credential
from store.database import Database
from worker.tokens import StoredTokens

Adapters = Mapping[str, type[Adapter]]


class Remotes:
    """Opens remotes: one HTTP session, one budget for all."""

    def __init__(
        self,
        adapters: Adapters,
        session: Session,
        budget: Budget,
        vault: Vault,
        database: Database,
        proxy: str | None = None,
        guard: AddressGuard | None = None,
    ) -> None:
        """With a `proxy` only that is dialled, and `guard` judges what it is asked for.

        `database` is where renewed tokens are kept. `counts` are those of this process.
        """
        self.counts = Counts()
        self.adapters = adapters
        self.guard = guard or AddressGuard()
        self._session = session
        self._budget = budget
        self._vault = vault
        self._database = database
        self._proxy = proxy

    async def open(
        self,
        database: AsyncConnection,
        connection: Connection,
        clock: Callable[[], datetime],
        meter: Meter,
        lane: Lane = "bulk",
        auth: Auth | None = None,
    ) -> Adapter:
        """The adapter of a connection. Raises `BadTarget` for a draft or for what no adapter takes.

        In the `records` lane its requests have a place of their own at each host. `auth` takes the place
        of the connection's credential.
        """
        kind = self.adapter_of(connection.system)
        if connection.url is None:
            raise BadTarget("url", "This connection has no URL yet.")
        target = kind.parse(connection.url, connection.params)
        if connection.streams is not None:
            # What is not wanted need not be asked for.
            chosen = ",".join(connection.streams)
            target = replace(target, options={**target.options, "streams": chosen})
        meter.limited = partial(self.counts.add, RATE_LIMITED, connection.system)
        way = _Way(self._session, self._budget, clock, meter, self._proxy, self.guard, lane)
        auth = auth or await self._auth(database, kind, connection.credential_id, way)
        return kind(target, way.to(target.base, auth, kind.limits))

    def poster(self, clock: Callable[[], datetime]) -> Post:
        """Posts to addresses that subscribers named, on the same session and behind the same guard."""
        return poster(self._session, self.guard, clock, self._proxy)

    def adapter_of(self, system: str) -> type[Adapter]:
        """The adapter of a system. Raises `BadTarget` naming the systems there are."""
        kind = self.adapters.get(system)
        if kind is None:
            raise BadTarget(
                "system", f"There is no adapter for {system}; there are {', '.join(self.adapters)}."
            )
        return kind

    async def _auth(
        self, database: AsyncConnection, kind: type[Adapter], credential_id: int | None, way: "_Way"
    ) -> Auth:
        credential = await credentials.get(database, credential_id) if credential_id is not None else None
        if credential is None or credential.kind == "anonymous":
            return Anonymous()
        if credential.kind == "oauth2":
            kind.auth(credential.kind, credential.username, str)
            # Spreads renewals; no secret depends on it.
            tokens = StoredTokens(self._database, self._vault, credential.id, way.to_tokens, Random())  # noqa: S311
            return OAuth2(tokens, way.clock)
        sealed = await credentials.sealed(database, credential.id)
        return kind.auth(credential.kind, credential.username, self._revealer(credential, sealed))

    def _revealer(self, credential: Credential, sealed: str | None) -> Callable[[], str]:
        """Opens the secret for the moment of a request; what is kept is sealed."""

        def reveal() -> str:
            try:
                return self._vault.open(sealed, credentials.place(credential.id)) if sealed else ""
            except VaultError as e:
                raise AuthFailed(f"The secret of credential {credential.name} cannot be opened: {e}") from e

        return reveal


class _Way(msgspec.Struct, frozen=True):
    """What all clients of one sync share, the one for tokens among them."""

    session: Session
    budget: Budget
    clock: Callable[[], datetime]
    meter: Meter
    proxy: str | None
    guard: AddressGuard
    lane: Lane

    def to(self, base: str, auth: Auth, limits: Limits) -> Http:
        return Http(
            self.session,
            base,
            auth,
            self.budget,
            limits,
            self.clock,
            self.meter,
            proxy=self.proxy,
            guard=self.guard,
            lane=self.lane,
        )

    def to_tokens(self, token_url: str) -> Door:
        return lambda auth: self.to(str(origin_of(token_url)), auth, LIMITS)
