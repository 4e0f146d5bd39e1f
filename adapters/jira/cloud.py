"""The adapter for Jira Cloud: the issues of a filter or of any JQL."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import ClassVar

from msgspec import Struct

from adapters.auth import Anonymous, Auth, Basic, Bearer
from adapters.base import (
    BadTarget,
    Check,
    Feed,
    Fetched,
    Forbidden,
    Missing,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    Readable,
    Record,
    Rejected,
    Target,
    Unreadable,
)
from adapters.http import Http, Limits, Reply
from adapters.jira.issue import ISSUES, decode_issues
from adapters.jira.jql import literal, zone_of
from adapters.jira.site import Found, Myself, Site, is_cloud
from adapters.jira.target import parse
from adapters.jira.walk import OVERLAP, Cursor, Walk, fingerprint, reached, resumed
from adapters.times import from_millis, parse_time

_CREATED = [column.name for column in ISSUES.columns].index("created_at")
_ID = re.compile(r"[1-9][0-9]{0,18}")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]+")
#: So many pages without an issue may follow each other before that is called a loop.
_EMPTY_MOST = 3

_Asking = asyncio.Task[tuple[Reply, Found]]


class _Known(Struct, frozen=True):
    """What an instance learned: the account's zone, the restriction in JQL, and the fingerprint of both.

    The account is part of the fingerprint: another one sees other issues, old ones among them.
    """

    zone: tzinfo
    restriction: str
    since: datetime | None
    query: str

    def jql(self, cursor: Cursor, walk: Walk) -> str:
        """What the walk asks. A first one goes by creation, where changes meanwhile move no issue."""
        order = "created" if cursor.since is None else "updated"
        asked = self.first if cursor.since is None else f"({self.restriction})"
        if start := from_millis(walk.start):
            asked += f" AND {order} >= {literal(start, self.zone)}"
        return f"{asked} ORDER BY {order} ASC, key ASC"

    @property
    def first(self) -> str:
        """The restriction of a first read."""
        bound = f" AND updated >= {literal(self.since, self.zone)}" if self.since else ""
        return f"({self.restriction}){bound}"


class Jira:
    """Jira Cloud. `params.since` limits a first read to issues updated since then, not created since then.

    A change of the filter's query, of `since`, or of the account reads everything anew.
    """

    system: ClassVar[str] = "jira"
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("issues", (ISSUES,)),)
    limits: ClassVar[Limits] = Limits(parallel=10)
    overlap: ClassVar[timedelta] = OVERLAP
    #: As many as `reconcileIssues` takes.
    batch: ClassVar[int] = 50

    def __init__(self, target: Target, http: Http) -> None:
        self._options = target.options
        self._http = http
        self._site = Site(http)
        self._known: _Known | None = None

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        return parse(url, params)

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        if kind == "anonymous":
            return Anonymous()
        if kind in {"bearer", "pat", "oauth2"}:
            return Bearer(reveal)
        if kind != "basic":
            raise BadTarget("kind", "Jira takes basic (e-mail and API token), bearer, pat, oauth2 or anonymous.")
        if not username or ":" in username:
            raise BadTarget("username", "Jira needs the account's e-mail address as user name.")
        return Basic(username, reveal)

    async def check(self) -> Check:
        me = await self._identity()
        info = await self._site.server_info()
        if not is_cloud(info):
            raise Unreadable(
                f"This is Jira {info.deployment_type}, not Jira Cloud.", "Only Jira Cloud can be read so far."
            )
        return Check(
            (me.display_name or me.email_address or me.account_id) if me else None,
            f"Jira Cloud {info.version}",
            {ISSUES.name: await self._readable(me)},
        )

    async def _readable(self, me: Myself | None) -> Readable:
        """The count is Jira's estimate."""
        try:
            known = await self._learn(me)
            return Readable(True, await self._site.count(known.first))
        except (NotFound, Forbidden, QueryRejected) as e:
            return Readable(False, problem=f"{e.message} {e.hint}".strip(), kind=e.kind)

    async def plan(self, feed: str) -> Sequence[Partition]:
        """One partition. Proves who we are, because searching does not, and reads the filter's query."""
        self._known = await self._learn(await self._identity())
        return (Partition("all"),)

    async def _identity(self) -> Myself | None:
        return None if self._http.anonymous else await self._site.myself()

    async def _learn(self, me: Myself | None) -> _Known:
        number, since = self._options.get("filter"), self._options.get("since")
        restriction = await self._site.filter_jql(number) if number else self._options["jql"]
        query = fingerprint(restriction, since or "", (me and me.account_id) or "")
        return _Known(zone_of(me.time_zone if me else None), restriction, parse_time(since), query)

    async def _learned(self) -> _Known:
        if self._known is None:
            self._known = await self._learn(await self._identity())
        return self._known

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """The next page is asked for before this one is decoded: a chain of tokens is bound by latency."""
        known = await self._learned()
        at = resumed(cursor, known.query)
        walk, loops = at.walk or Walk(), _Loops()
        asking = self._ask(known, at, walk)
        try:
            while True:
                try:
                    reply, found = await asking
                except QueryRejected:
                    # A token expires after days; a query that is wrong in itself is refused without one too.
                    if walk.token is None:
                        raise
                    walk, loops = walk.restarted(), _Loops()
                    asking = self._ask(known, at, walk)
                    continue
                if token := loops.passed(walk.token, found):
                    asking = self._ask(known, at, Walk(start=walk.start, token=token))
                    await _leave()
                records, rejected = decode_issues(found.issues)
                if token is None:
                    at = Cursor(at.query, at.since, walk).done(reply.asked_at)
                    yield Page(reply.sent_at, at.text(), records, rejected, end=True)
                    return
                after = reached(walk.after, _order(at, records), reply.asked_at)
                walk = walk.stepped(token, after, reply.asked_at)
                at = Cursor(at.query, at.since, walk)
                yield Page(reply.sent_at, at.text(), records, rejected)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _ask(self, known: _Known, cursor: Cursor, walk: Walk) -> _Asking:
        return asyncio.create_task(self._site.search(known.jql(cursor, walk), walk.token))

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        """The present issues, however late the search index is.

        An issue asked for by its key text (`TG-1`, or a key from before a move) comes back under its id,
        as every record does; that answers the text. What this account cannot see is `hidden`: Jira gives
        the same answer for deleted and for forbidden issues, so `deleted` is never proven here. What it
        sees outside the query is `left`.
        """
        observed_at = self._http.clock()
        if not keys:
            return Fetched(observed_at)
        known = await self._learned()
        ids = await self._ids(keys)
        wanted = list(dict.fromkeys(id_ for id_ in ids.values() if id_))
        records, rejected = await self._present(known, wanted)
        unseen = set(wanted) - {record.key for record in records} - {one.key for one in rejected}
        visible = await self._site.visible(unseen) if unseen else set()
        unreadable = unseen & visible if any(one.key is None for one in rejected) else set()
        # One of the illegible answers is theirs, so that nothing is proven about them.
        rejected += [Rejected(stream, id_, "Its answer is not legible.", b"") for id_ in sorted(unreadable)]
        missing = [
            Missing(key, "left" if id_ in visible else "hidden")
            for key, id_ in ids.items()
            if id_ is None or id_ in unseen - unreadable
        ]
        return Fetched(observed_at, records, rejected, missing)

    async def _ids(self, keys: Sequence[str]) -> dict[str, str | None]:
        """The id that each key stands for; None where there is no such issue for us."""
        texts = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key)]
        found = dict(zip(texts, await asyncio.gather(*map(self._site.id_of, texts)), strict=True))
        return {key: key if _ID.fullmatch(key) else found.get(key) for key in keys}

    async def _present(self, known: _Known, ids: Sequence[str]) -> tuple[list[Record], list[Rejected]]:
        """The issues of the query among these ids.

        Jira may refuse a query that names an issue which is gone; then only those that exist are named.
        """
        try:
            return await self._named(known, ids)
        except QueryRejected:
            visible = await self._site.visible(ids)
            if visible >= set(ids):
                raise
            return await self._named(known, [id_ for id_ in ids if id_ in visible])

    async def _named(self, known: _Known, ids: Sequence[str]) -> tuple[list[Record], list[Rejected]]:
        records: list[Record] = []
        rejected: list[Rejected] = []
        jql = f"({known.restriction}) AND id in ({', '.join(ids)})"
        token, loops = None, _Loops()
        while ids:
            _, found = await self._site.search(jql, token, ids)
            token = loops.passed(token, found)
            some, bad = decode_issues(found.issues)
            records += [record for record in some if record.key in ids]
            rejected += bad
            if token is None:
                break
        return records, rejected


async def _leave() -> None:
    """Lets a request that was just begun leave, before decoding keeps the loop busy.

    It takes two turns: one to begin, one in which the client's writer sends it.
    """
    for _ in range(2):
        await asyncio.sleep(0)


class _Loops:
    """Notices a remote that gives pages for ever."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._empty = 0

    def passed(self, token: str | None, found: Found) -> str | None:
        """The token of the page after this one, None if it is the last. Raises `Unreadable` for a loop."""
        following = found.following()
        self._tokens.add(token or "")
        self._empty = 0 if found.issues else self._empty + 1
        if following in self._tokens:
            raise Unreadable("Jira gives the same page token again: its pages go in a circle.")
        if following and self._empty >= _EMPTY_MOST:
            raise Unreadable("Jira gives one empty page after the other.")
        return following


def _order(cursor: Cursor, records: Iterable[Record]) -> list[datetime | None]:
    """The times by which the walk goes."""
    if cursor.since is not None:
        return [record.updated_at for record in records]
    return [created if isinstance(created := r.columns[_CREATED], datetime) else None for r in records]
