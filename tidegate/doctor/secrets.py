"""Whether what is sealed in the database opens, and whether a change of keys was left halfway."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.vault import SEALED_PREFIX, Vault, VaultError
from store import instance
from store.sealed import SEALED, by_key
from tidegate.doctor.finding import Finding, fail, ok, warn

#: So many sealed texts of each kind are opened.
MOST = 1000
SHOWN = 3


async def look(connection: AsyncConnection, vault: Vault) -> Sequence[Finding]:
    """What there is to say of stored secrets. They are opened one by one, and nothing is kept of them."""
    opened, closed = 0, []
    for each in SEALED:
        query = select(*each.key, each.column).where(each.column.like(f"{SEALED_PREFIX}%"))
        for row in await connection.execute(query.order_by(*each.key).limit(MOST)):
            *key, text = row
            if _opens(vault, text, each.place(*key)):
                opened += 1
            else:
                closed.append(each.place(*key))
    found = [_opened(opened, closed)]
    fingerprint = await instance.get(connection, instance.VAULT)
    if fingerprint is None or not vault.seal_with(fingerprint):
        return found  # told as the finding of the key itself
    counts = await by_key(connection)
    old = {key: sum(of.values()) for key, of in counts.items() if key != vault.key_ids[0]}
    if vault.newest[0] != vault.key_ids[0]:
        said = "A newer secret key is given and is not used yet."
        advice = "Run `tidegate secrets rotate` once every process was restarted with it."
        return [*found, warn("key rotation", said, advice)]
    if left := sum(count for key, count in old.items() if key in vault.key_ids):
        said = f"{left} stored secrets are still sealed with an older key: a change of keys was not ended."
        found.append(
            warn("key rotation", said, "Run `tidegate secrets rotate`: it goes on where it stopped.")
        )
    return found


def _opened(opened: int, closed: Sequence[str]) -> Finding:
    if not closed:
        return ok("secrets", f"All that were tried open: {opened}." if opened else "None is stored yet.")
    named = ", ".join(closed[:SHOWN]) + (f" and {len(closed) - SHOWN} more" if len(closed) > SHOWN else "")
    said = f"{len(closed)} of {opened + len(closed)} stored secrets do not open: {named}."
    advice = "Add the key that sealed them to TIDEGATE_SECRET_KEY, after a comma, or give the secrets anew."
    return fail("secrets", said, advice)


def _opens(vault: Vault, text: Any, place: str) -> bool:
    try:
        vault.open(str(text), place, secret=False)
    except VaultError:
        return False
    return True
