"""What became of work items that are not there any more."""

from collections.abc import Sequence

import msgspec

from adapters.azure.credential import WORK_ITEMS
from adapters.azure.query import Queries
from adapters.azure.site import Site
from adapters.azure.values import is_id
from adapters.base import Forbidden, Gone, NotFound, QueryRejected
from adapters.reply import decode

_BIN = "/_apis/wit/recyclebin"


class _Deleted(msgspec.Struct, frozen=True):
    """An entry of the recycle bin; one that is not there comes with a `code` and a message."""

    id: int | str
    code: int = 200


class _Bin(msgspec.Struct, frozen=True):
    value: list[_Deleted | None]


async def reasons(site: Site, queries: Queries, keys: Sequence[str]) -> dict[str, Gone]:
    """Why these keys are not there, proven to be about us. What lies in the recycle bin was deleted.

    What was destroyed leaves no trace. In the one project that is read, an id that was given out and is not
    there counts as deleted. In an organisation it may as well be in a project that is withheld now.
    """
    ids = [key for key in keys if is_id(key)]
    binned = await _in_bin(site, ids)
    doubtful = [key for key in ids if key not in binned]
    destroyed = await _destroyed(queries, doubtful) if doubtful else set()
    return {key: "deleted" if key in binned or key in destroyed else "hidden" for key in keys}


async def _destroyed(queries: Queries, keys: Sequence[str]) -> set[str]:
    if await queries.project() is None:
        return set()
    newest = await queries.newest()
    if newest and any(int(key) > newest for key in keys):
        newest = await queries.newest(everywhere=True)
    return {key for key in keys if int(key) <= newest}


async def _in_bin(site: Site, keys: Sequence[str]) -> set[str]:
    """Which of these the recycle bin holds; none where we may not look into it."""
    if not keys:
        return set()
    try:
        reply = await site.get(_BIN, {"ids": ",".join(keys)}, WORK_ITEMS)
    except (Forbidden, NotFound, QueryRejected):
        await site.vouch()
        return set()
    await site.prove(reply, anew=True)
    # Seen both bare and in the usual envelope (documented examples, vendor's OpenAPI document).
    bare = reply.body.lstrip().startswith(b"[")
    listed = decode(reply, list[_Deleted | None]) if bare else decode(reply, _Bin).value
    return {str(entry.id) for entry in listed if entry is not None and entry.code == 200}
