"""From a stored connection to an adapter that can be read: the URL understood, the secret at hand."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.auth import Anonymous, Auth
from adapters.base import Adapter, AuthFailed, BadTarget
from adapters.guard import AddressGuard
from adapters.http import Budget, Http, Meter, Session
from config.vault import Vault, VaultError
from store import credentials
from store.connections import Connection
from store.credentials import Credential

Adapters = Mapping[str, type[Adapter]]


class Remotes:
    """Opens remotes: one HTTP session, one budget for all."""

    def __init__(
        self,
        adapters: Adapters,
        session: Session,
        budget: Budget,
        vault: Vault,
        proxy: str | None = None,
        guard: AddressGuard | None = None,
    ) -> None:
        """With a `proxy` only that is dialled, and `guard` judges what it is asked for."""
        self.adapters = adapters
        self._session = session
        self._budget = budget
        self._vault = vault
        self._proxy = proxy
        self._guard = guard

    async def open(
        self,
        database: AsyncConnection,
        connection: Connection,
        clock: Callable[[], datetime],
        meter: Meter,
    ) -> Adapter:
        """The adapter of a connection. Raises `BadTarget` for a draft or for what no adapter takes."""
        kind = self.adapter_of(connection.system)
        if connection.url is None:
            raise BadTarget("url", "This connection has no URL yet.")
        target = kind.parse(connection.url, connection.params)
        auth = await self._auth(database, kind, connection.credential_id)
        http = Http(
            self._session,
            target.base,
            auth,
            self._budget,
            kind.limits,
            clock,
            meter,
            proxy=self._proxy,
            guard=self._guard,
        )
        return kind(target, http)

    def adapter_of(self, system: str) -> type[Adapter]:
        """The adapter of a system. Raises `BadTarget` naming the systems there are."""
        kind = self.adapters.get(system)
        if kind is None:
            raise BadTarget(
                "system", f"There is no adapter for {system}; there are {', '.join(self.adapters)}."
            )
        return kind

    async def _auth(self, database: AsyncConnection, kind: type[Adapter], credential_id: int | None) -> Auth:
        credential = await credentials.get(database, credential_id) if credential_id is not None else None
        if credential is None or credential.kind == "anonymous":
            return Anonymous()
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
