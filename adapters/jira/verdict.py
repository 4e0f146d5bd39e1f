"""What became of issues that were asked for by id: the search index is believed only where it is up to date.

Data Center and Server search an index that may lag behind, or lack what was lost while it was rebuilt; the
issue itself is read from the database. So an issue is called outside of the query only when the index shows
it in its present state, and not in the query.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from adapters.base import QueryRejected, Record
from adapters.jira.walk import OVERLAP
from adapters.times import to_millis

#: So often, after these seconds, an index that does not know an issue's present state yet is asked again.
WAITS = (0.5, 1.0)


class Verdict(Struct, frozen=True):
    """What is proven of issues, as far as it is: of those in none of the three nothing is.

    `inside` match the query now although they did not when it was asked. `left` are there, outside of the
    query. `hidden` are not there for this account; Jira answers the same for what was deleted.
    """

    inside: Collection[str] = ()
    left: Collection[str] = ()
    hidden: Collection[str] = ()


class Indexed(Protocol):
    """A site whose searches may not show the present."""

    async def changed(self, ids: Collection[str]) -> Mapping[str, datetime | None]:
        """When each was changed last, by the database; who is not there for us is left out."""

    async def matching(self, jql: str) -> set[str]:
        """The ids of issues in a query, which may name unknown ones. Raises `QueryRejected`."""


async def judged(
    site: Indexed, restriction: str, records: Sequence[Record], unseen: Collection[str], now: datetime
) -> Verdict:
    """`records` were found in the query, `unseen` were not. `now` is by the remote's clock or earlier."""
    young = {one.key: one.updated_at for one in records if one.updated_at and one.updated_at > now - OVERLAP}
    there = await site.changed(unseen)
    doubtful = {**young, **there}
    inside, left = await _sides(site, restriction, doubtful, now)
    for seconds in WAITS:
        late = {key: at for key, at in doubtful.items() if key not in inside | left}
        if not any(at is not None and at > now - OVERLAP for at in late.values()):
            break
        await asyncio.sleep(seconds)
        more_inside, more_left = await _sides(site, restriction, late, now)
        inside |= more_inside
        left |= more_left
    return Verdict(inside & set(unseen), left, set(unseen) - there.keys())


async def _sides(
    site: Indexed, restriction: str, doubtful: Mapping[str, datetime | None], now: datetime
) -> tuple[set[str], set[str]]:
    """Those whose present state matches, and those whose present state does not."""
    inside = await _asked(site.matching, f"({restriction}) AND ", doubtful, now)
    rest = {key: at for key, at in doubtful.items() if key not in inside}
    known = await _asked(site.matching, "", rest, now)
    # The index may have learned of them only after the first question.
    rest = {key: at for key, at in rest.items() if key in known}
    late = await _asked(site.matching, f"({restriction}) AND ", rest, now)
    return inside | late, known - late


async def _asked(
    matching: Callable[[str], Awaitable[set[str]]],
    restriction: str,
    states: Mapping[str, datetime | None],
    now: datetime,
) -> set[str]:
    """Which of the issues the index shows in their present state, within a restriction."""
    if not states:
        return set()
    try:
        found = await matching(f"{restriction}({' OR '.join(_clause(*one, now) for one in states.items())})")
    except QueryRejected:
        # One of them went away meanwhile, and this site does not let a query name it.
        return set()
    return found & states.keys()


def _clause(id_: str, changed_at: datetime | None, now: datetime) -> str:
    """An issue that nobody touched of late is known as it is, if it is known. A number is epoch ms to JQL."""
    if changed_at is None or changed_at <= now - OVERLAP:
        return f"id = {id_}"
    return f"(id = {id_} AND updated >= {to_millis(changed_at)})"
