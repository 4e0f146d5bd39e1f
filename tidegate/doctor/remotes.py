"""Whether the servers that connections read from can be reached from here. No credential is sent to any."""

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.auth import Anonymous
from adapters.base import AdapterError, Unreadable
from adapters.errors import Blocked
from adapters.guard import AddressGuard
from adapters.http import Http, Limits, LocalBudget, Meter, Session, open_session, origin_of, utc_now
from config.settings import Settings
from store.schema import connections
from tidegate.doctor.finding import Finding, Redact, fail, ok, warn

#: So many servers are asked, so many at once, and each may take so many seconds.
MOST, AT_ONCE, SECONDS = 50, 10, 5.0
_LIMITS = Limits(connect=SECONDS, read=SECONDS, total=SECONDS, body=65536, cut=True)
_HINT = "Check its address, and the way there from this machine."


class _AnswersError(Unreadable):
    """The server answers; what it says to a stranger does not matter."""


async def look(servers: Mapping[str, Sequence[str]], settings: Settings, redact: Redact) -> Sequence[Finding]:
    """The `servers`, asked side by side behind the guard that holds for workers."""
    if not servers:
        return [ok("remotes", "No connection is enabled.")]
    proxy = settings.proxy.reveal() if settings.proxy else None
    guard = AddressGuard(settings.allow_networks)
    places = asyncio.Semaphore(AT_ONCE)
    some = dict(list(servers.items())[:MOST])
    ca_file = str(settings.ca_file) if settings.ca_file else None
    async with open_session(guard, ca_file, proxied=proxy is not None) as session:
        asked = (_asked(session, places, base, proxy, guard) for base in some)
        errors = dict(zip(some, await asyncio.gather(*asked), strict=True))
    found = [_away(base, some[base], error, redact) for base, error in errors.items() if error is not None]
    answered = len(some) - len(found)
    beyond = f" {len(servers) - MOST} more were not asked." if len(servers) > MOST else ""
    return [ok("remotes", f"{answered} of {len(some)} servers answer.{beyond}"), *found]


async def servers(connection: AsyncConnection) -> Mapping[str, Sequence[str]]:
    """The names of the enabled connections, by the server that they read from."""
    c = connections.c
    query = select(c.name, c.canonical).where(c.enabled, c.deleted_at.is_(None), c.canonical.is_not(None))
    found: dict[str, list[str]] = {}
    for name, canonical in await connection.execute(query.order_by(c.id)):
        try:
            found.setdefault(str(origin_of(canonical)), []).append(name)
        except Blocked:
            found.setdefault(canonical, []).append(name)
    return found


async def _asked(
    session: Session, places: asyncio.Semaphore, base: str, proxy: str | None, guard: AddressGuard
) -> AdapterError | None:
    """Why the server was not reached; None if it answers, whatever it says."""
    async with places:
        try:
            budget = LocalBudget(utc_now)
            way = Http(
                session, base, Anonymous(), budget, _LIMITS, utc_now, Meter(), proxy=proxy, guard=guard
            )
            await way.get("/", judge=lambda reply: _AnswersError(reply.summary))
        except _AnswersError:
            return None
        except AdapterError as e:
            return e
    return None


def _away(base: str, names: Sequence[str], error: AdapterError, redact: Redact) -> Finding:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    said = f"{redact(error.message)} It is needed by {names[0]}{others}."
    make = warn if error.kind == "unreachable" else fail
    return make(f"remote {base}", said, error.hint or _HINT)
