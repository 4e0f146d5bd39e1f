"""Jira Data Center and Server: REST v2, searched by pages of an offset with an exact total."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import datetime
from typing import ClassVar

from msgspec import Raw, Struct

from adapters.base import NotFound, Page, QueryRejected, Record, Rejected, TooLarge, Unreadable
from adapters.http import Reply, decode
from adapters.jira import offsets
from adapters.jira.answers import Product
from adapters.jira.census import Listed, ids_of
from adapters.jira.embedded import Part
from adapters.jira.issue import ABSENT, Issue, decode_issues
from adapters.jira.question import Question
from adapters.jira.site import FIELDS, PAGE, Site
from adapters.jira.verdict import Verdict, judged
from adapters.jira.walk import Cursor
from adapters.jira.whole import together
from adapters.times import parse_time

# Below this, pages could not overlap any more.
_SMALLEST = 2
# As many as a site allows where nobody changed it (vendor's knowledge base).
_IDS = 1000
_AGAIN = 50


class Found(Struct, rename="camel"):
    """A page of search results, the issues still as sent. `total` is exact."""

    issues: list[Raw]
    total: int
    start_at: int | None = None


class _Total(Struct):
    total: int


class _Identified(Struct):
    id: str | int


class _Fields(Struct):
    updated: str | None = None


class _Dated(Struct):
    fields: _Fields


class _Ids(Struct):
    issues: list[_Identified]
    total: int


class _Expanded(Struct):
    changelog: Raw = ABSENT


class DataCenter(Site):
    """A site of one's own, below any context path."""

    product: ClassVar[Product] = "datacenter"
    api: ClassVar[str] = "/rest/api/2"

    _size = PAGE
    # Whether searches bring the histories: unless so few issues as can be were too large with them.
    _expands = True
    # When the last search was asked, by the remote's clock.
    _asked_at: datetime | None = None

    def walk(self, question: Question, cursor: Cursor) -> AsyncGenerator[Page, None]:
        return offsets.walk(self, question, cursor)

    def smaller(self) -> bool:
        """Ask for half as many issues at once from now on, at last without their histories.

        False if that cannot be.
        """
        if self._size > _SMALLEST:
            self._size //= 2
            return True
        expanded = self._expands and self.wants_histories
        self._expands = False
        return expanded

    async def search(self, jql: str, at: int) -> tuple[Reply, Found]:
        """Issues with all fields from an offset on: at most 100, and fewer where the site is set so."""
        body: dict[str, object] = {"jql": jql, "startAt": at, "maxResults": self._size, "fields": FIELDS}
        if self.wants_histories and self._expands:
            body["expand"] = ["changelog"]
        reply = await self._http.post(f"{self.api}/search", body, judge=self._judge)
        self._asked_at = reply.asked_at
        found = decode(reply, Found)
        if found.start_at not in {None, at}:
            raise Unreadable(
                f"Jira was asked for the issues from {at} on and gave those from {found.start_at}."
            )
        return reply, found

    async def named(self, restriction: str, ids: Sequence[str]) -> tuple[list[Issue], list[Rejected]]:
        """As the index knows them, which on one's own server is a matter of seconds."""
        issues: list[Issue] = []
        rejected: list[Rejected] = []
        jql = f"({restriction}) AND id in ({', '.join(ids)}) ORDER BY key ASC"
        at = 0
        while ids:
            try:
                _, found = await self.search(jql, at)
            except TooLarge:
                if not self.smaller():
                    raise
                continue
            some, bad = decode_issues(found.issues)
            issues += some
            rejected += bad
            at += len(found.issues)
            if at >= found.total or not found.issues:
                break
        return issues, rejected

    async def complete_histories(self, parts: Sequence[Part]) -> None:
        """One request for each: a search brings a history whole, if it brings it at all."""
        await together(self._complete(part) for part in parts)

    async def _complete(self, part: Part) -> None:
        if self._expands and part.total is None:
            # Very old servers know no histories.
            return
        path, asked = f"{self.api}/issue/{part.issue.key}", {"fields": "id", "expand": "changelog"}
        try:
            reply = await self._http.get(path, asked, judge=self._judge)
        except NotFound:
            return
        except TooLarge as e:
            part.trouble = e.message
            return
        part.begin()
        part.read(decode(reply, _Expanded).changelog)
        if not part.whole and part.trouble is None:
            part.trouble = f"Jira gives {part.count} of {part.total}."

    async def visible(self, ids: Collection[str]) -> set[str]:
        """One request where Jira lets an unknown issue in a query pass, else one for each."""
        wanted = sorted(ids)
        try:
            return await self.matching(f"id in ({', '.join(wanted)})")
        except QueryRejected:
            found = await asyncio.gather(*map(self.id_of, wanted))
        return {id_ for id_ in found if id_}

    async def judged(self, restriction: str, records: Sequence[Record], unseen: Collection[str]) -> Verdict:
        now = self._asked_at or self._http.clock()
        return await judged(self, restriction, records, unseen, now)

    async def changed(self, ids: Collection[str]) -> dict[str, datetime | None]:
        """By the database, one request for each: there is no other way (vendor's reference)."""
        wanted = sorted(ids)
        replies = await asyncio.gather(*(self.one(key, "updated") for key in wanted))
        there = [(key, decode(reply, _Dated)) for key, reply in zip(wanted, replies, strict=True) if reply]
        return {key: parse_time(dated.fields.updated) for key, dated in there}

    async def matching(self, jql: str) -> set[str]:
        """Unchecked, a query may name what is not there (`validateQuery`, the vendor's reference)."""
        asked = {"maxResults": PAGE, "fields": ["id"], "validateQuery": False}
        seen: set[str] = set()
        at = 0
        while True:
            body = {**asked, "jql": f"{jql} ORDER BY key ASC", "startAt": at}
            found = decode(await self._http.post(f"{self.api}/search", body, judge=self._judge), _Ids)
            seen |= {str(issue.id) for issue in found.issues}
            at += len(found.issues)
            if at >= found.total or not found.issues:
                break
        return seen

    async def listed(self, jql: str, place: str | None) -> Listed:
        """As many as the site allows. Each page begins with the last ids of the one before: where fewer
        went away meanwhile, none slips between.
        """
        at = int(place or 0)
        body = {"jql": jql, "startAt": at, "maxResults": _IDS, "fields": ["id"]}
        reply = await self._http.post(f"{self.api}/search", body, judge=self._judge)
        found = decode(reply, Found)
        rows = len(found.issues)
        if not rows and at < found.total:
            raise Unreadable(f"Jira says that {found.total} issues match, and gives none of them.")
        last = at + rows >= found.total
        step = rows - min(_AGAIN, rows // 2)
        return Listed(reply.sent_at, ids_of(found.issues), None if last else str(at + step))

    async def count(self, jql: str) -> int:
        body = {"jql": jql, "startAt": 0, "maxResults": 0, "fields": ["id"]}
        return decode(await self._http.post(f"{self.api}/search", body, judge=self._judge), _Total).total
