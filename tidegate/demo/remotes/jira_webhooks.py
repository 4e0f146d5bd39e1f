"""The webhooks that a simulated Jira sends: what happened to an issue, told as each product tells it."""

import asyncio
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

import aiohttp
import msgspec

from adapters.times import to_millis
from tidegate.demo.remotes.jira_issue import Issue
from tidegate.demo.remotes.jira_lists import Comment, Worklog
from tidegate.demo.remotes.jira_query import compile_jql

if TYPE_CHECKING:
    from tidegate.demo.remotes.jira_site import JiraSite

# What is sent again, and how often (vendor docs: the codes; third-party guide: five times).
_AGAIN = frozenset({408, 409, 425, 429})
_RETRIES = 5
_SECONDS_AT_MOST = 10
# With a comment, Cloud sends so much of its issue (seen in recorded webhooks).
_SMALL = ("summary", "issuetype", "project", "assignee", "priority", "status")

Entry = Comment | Worklog


class Registration(msgspec.Struct):
    """A webhook as somebody registered it. `expires_at` is of those that apps register for themselves."""

    id: int
    name: str
    url: str
    events: tuple[str, ...]
    jql: str
    secret: str | None = None
    enabled: bool = True
    account_id: str = ""
    expires_at: datetime | None = None


class Sent(msgspec.Struct, frozen=True):
    """An attempt to deliver. `status` is 0 where no answer came."""

    event: str
    delivery: str
    url: str
    retry: int
    status: int


class Webhooks:
    """What is registered at a site, and its deliveries."""

    def __init__(self, site: "JiraSite", *, cloud: bool) -> None:
        """Cloud sends again what was not taken; Data Center does not (reported by users)."""
        self._site = site
        self._cloud = cloud
        self.registered: dict[int, Registration] = {}
        #: Every attempt so far.
        self.sent: list[Sent] = []
        #: Seconds before a further attempt; minutes at the real ones.
        self.pause = 0.01
        self._last_id = 0
        self._deliveries = 0
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(
        self,
        name: str,
        url: str,
        events: tuple[str, ...],
        jql: str = "",
        secret: str | None = None,
        account_id: str = "",
        expires_at: datetime | None = None,
    ) -> Registration:
        self._last_id += 1
        made = Registration(
            self._last_id,
            name,
            url,
            events,
            jql,
            secret,
            account_id=account_id,
            expires_at=expires_at,
        )
        self.registered[made.id] = made
        return made

    def changed(self, before: Issue | None, after: Issue | None) -> None:
        """An issue was made, changed or deleted: tell all who want to know."""
        if not self.registered:
            return
        for event, more in _events(before, after):
            issue = after or before
            assert issue is not None
            for one in list(self.registered.values()):
                if event in one.events and self._wants(one, issue):
                    self._send(one, event, self._body(event, issue, more))

    async def drained(self) -> None:
        """Returns once all has been delivered or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _wants(self, one: Registration, issue: Issue) -> bool:
        """The query is asked of the issue as it is now: who leaves it is told of no more (vendor docs)."""
        if not one.enabled or (one.expires_at is not None and one.expires_at <= self._site.clock.now()):
            return False
        if not one.jql:
            return True
        return compile_jql(one.jql, self._site.seen_by(one.account_id), bounded=False).test(issue)

    def _body(self, event: str, issue: Issue, more: Mapping[str, Entry]) -> bytes:
        """The issue is always that of REST v2 (vendor docs)."""
        site = self._site
        told: dict[str, object] = {"timestamp": to_millis(site.clock.now()), "webhookEvent": event}
        shown = msgspec.json.decode(site.body(issue), type=dict[str, object])
        link = f"{site.renderer.site}/rest/api/2/issue/{issue.id}"
        shown["self"] = link
        if event.startswith("jira:"):
            names = {"jira:issue_created": "issue_created", "jira:issue_updated": "issue_generic"}
            if event in names:
                told["issue_event_type_name"] = names[event]
            shown.pop("expand", None)
            told["issue"] = shown
        elif self._cloud:
            fields = shown["fields"]
            assert isinstance(fields, dict)
            shown = {**shown, "fields": {name: fields[name] for name in _SMALL}}
            shown.pop("expand", None)
            told["issue"] = shown
        for kind, entry in more.items():
            lists = site.renderer.lists
            told[kind] = {
                **(
                    lists.comment(issue, entry) if isinstance(entry, Comment) else lists.worklog(issue, entry)
                ),
                "self": f"{link}/{kind}/{entry.id}",
            }
        return msgspec.json.encode(told)

    def _send(self, one: Registration, event: str, body: bytes) -> None:
        self._deliveries += 1
        delivery = str(uuid5(NAMESPACE_URL, f"{self._site.renderer.site} {self._deliveries}"))
        headers = {
            "Content-Type": "application/json; charset=UTF-8",
            "User-Agent": "Atlassian Webhook HTTP Client",
            "X-Atlassian-Webhook-Identifier": delivery,
        }
        if self._cloud:
            headers["X-Atlassian-Webhook-Flow"] = "Primary"
        if one.secret is not None:
            digest = hmac.new(one.secret.encode(), body, "sha256").hexdigest()
            headers["X-Hub-Signature"] = f"sha256={digest}"
        task = asyncio.get_running_loop().create_task(self._deliver(event, delivery, one.url, headers, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self, event: str, delivery: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        for retry in range(_RETRIES + 1 if self._cloud else 1):
            if retry:
                await asyncio.sleep(self.pause)
            again = {"X-Atlassian-Webhook-Retry": str(retry)} if retry else {}
            status = await self._post(url, {**headers, **again}, body)
            self.sent.append(Sent(event, delivery, url, retry, status))
            if 0 < status < 500 and status not in _AGAIN:
                return

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS_AT_MOST))
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0


def _events(before: Issue | None, after: Issue | None) -> Iterator[tuple[str, Mapping[str, Entry]]]:
    if before is None:
        yield "jira:issue_created", {}
    elif after is None:
        yield "jira:issue_deleted", {}
    else:
        yield "jira:issue_updated", {}
        for kind in ("comment", "worklog"):
            for event, entry in _entries(kind, before, after):
                yield event, {kind: entry}


def _listed(issue: Issue, kind: str) -> tuple[Comment, ...] | tuple[Worklog, ...]:
    return issue.comments if kind == "comment" else issue.worklogs


def _entries(kind: str, before: Issue, after: Issue) -> Iterator[tuple[str, Entry]]:
    """What became of an issue's comments or worklogs."""
    old, new = ({one.id: one for one in _listed(issue, kind)} for issue in (before, after))
    for number, entry in new.items():
        if number not in old:
            yield f"{kind}_created", entry
        elif old[number] != entry:
            yield f"{kind}_updated", entry
    for number, entry in old.items():
        if number not in new:
            yield f"{kind}_deleted", entry
