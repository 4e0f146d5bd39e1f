"""Issue tracker connections: credentials made of the user and the secret among parameters."""

from collections.abc import Mapping

from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncConnection

from api import credentials as rules
from api.context import Context
from api.credentials import CredentialChange, Kind, NewCredential
from api.dialects.issue_tracker_params import MODE, PASS, Given
from api.dialects.issue_tracker_rows import Row, server_of, with_kept
from api.problems import FieldError, invalid
from store import credentials
from store.credentials import Credential

_KINDS: Mapping[str, Kind] = {
    "anonymous": "anonymous",
    "api_token": "pat",
    "basic": "basic",
    "bearer": "bearer",
    "none": "anonymous",
    "pat": "pat",
    "personal_access_token": "pat",
    "token": "bearer",
}
_LONGEST_NAME = 190


def kind_of(mode: str | None, username: str | None, usual: str | None = None) -> Kind:
    """The kind of credential that an authentication mode means; without one, what fits. Raises 422."""
    if mode is None:
        like = _KINDS.get(usual or "")
        return like if like and not (username and like != "basic") else "basic" if username else "pat"
    name = mode.strip().lower().replace("-", "_").replace(" ", "_")
    if name not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise invalid(FieldError(f"params.{MODE}", f"There is no mode {mode[:50]}; there are {known}."))
    # Where a user stands beside it, an API token is used in the place of a password.
    return "basic" if name == "api_token" and username else _KINDS[name]


def of_own(system: str, connector: Credential | None, given: Given, name: str) -> NewCredential:
    """The credential that parameters make, otherwise like the connector. Raises 422."""
    if given.secret is None:
        message = "The stored one belongs to another user: give the password of this one, too."
        raise invalid(FieldError(f"params.{PASS}", message))
    username = given.user or (connector.username if connector else None)
    kind = kind_of(given.mode, given.user or None, connector.kind if connector else None)
    return NewCredential(
        name=f"{name[:_LONGEST_NAME]}: its own",
        system=system,
        kind=kind,
        username=username if kind == "basic" else None,
        secret=given.secret,
    )


async def settle_own(
    context: Context,
    connection: AsyncConnection,
    row: Row,
    connector: Credential | None,
    given: Given,
    name: str,
) -> int:
    """The id of the credential of a connection's own, with what parameters say. The database is joined."""
    if row.has_own and row.kept.own is not None and await _alone(connection, row.kept.own, row.id):
        username = given.user or row.username
        kind = kind_of(given.mode, username, row.kind)
        change = CredentialChange(
            kind=kind,
            username=username if kind == "basic" else None,
            secret=given.secret if given.secret is not None else UNSET,
        )
        return (await rules.edit(context, row.kept.own, change)).id
    attributes = with_kept({}, server_of(connector.attributes if connector else None))
    return (await rules.make(context, of_own(row.system, connector, given, name), attributes)).id


async def discard_own(context: Context, connection: AsyncConnection, credential_id: int | None) -> None:
    """Remove a credential that was made for one connection, if nothing uses it any more."""
    if credential_id is None or await credentials.get(connection, credential_id) is None:
        return
    if not await credentials.users(connection, credential_id):
        await rules.discard(context, credential_id)


async def _alone(connection: AsyncConnection, credential_id: int, connection_id: int) -> bool:
    return list(await credentials.users(connection, credential_id)) == [connection_id]
