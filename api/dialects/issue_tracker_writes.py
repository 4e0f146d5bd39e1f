"""Issue tracker connections: what it takes to make and to change one, in the transaction of the caller."""

from collections.abc import Mapping

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from api import edits, wanted
from api.context import Context
from api.dialects import issue_tracker_credentials as own
from api.dialects import issue_tracker_params as params_of
from api.dialects.issue_tracker_params import Given
from api.dialects.issue_tracker_rows import Kept, Row, server_of, with_kept
from api.dialects.issue_tracker_target import made
from api.dialects.issue_tracker_words import primary_key
from api.problems import FieldError, invalid
from api.wanted import Wanted
from store import credentials
from store.connections import Connection
from store.credentials import Credential
from store.database import Joined

FREQUENCIES = ("hourly", "daily", "weekly", "monthly", "manually")


async def add(
    context: Context,
    connection: AsyncConnection,
    asked: Wanted,
    connector: Credential,
    params: Mapping[str, object],
) -> int:
    """Make a connection, with its own credential if `params` have a secret. Raises 422. Its id."""
    asked = replace(asked, system=connector.system, credential_id=connector.id)
    within = await _permitted(context, connection, asked)
    asked = await _with_params(within, connection, blank(asked, connector), asked, None, params)
    return (await edits.make(within, asked, None)).id


async def alter(
    context: Context,
    connection: AsyncConnection,
    stored: Connection,
    before: Row,
    news: Mapping[str, object],
    connector: Credential | None,
    params: Mapping[str, object],
) -> None:
    """Change a connection. `connector` is another one than before, or None. Raises 422."""
    asked = replace(wanted.as_stored(stored), **news)
    if connector is not None:
        asked = replace(asked, credential_id=connector.id)
    within = await _permitted(context, connection, asked)
    asked = await _with_params(within, connection, before, asked, connector, params)
    await edits.edit(within, stored.id, lambda _: asked)
    if before.has_own and asked.credential_id != before.credential_id:
        await own.discard_own(within, connection, before.credential_id)


async def connector_named(connection: AsyncConnection, given: int | str) -> Credential:
    """The credential that a client names. Raises 422."""
    connector_id = primary_key(given, "connector")
    found = await credentials.get(connection, connector_id)
    if found is None:
        raise invalid(FieldError("connector", f"There is no connector {connector_id}."))
    return found


def frequency_named(text: str, before: str | None = None) -> str:
    """One of this product's words, or what is stored already. Raises 422."""
    if text not in FREQUENCIES and text != before:
        known = ", ".join(FREQUENCIES)
        raise invalid(FieldError("frequency", f'"{text[:50]}" is not a valid choice; these are: {known}.'))
    return text


def blank(asked: Wanted, connector: Credential) -> Row:
    """A connection that is still to be made, with its connector."""
    return Row(
        id=0,
        name=asked.name,
        system=connector.system,
        url=None,
        params={},
        frequency=asked.frequency,
        debug=asked.debug,
        attributes={},
        health="pending",
        cause=None,
        last_success_at=None,
        project_id=asked.project_id,
        credential_id=connector.id,
        project=None,
        kind=connector.kind,
        username=connector.username,
        has_secret=connector.has_secret,
        server=server_of(connector.attributes),
        kept=Kept(),
        connector=connector.id,
    )


async def _permitted(context: Context, connection: AsyncConnection, asked: Wanted) -> Context:
    """The context of this transaction, once it is known that the caller may use project and connector.

    A credential that is made in it is used by no connection yet, so no limit to projects would let it pass.
    Raises 422.
    """
    plain = replace(asked, url=None, params={}, streams=None)
    await wanted.check(connection, context.remotes.adapters, plain, context.caller)
    caller = replace(context.caller, projects=None)
    return replace(context, database=Joined(context.database, connection), caller=caller)


async def _with_params(
    context: Context,
    connection: AsyncConnection,
    before: Row,
    asked: Wanted,
    connector: Credential | None,
    params: Mapping[str, object],
) -> Wanted:
    """The wanted connection with what parameters say: where it reads, as whom, and what is only kept."""
    adapters = context.remotes.adapters
    given = params_of.told_apart(params, params_of.shown(before, adapters))
    kept = Kept(
        params=params_of.merged(before.kept.params, given.params),
        secrets=sorted({*before.kept.secrets, *given.secrets}),
        connector=before.kept.connector if before.has_own and connector is None else None,
        own=before.kept.own if before.has_own and connector is None else None,
    )
    if given.secret or given.user or (given.mode and kept.own):
        asked, kept = await _with_own(context, connection, before, asked, connector, given, kept)
    place = params_of.place_of(before, adapters)
    server = server_of(connector.attributes) if connector is not None else None
    there = params_of.moved(place, given.params, server)
    if there != place or asked.url is None:
        url, reads = made(asked.system, asked.system in adapters, there, asked.params)
        asked = replace(asked, url=url, params=reads)
        if url is None and there.server not in ("", (server or before.server).server):
            at = {params_of.SERVER: there.server, params_of.METHOD: there.method}
            kept = replace(kept, params={**kept.params, **at})
    return replace(asked, attributes=with_kept(asked.attributes, kept))


async def _with_own(
    context: Context,
    connection: AsyncConnection,
    before: Row,
    asked: Wanted,
    connector: Credential | None,
    given: Given,
    kept: Kept,
) -> tuple[Wanted, Kept]:
    """The same with a credential of the connection's own, which keeps to the connector else."""
    named = connector
    if named is None and before.connector is not None:
        named = await credentials.get(connection, before.connector)
    row = replace(before, kept=kept)
    mine = await own.settle_own(context, connection, row, named, given, asked.name)
    kept = replace(kept, connector=named.id if named else None, own=mine)
    return replace(asked, credential_id=mine), kept
