"""The one door: every sync, whatever asked for it, is opened or joined here.

Per lane a connection has at most one open sync and one queued; a trigger that finds a queued one joins it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import syncs
from store.connections import from_row, locked
from store.schema import connections as table
from store.syncs import PERSONAL, Lane, Ring, Scope, Sync, Trigger


class Request(msgspec.Struct, frozen=True):
    """What a trigger asks for. `keys` are by stream and make the sync one of named records; with `look`
    it also takes what is due to be looked at again. `census` adds one to an incremental sync; `accept_loss`
    says that many records may be found gone.
    """

    trigger: Trigger
    scope: Scope = "incremental"
    keys: Mapping[str, Sequence[str]] = {}
    look: bool = False
    census: bool = False
    accept_loss: bool = False

    @property
    def lane(self) -> Lane:
        return "records" if self.scope == "records" else "bulk"


class Opened(msgspec.Struct, frozen=True):
    """The sync that a trigger came to, and what is to be rung for it once the transaction is in."""

    sync: Sync
    joined: bool
    ring: Ring | None


class ClosedError(Exception):
    """The door stays shut: the connection is unknown, deleted, a draft, or disabled."""


class RememberedError(Exception):
    """The connection is paused after a failure: the trigger is remembered, and no sync is opened."""


async def open_sync(
    connection: AsyncConnection, connection_id: int, request: Request, now: datetime
) -> Opened:
    """Open a sync or join the queued one, in the caller's transaction.

    Raises `ClosedError` with what stands in the way, or `RememberedError`.
    """
    row = await locked(connection, connection_id)
    if row is None or row["deleted_at"] is not None:
        raise ClosedError(f"There is no connection {connection_id}.")
    found = from_row(row)
    if found.draft:
        raise ClosedError(
            f"Connection {found.name} is a draft: it lacks a URL or an adapter for {found.system}."
        )
    if not found.enabled:
        raise ClosedError(f"Connection {found.name} is disabled; enable it first.")
    if found.paused and request.trigger not in PERSONAL:
        remembered = update(table).where(table.c.id == connection_id)
        await connection.execute(remembered.values(remembered=table.c.remembered + 1))
        raise RememberedError(f"Connection {found.name} is paused: {found.cause}.")
    if request.scope == "incremental" and row["census_at"] is not None and row["census_at"] <= now:
        request = msgspec.structs.replace(request, census=True)
    live = await syncs.of_lane(connection, connection_id, request.lane)
    queued = next((sync for sync in live if sync.state == "queued"), None)
    if queued is not None:
        await syncs.join(connection, queued.id, united(queued, request))
        joined = await syncs.get(connection, queued.id)
        assert joined is not None
        return Opened(joined, True, None if len(live) > 1 else _ring(joined))
    made = await syncs.add(connection, _values(connection_id, request), now)
    return Opened(made, False, None if live else _ring(made))


def united(queued: Sync, request: Request) -> dict[str, object]:
    """What a queued sync becomes when a trigger joins it: keys unite, `full` absorbs the rest.

    `census` and `incremental` become one incremental with a census, and stay that.
    """
    if queued.scope == "records":
        keys = {
            stream: sorted({*queued.keys.get(stream, ()), *request.keys.get(stream, ())})
            for stream in (*queued.keys, *(s for s in request.keys if s not in queued.keys))
        }
        return {"keys": keys, "look": queued.look or request.look}
    wider = {"accept_loss": True} if request.accept_loss else {}
    if "full" in (queued.scope, request.scope):
        return {"scope": "full", **wider}
    if queued.scope == request.scope:
        return {"census": queued.census or request.census, **wider}
    return {"scope": "incremental", "census": True, **wider}


def _values(connection_id: int, request: Request) -> dict[str, object]:
    return {
        "connection_id": connection_id,
        "lane": request.lane,
        "trigger": request.trigger,
        "scope": request.scope,
        "keys": {stream: sorted(set(keys)) for stream, keys in request.keys.items()},
        "look": request.look,
        "census": request.census,
        "accept_loss": request.accept_loss,
    }


def _ring(sync: Sync) -> Ring:
    return Ring(sync.id, sync.fence, sync.lane)


async def cancel_all(connection: AsyncConnection, connection_id: int, now: datetime) -> int:
    """Cancel whatever is open or queued: the connection changed under it. How many.

    The connection's row is locked by the caller.
    """
    lanes: tuple[Lane, ...] = ("bulk", "records")
    live = [sync for lane in lanes for sync in await syncs.of_lane(connection, connection_id, lane)]
    return sum([await syncs.cancel(connection, sync, now) for sync in live])
