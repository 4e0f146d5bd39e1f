"""The adapter for Jira: the issues of a filter or of any JQL, on Cloud, Data Center and Server."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from types import MappingProxyType
from typing import ClassVar

from msgspec.structs import replace

from adapters.auth import Anonymous, Auth, Basic, Bearer
from adapters.base import (
    AuthFailed,
    BadTarget,
    Check,
    Feed,
    Fetched,
    Forbidden,
    Gone,
    Hint,
    Hook,
    Keys,
    Missing,
    NotFound,
    Page,
    Partition,
    QueryRejected,
    Readable,
    Registered,
    Rejected,
    Target,
)
from adapters.http import Http, Limits
from adapters.jira import census, hints, hooks
from adapters.jira.cloud import Cloud
from adapters.jira.datacenter import DataCenter
from adapters.jira.embedded import CHANGELOGS, COMMENTS, EMBEDDED, WORKLOGS
from adapters.jira.issue import ISSUES, Issue
from adapters.jira.jql import zone_of
from adapters.jira.question import Question
from adapters.jira.registration import registrar
from adapters.jira.site import Myself, ServerInfo, Site, server_info
from adapters.jira.target import parse
from adapters.jira.walk import OVERLAP, fingerprint, known, resumed
from adapters.jira.whole import whole
from adapters.times import parse_time

_ID = re.compile(r"[1-9][0-9]{0,18}")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]+")
_ALL = frozenset({ISSUES.name}) | EMBEDDED
_SITES: Mapping[str, type[Site]] = MappingProxyType({kind.product: kind for kind in (Cloud, DataCenter)})


class Jira:
    """One Jira site. Which product it is, its answers tell; the cursor keeps it, so that it is asked once.

    `params.since` limits a first read to issues updated since then, not created since then. A change of
    the filter's query, of `since`, of the account, or of the streams that are wanted reads everything anew.
    `streams` in the target's options, with commas between, are those that are wanted; without, all are.
    """

    system: ClassVar[str] = "jira"
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("issues", (ISSUES, CHANGELOGS, COMMENTS, WORKLOGS)),)
    limits: ClassVar[Limits] = Limits(parallel=10)
    overlap: ClassVar[timedelta] = OVERLAP
    #: As many as `reconcileIssues` takes.
    batch: ClassVar[int] = 50

    def __init__(self, target: Target, http: Http) -> None:
        self._options = target.options
        self._http = http
        chosen = target.options.get("streams")
        self._chosen = _ALL if chosen is None else _ALL & set(chosen.split(","))
        self._streams = self._chosen & EMBEDDED
        self._learned: tuple[Site, Question] | None = None

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
            raise BadTarget(
                "kind",
                "Jira takes basic (e-mail and API token, or user name and password), bearer, pat, "
                "oauth2 or anonymous.",
            )
        if not username or ":" in username:
            raise BadTarget(
                "username",
                "Jira needs a user name: the account's e-mail address on Cloud, else its login name.",
            )
        return Basic(username, reveal)

    async def check(self) -> Check:
        info = await server_info(self._http)
        site = self._site_of(info)
        me = await self._identity(site)
        issues = await self._readable(site, me)
        # Who may read an issue may read what is in it, as far as it is not restricted further.
        inside = Readable(issues.readable, None, None if issues.readable else issues.problem, issues.kind)
        streams = dict.fromkeys(sorted(self._streams), inside)
        return Check(me.shown if me else None, info.shown, {ISSUES.name: issues, **streams})

    async def _readable(self, site: Site, me: Myself | None) -> Readable:
        """The count is exact on Data Center and an estimate on Cloud."""
        try:
            question = await self._question(site, me)
            count = await site.count(question.first)
        except (NotFound, Forbidden, QueryRejected) as e:
            return Readable(False, problem=f"{e.message} {e.hint}".strip(), kind=e.kind)
        return Readable(True, count, None if count else hints.NO_ISSUES)

    async def plan(self, feed: str) -> Sequence[Partition]:
        """One partition. Who we are is proven by `read`, whose cursor knows the product to ask."""
        return (Partition("all"),)

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        before = known(cursor)
        site, question = await self._learn(before.site if before else "")
        start = resumed(cursor, question.query, site.product)
        async with aclosing(site.walk(question, start)) as pages:
            async for page in pages:
                yield replace(page, renewed=True) if start.renewed else page

    async def census(
        self, stream: str, partition: Partition, cursor: str | None
    ) -> AsyncGenerator[Keys, None]:
        """Ids only. Who we are is proven before the first page, and after each before that counts."""
        site, question = await self._learn()
        async with aclosing(census.walk(site, question, cursor, self._still_known)) as pages:
            async for keys in pages:
                yield keys

    async def _still_known(self) -> None:
        """Raises `AuthFailed` if this is not the account any more that the question was made for."""
        site, question = await self._learn()
        me = await self._identity(site)
        if (me.identity if me else "") != question.account:
            raise AuthFailed("Jira answers as to another account than before.")

    async def _learn(self, product: str = "") -> tuple[Site, Question]:
        """The site and what to ask there. Proves who we are, because searching does not."""
        if self._learned is None:
            site, me = await self._met(product)
            self._learned = site, await self._question(site, me)
        return self._learned

    async def _met(self, product: str) -> tuple[Site, Myself | None]:
        """The site, known to be of a product or not, and who we are there."""
        if kind := _SITES.get(product):
            site = kind(self._http, self._streams)
            try:
                me = await self._identity(site)
                # The older interface is on both, and an account of Cloud shows by its id.
                if me is None or bool(me.account_id) <= (kind is Cloud):
                    return site, me
            except NotFound:
                pass
        site = self._site_of(await server_info(self._http))
        return site, await self._identity(site)

    def _site_of(self, info: ServerInfo) -> Site:
        return _SITES[info.product](self._http, self._streams)

    async def _identity(self, site: Site) -> Myself | None:
        return None if self._http.anonymous else await site.myself()

    async def _question(self, site: Site, me: Myself | None) -> Question:
        number, since = self._options.get("filter"), self._options.get("since")
        restriction = await site.filter_jql(number) if number else self._options["jql"]
        account = me.identity if me else ""
        query = fingerprint(restriction, since or "", account, *sorted(self._chosen))
        return Question(zone_of(me.time_zone if me else None), restriction, parse_time(since), query, account)

    async def register(self, url: str, secret: str | None) -> Registered:
        """A webhook about the issues of this connection, or about all of their projects if the query names
        them: Jira tells nothing of an issue that leaves the query of a webhook.
        """
        site, question = await self._learn()
        return await registrar(self._http, site.product).register(url, secret, question.restriction)

    async def renew(self, id: str) -> Registered:
        site, _ = await self._met("")
        return await registrar(self._http, site.product).renew(id)

    async def unregister(self, id: str) -> None:
        site, _ = await self._met("")
        await registrar(self._http, site.product).unregister(id)

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return hooks.verify(hook, secret)

    @staticmethod
    def hint(hook: Hook) -> Hint:
        return hooks.hint(hook)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        """The present issues: on Cloud however late the search index is, on Data Center as it knows them.

        An issue asked for by its key text (`TG-1`, or a key from before a move) comes back under its id,
        as every record does; that answers the text. What this account cannot see is `hidden`: Jira gives
        the same answer for deleted and for forbidden issues, so `deleted` is never proven here. What it
        sees outside the query is `left`. Where Data Center's index is behind, or lacks an issue, nothing can
        be said of that, and nothing is: it is then in none of the three.
        """
        observed_at = self._http.clock()
        if stream != ISSUES.name:
            raise QueryRejected(
                f"Jira gives {stream} only with the issues that they belong to.",
                "Ask for those issues instead: the stream issues, and their ids or keys.",
            )
        if not keys:
            return Fetched(observed_at)
        site, question = await self._learn()
        ids = await _ids(site, keys)
        wanted = list(dict.fromkeys(id_ for id_ in ids.values() if id_))
        issues, rejected = await _present(site, question, wanted)
        unseen = set(wanted) - {issue.key for issue in issues} - {one.key for one in rejected}
        verdict = await site.judged(question.restriction, [issue.record for issue in issues], unseen)
        if verdict.inside:
            more, bad = await _present(site, question, sorted(verdict.inside))
            issues, rejected = issues + more, rejected + bad
        unreadable = set(verdict.left) & unseen if any(one.key is None for one in rejected) else set()
        # One of the illegible answers is theirs, so that nothing is proven about them.
        rejected += [Rejected(stream, id_, "Its answer is not legible.", b"") for id_ in sorted(unreadable)]
        gone: dict[str, Gone] = dict.fromkeys(verdict.hidden, "hidden")
        gone |= dict.fromkeys(set(verdict.left) - unreadable, "left")
        missing = [
            Missing(key, "hidden" if id_ is None else gone[id_])
            for key, id_ in ids.items()
            if id_ is None or id_ in gone
        ]
        found = await whole(site, [issue for issue in issues if issue.key not in gone])
        return Fetched(observed_at, found.records, [*rejected, *found.rejected], missing, found.families)


async def _ids(site: Site, keys: Sequence[str]) -> dict[str, str | None]:
    """The id that each key stands for; None where there is no such issue for us."""
    texts = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key)]
    found = dict(zip(texts, await asyncio.gather(*map(site.id_of, texts)), strict=True))
    return {key: key if _ID.fullmatch(key) else found.get(key) for key in keys}


async def _present(site: Site, question: Question, ids: Sequence[str]) -> tuple[list[Issue], list[Rejected]]:
    """The issues of the query among these ids.

    Jira may refuse a query that names an issue which is gone; then only those that exist are named.
    """
    if not ids:
        return [], []
    try:
        issues, rejected = await site.named(question.restriction, ids)
    except QueryRejected:
        visible = await site.visible(ids)
        if visible >= set(ids):
            raise
        there = [id_ for id_ in ids if id_ in visible]
        issues, rejected = await site.named(question.restriction, there)
    return [issue for issue in issues if issue.key in ids], rejected
