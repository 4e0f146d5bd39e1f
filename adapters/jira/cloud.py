"""Jira Cloud: REST v3, searched by a chain of page tokens."""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import ClassVar

from msgspec import Raw, Struct

from adapters.base import Page, Record, Rejected, TooLarge, Unavailable, Unreadable
from adapters.http import Reply, decode
from adapters.jira import tokens
from adapters.jira.answers import Product
from adapters.jira.census import Listed, ids_of
from adapters.jira.embedded import Part
from adapters.jira.issue import Issue, decode_issues
from adapters.jira.question import Question
from adapters.jira.site import FIELDS, PAGE, Site
from adapters.jira.verdict import Verdict
from adapters.jira.walk import Cursor

_BULK = 100
# What the bulk endpoint takes (OpenAPI document), and how many entries of histories one answer may have.
_HISTORIES = 1000
_ENTRIES = 5000
_IDS = 5000


class Found(Struct, rename="camel"):
    """A page of search results, the issues still as sent."""

    issues: list[Raw]
    is_last: bool | None = None
    next_page_token: str | None = None

    def following(self) -> str | None:
        """The token of the next page; None if this is the last one. Raises `Unreadable`."""
        if self.is_last:
            return None
        if self.is_last is False and not self.next_page_token:
            raise Unreadable("Jira says that more pages follow, but gives no token for the next.")
        return self.next_page_token or None


class _Count(Struct):
    count: int


class _Identified(Struct):
    id: str | int


class _Bulk(Struct, rename="camel"):
    issues: list[_Identified]
    issue_errors: list[Raw] | None = None


class _History(Struct, rename="camel"):
    issue_id: str | int
    change_histories: list[Raw]


class _Histories(Struct, rename="camel"):
    """Entries by issue; one issue's may be spread over pages."""

    issue_change_logs: list[_History]
    next_page_token: str | None = None


class Cloud(Site):
    """A site of Atlassian's, at its own address or through the gateway for tokens with scopes."""

    product: ClassVar[Product] = "cloud"
    api: ClassVar[str] = "/rest/api/3"

    _size = PAGE

    def walk(self, question: Question, cursor: Cursor) -> AsyncGenerator[Page, None]:
        return tokens.walk(self, question, cursor)

    async def search(
        self, jql: str, token: str | None = None, reconcile: Sequence[str] = ()
    ) -> tuple[Reply, Found]:
        """One page of issues with all fields: 100, or fewer where so many were too large for one answer.

        Jira searches an index that lags; `reconcile` are ids whose present state it is to use instead.
        """
        while True:
            body: dict[str, object] = {"jql": jql, "maxResults": self._size, "fields": FIELDS}
            if self.wants_histories:
                body["expand"] = "changelog"
            if token:
                body["nextPageToken"] = token
            if reconcile:
                body["reconcileIssues"] = [int(key) for key in reconcile]
            try:
                reply = await self._http.post(f"{self.api}/search/jql", body, judge=self._judge)
                return reply, decode(reply, Found)
            except TooLarge:
                if self._size == 1:
                    raise
                self._size //= 2

    async def named(self, restriction: str, ids: Sequence[str]) -> tuple[list[Issue], list[Rejected]]:
        """However late the index is: these ids are reconciled."""
        issues: list[Issue] = []
        rejected: list[Rejected] = []
        jql = f"({restriction}) AND id in ({', '.join(ids)})"
        token, loops = None, tokens.Loops()
        while ids:
            _, found = await self.search(jql, token, ids)
            token = loops.passed(token, found)
            some, bad = decode_issues(found.issues)
            issues += some
            rejected += bad
            if token is None:
                break
        return issues, rejected

    async def complete_histories(self, parts: Sequence[Part]) -> None:
        """All of them at once: searches give the newest 40 entries of each (reported by users)."""
        by_id = {part.issue.key: part for part in parts}
        ids = list(by_id)
        for start in range(0, len(ids), _HISTORIES):
            some = ids[start : start + _HISTORIES]
            async for history in self._histories(some):
                if part := by_id.get(str(history.issue_id)):
                    part.add(history.change_histories)
        for part in parts:
            part.whole = part.total is None or part.count >= part.total

    async def _histories(self, ids: Sequence[str]) -> AsyncGenerator[_History, None]:
        size, token, tokens_seen = _ENTRIES, None, set[str]()
        while True:
            body = {"issueIdsOrKeys": ids, "maxResults": size} | ({"nextPageToken": token} if token else {})
            try:
                reply = await self._http.post(f"{self.api}/changelog/bulkfetch", body, judge=self._judge)
            except TooLarge:
                if size == 1:
                    raise
                size = max(1, size // 8)
                continue
            found = decode(reply, _Histories)
            for history in found.issue_change_logs:
                yield history
            token = found.next_page_token
            if not token:
                return
            if token in tokens_seen:
                raise Unreadable("Jira gives the same page of histories again and again.")
            tokens_seen.add(token)

    async def visible(self, ids: Collection[str]) -> set[str]:
        body = {"issueIdsOrKeys": sorted(ids)[:_BULK], "fields": ["id"]}
        path = f"{self.api}/issue/bulkfetch"
        found = decode(await self._http.post(path, body, judge=self._judge), _Bulk)
        if found.issue_errors:
            raise Unavailable("Jira could not look up some issues at the moment.")
        return {str(issue.id) for issue in found.issues}

    async def judged(self, restriction: str, records: Sequence[Record], unseen: Collection[str]) -> Verdict:
        """What is reconciled is believed: nothing is in doubt."""
        visible = await self.visible(unseen) if unseen else set()
        return Verdict(left=set(unseen) & visible, hidden=set(unseen) - visible)

    async def listed(self, jql: str, place: str | None) -> Listed:
        """Up to 5,000 where nothing but ids is asked for (OpenAPI document)."""
        body: dict[str, object] = {"jql": jql, "maxResults": _IDS, "fields": ["id"]}
        if place:
            body["nextPageToken"] = place
        reply = await self._http.post(f"{self.api}/search/jql", body, judge=self._judge)
        found = decode(reply, Found)
        return Listed(reply.sent_at, ids_of(found.issues), found.following())

    async def count(self, jql: str) -> int:
        path = f"{self.api}/search/approximate-count"
        return decode(await self._http.post(path, {"jql": jql}, judge=self._judge), _Count).count
