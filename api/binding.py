"""A stored credential is sent to no other server than those it was first used for.

Else whoever may make connections could send the secret, which nobody can read here, to a server of their own
and read it there. Whoever has the permission `admin` may use a credential at another server, and so may
whoever gives the secret anew.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import BadTarget, Blocked
from adapters.http import origin_of
from api.access import Caller
from store import credentials
from worker.remote import Adapters

#: Behind this host every site is a path.
_GATEWAY = "api.atlassian.com"


def place_of(adapters: Adapters, system: str, url: str | None, params: Mapping[str, object]) -> str | None:
    """The server that a connection asks, in one spelling: scheme, host and port, at Atlassian's gateway the
    site, too. None for a connection without a URL, or with one that cannot be understood.

    Where there is no adapter yet, what the URL says itself counts.
    """
    if url is None:
        return None
    adapter = adapters.get(system)
    try:
        base = adapter.parse(url, params).base if adapter else url if "://" in url else f"https://{url}"
        origin = origin_of(base)
    except (BadTarget, Blocked):
        return None
    site = "/".join(urlsplit(base).path.split("/")[:4]) if origin.host == _GATEWAY else ""
    return f"{origin}{site}"


async def problem(
    connection: AsyncConnection, credential_id: int | None, place: str | None, caller: Caller
) -> str | None:
    """Why this caller may not have a credential sent to this server; None if they may."""
    if credential_id is None or place is None or caller.may("admin"):
        return None
    there = await credentials.origins(connection, credential_id)
    if not there or place in there:
        return None
    belongs = f"to {_listed(there)}" if caller.projects is None else "to another server"
    return (
        f"This credential belongs {belongs}, and is not sent to {place}. Make another credential for that "
        "server, or have somebody with the permission admin do this."
    )


async def bind(connection: AsyncConnection, credential_id: int | None, place: str | None) -> None:
    """Note that a credential is used at this server, from now on or since long."""
    if credential_id is None or place is None:
        return
    await credentials.locked(connection, credential_id)
    there = await credentials.origins(connection, credential_id)
    if place not in there:
        await credentials.change(connection, credential_id, {"origins": sorted([*there, place])})


def _listed(places: Sequence[str]) -> str:
    return ", ".join(places[:3]) + (", ..." if len(places) > 3 else "")
