"""The tokens of `oauth2` credentials: what is stored sealed, and the lease of who fetches the next one."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database import now
from store.schema import credentials

#: Whoever died while fetching a token is waited for no longer than this.
LEASE_SECONDS = 10.0
_COLUMNS = [
    credentials.c[name]
    for name in ("name", "secret", "options", "token", "token_expires_at", "renewing", "renewing_until")
]


class Secrets(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an `oauth2` credential keeps secret, sealed as one JSON text."""

    secret: str | None = None
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "<Secrets>"

    def as_text(self) -> str:
        return msgspec.json.encode(self).decode()


class Held(msgspec.Struct, frozen=True):
    """What is stored of a credential, with `secret` and `token` sealed."""

    name: str
    secret: str | None
    options: dict[str, Any]
    token: str | None
    token_expires_at: datetime | None
    renewing: str | None
    renewing_until: datetime | None

    def __repr__(self) -> str:
        return f"<Held {self.name}>"

    def is_leased(self, at: datetime) -> bool:
        """Whether someone is fetching the next token."""
        return self.renewing is not None and self.renewing_until is not None and self.renewing_until > at


def place(credential_id: int) -> str:
    """Where the access token lives; the vault binds the sealed text to it."""
    return f"credentials/{credential_id}/token"


def secrets_of(text: str) -> Secrets:
    """The opened secret of an `oauth2` credential."""
    return msgspec.json.decode(text, type=Secrets)


async def get(connection: AsyncConnection, credential_id: int) -> Held | None:
    row = (await connection.execute(select(*_COLUMNS).where(credentials.c.id == credential_id))).first()
    return None if row is None else Held(*row)


async def lease(connection: AsyncConnection, credential_id: int, who: str, token: str | None) -> Held | None:
    """Become the one who fetches the next token after `token`. None if another is, or has."""
    c = credentials.c
    free = or_(c.renewing.is_(None), c.renewing_until <= now())
    taken = (
        update(credentials)
        .where(c.id == credential_id, free, c.token.is_not_distinct_from(token))
        .values(renewing=who, renewing_until=now(LEASE_SECONDS))
    )
    row = (await connection.execute(taken.returning(*_COLUMNS))).first()
    return None if row is None else Held(*row)


async def keep(connection: AsyncConnection, credential_id: int, who: str) -> None:
    """Hold the lease for longer."""
    c = credentials.c
    kept = update(credentials).where(c.id == credential_id, c.renewing == who)
    await connection.execute(kept.values(renewing_until=now(LEASE_SECONDS)))


async def release(connection: AsyncConnection, credential_id: int, who: str) -> None:
    c = credentials.c
    let_go = update(credentials).where(c.id == credential_id, c.renewing == who)
    await connection.execute(let_go.values(renewing=None, renewing_until=None))


async def commit(
    connection: AsyncConnection, credential_id: int, used: Held, secret: str, token: str, end: datetime
) -> bool:
    """Store a token together with the secrets to go on with. False if those it was fetched with are not
    stored any more: someone gave others, or fetched another token in our stead.

    That the lease ran out meanwhile does not matter: the token in hand may be the only one that is good.
    """
    c = credentials.c
    stored = (
        update(credentials)
        .where(c.id == credential_id, c.secret == used.secret)
        .values(secret=secret, token=token, token_expires_at=end, renewing=None, renewing_until=None)
    )
    return (await connection.execute(stored)).rowcount == 1
