"""Issues with all that is embedded in them: what a search cut short is asked for, in few requests."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from adapters.base import Family, NotFound, Record, Rejected, TooLarge
from adapters.jira.embedded import HISTORY, KINDS, Kind, Listing, Part, read_lists
from adapters.jira.issue import Issue

#: So many embedded records one page has at most, but for those of its only issue.
RECORDS_MOST = 5000
# Below this, pages could not overlap any more.
_SMALLEST = 2


class Lists(Protocol):
    """A site that can be asked for the lists of its issues. `streams` are those that are wanted."""

    streams: Collection[str]

    async def listing(self, kind: Kind, issue_id: str, at: int, size: int) -> Listing:
        """A page of comments or worklogs, oldest first. Raises `TooLarge`, and `NotFound`."""

    async def complete_histories(self, parts: Sequence[Part]) -> None:
        """Add what is missing of these histories."""


class Whole(Struct, frozen=True):
    """Issues and all that is embedded in them. `families` are those that were read completely."""

    issues: Sequence[Issue]
    records: Sequence[Record]
    rejected: Sequence[Rejected]
    families: Sequence[Family]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(issue.key for issue in self.issues)


class Group(Struct):
    """Issues that are completed together: all of a page, unless they hold very much."""

    issues: list[Issue]
    parts: list[Part]
    families: list[Family]
    size: int = 0

    def joined(self, other: "Group") -> "Group":
        return Group(
            self.issues + other.issues,
            self.parts + other.parts,
            self.families + other.families,
            self.size + other.size,
        )


def grouped(site: Lists, issues: Sequence[Issue]) -> list[Group]:
    """The issues in order, in as many groups as their embedded records need; at least one."""
    at_once = _group_of(site, list(issues))
    if at_once.size <= RECORDS_MOST or len(issues) < 2:
        return [at_once]
    groups = [Group([], [], [])]
    for alone in (_group_of(site, [issue]) for issue in issues):
        last = groups[-1]
        if last.issues and last.size + alone.size > RECORDS_MOST:
            groups.append(alone)
        else:
            groups[-1] = last.joined(alone)
    return groups


def _group_of(site: Lists, issues: list[Issue]) -> Group:
    group = Group(issues, [], [])
    kinds = [kind for kind in KINDS if kind.name in site.streams]
    for issue in issues:
        group.size += read_lists(issue, kinds, group.parts, group.families)
    return group


async def whole(site: Lists, issues: Sequence[Issue]) -> Whole:
    """The issues all at once."""
    return await completed(site, _group_of(site, list(issues)))


async def completed(site: Lists, group: Group) -> Whole:
    """A group with what is missing of its lists, asked for side by side as the host's budget allows."""
    cut = [part for part in group.parts if not part.whole and not part.trouble]
    histories = [part for part in cut if part.kind is HISTORY]
    work = [_read_on(site, part) for part in cut if part.kind is not HISTORY]
    if histories:
        work.append(site.complete_histories(histories))
    if work:
        await together(work)
    return _made(group)


def _made(group: Group) -> Whole:
    records = [issue.record for issue in group.issues]
    rejected: list[Rejected] = []
    families = group.families
    for part in group.parts:
        records += part.records.values()
        rejected += part.all_rejected()
        if family := part.family():
            families.append(family)
    # What was given is not kept while the next group is read.
    group.parts.clear()
    return Whole(group.issues, records, rejected, families)


async def together(work: Iterable[Coroutine[None, None, None]]) -> None:
    """All at once. The first error ends the rest and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_on(site: Lists, part: Part) -> None:
    """From where the embedded list stops; if that does not fit together, from the beginning.

    What is gone meanwhile, or changes all the time, stays as far as it is known: whatever happened to it
    moves its issue to the next sync.
    """
    try:
        if part.count > 1:
            await _pages(site, part, part.count - 1)
        if not part.whole and not part.trouble:
            await _pages(site, part, 0)
    except NotFound:
        return


async def _pages(site: Lists, part: Part, at: int) -> None:
    """Read from there to the end that the site tells.

    Each page begins with the last entry of the one before: what is deleted meanwhile then makes fewer slip
    between than are known in vain, and Jira's count tells that these are not all, and all there are.
    """
    size = part.kind.page
    while True:
        listing, size = await _listing(site, part, at, size)
        if listing is None:
            return
        entries = part.kind.entries(listing) or []
        start = at if listing.start_at is None else listing.start_at
        if start == 0:
            # Old servers know no pages, and give all wherever one begins.
            part.begin()
        part.add(entries)
        after = start + len(entries)
        part.total = after if listing.total is None else listing.total
        if not entries or after >= part.total:
            part.whole = part.count == part.total
            return
        if after - 1 <= at:
            part.trouble = "Jira gives the same page again and again."
            return
        at = after - 1


async def _listing(site: Lists, part: Part, at: int, size: int) -> tuple[Listing | None, int]:
    """A page, and how many were asked for: fewer where so many were too large for one answer."""
    while True:
        try:
            return await site.listing(part.kind, part.issue.key, at, size), size
        except TooLarge as e:
            if size == _SMALLEST:
                part.trouble = e.message
                return None, size
            size = max(_SMALLEST, size // 8)
