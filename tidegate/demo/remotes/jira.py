"""A simulated Jira Cloud site: the REST API v3 as far as issues are read, answered from a changing model.

It answers at its own address and through the gateway, as Atlassian's one address for all sites does.
"""

import base64
import binascii
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import msgspec
from aiohttp import web

from tidegate.demo.remotes.base import Clock, Fault, Handler, Remote
from tidegate.demo.remotes.jira_issue import Issue, Person
from tidegate.demo.remotes.jira_model import SITE, JiraModel
from tidegate.demo.remotes.jira_query import JqlRefused, Order, Query, compile_jql
from tidegate.demo.remotes.jira_registrations import Administration, AppWebhooks
from tidegate.demo.remotes.jira_site import JSON, Caller, JiraSite, authorization
from tidegate.demo.remotes.jira_webhooks import Webhooks

CLOUD_ID = "11223344-a1b2-3b33-c444-def123456789"
GATEWAY = f"/ex/jira/{CLOUD_ID}"
#: The scopes that reading issues needs (OpenAPI document); the site's own description needs none.
READ_USER, READ_WORK = "read:jira-user", "read:jira-work"
MANAGE_WEBHOOKS = "manage:jira-webhook"

_PAGE = 50
_RECONCILED_MOST = 50
_BULK_MOST = 100
_HISTORIES_MOST = 1000
_ENTRIES_MOST = 10_000
_DEAD_LINK = "<!DOCTYPE html><html><head><title>Oops, you've found a dead link.</title></head></html>"
_REMOVED = (
    "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. "
    "A full migration guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046"
)


class _Search(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of a search; `expand` is one text here and a list elsewhere (OpenAPI document)."""

    jql: str = ""
    next_page_token: str | None = None
    max_results: int = _PAGE
    fields: tuple[str, ...] = ("id",)
    expand: str = ""
    fields_by_keys: bool = False
    fail_fast: bool = False
    properties: list[str] = []
    reconcile_issues: list[int] = []


class _Bulk(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    issue_ids_or_keys: list[str]
    fields: tuple[str, ...] = ("*all",)
    expand: list[str] = []
    fields_by_keys: bool = False
    properties: list[str] = []


class _BulkHistories(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    issue_ids_or_keys: list[str]
    field_ids: list[str] = []
    max_results: int = 1000
    next_page_token: str | None = None


class _Count(msgspec.Struct):
    jql: str = ""


class _Position(msgspec.Struct, array_like=True):
    """What a page token holds: the issue of which query it stands behind. `epoch` makes it expire."""

    epoch: int
    query: int
    index: int
    issue: int
    place: list[list[int | str]]


class Grant(msgspec.Struct, frozen=True):
    """What a token with scopes may do, and for whom."""

    account_id: str
    scopes: frozenset[str]


class JiraCloud(JiraSite):
    """The site and its server. `max_page` is the most issues with all fields that a page has."""

    def __init__(self, clock: Clock | None = None, latency: float = 0.0, zone: str = "UTC") -> None:
        Remote.__init__(self, clock, latency)
        JiraModel.__init__(self, self.clock, zone)
        self.max_page = 100
        #: The most where nothing but ids is asked for (OpenAPI document).
        self.max_ids = 5000
        #: Give the token of the first page with every page (reported by users of naive loops).
        self.repeats_token = False
        #: So many of the pages that follow a first one have no issue, though more follow.
        self.empty_pages = 0
        #: What happens while somebody reads: called with the page token before a search is answered.
        self.meanwhile: Callable[[str | None], object] = lambda _: None
        self._epoch = 0
        #: Tokens with scopes.
        self.grants: dict[str, Grant] = {}
        self.webhooks = Webhooks(self, cloud=True)

    def routes(self, app: web.Application) -> None:
        for base in ("", GATEWAY):
            for version in ("2", "3", "latest"):
                api = f"{base}/rest/api/{version}"
                app.router.add_get(f"{api}/myself", self._let(self.myself, READ_USER))
                app.router.add_get(f"{api}/serverInfo", self._let(self._server_info, ""))
                app.router.add_get(f"{api}/field", self._let(self._field, READ_WORK))
                app.router.add_get(f"{api}/filter/{{id}}", self._let(self.filter, READ_WORK))
                app.router.add_get(f"{api}/issue/{{key}}", self._let(self.issue, READ_WORK))
                issue = f"{api}/issue/{{key}}"
                app.router.add_get(f"{issue}/comment", self._let(self.comments, READ_WORK))
                app.router.add_get(f"{issue}/worklog", self._let(self.worklogs, READ_WORK))
                bulk = f"{api}/changelog/bulkfetch"
                app.router.add_post(bulk, self._let(self._bulk_histories, READ_WORK))
                app.router.add_post(f"{api}/issue/bulkfetch", self._let(self._bulkfetch, READ_WORK))
                app.router.add_route("*", f"{api}/search", self._let(self._removed, READ_WORK))
                app.router.add_get(f"{api}/search/jql", self._let(self._search, READ_WORK))
                app.router.add_post(f"{api}/search/jql", self._let(self._search, READ_WORK))
                count = f"{api}/search/approximate-count"
                app.router.add_post(count, self._let(self._count, READ_WORK))
        administration, apps = Administration(self, "beside"), AppWebhooks(self, self._app)
        app.router.add_route("*", "/rest/webhooks/1.0/webhook", administration.collection)
        app.router.add_route("*", "/rest/webhooks/1.0/webhook/{number}", administration.one)
        own = f"{GATEWAY}/rest/api/3/webhook"
        app.router.add_put(f"{own}/refresh", self._let(apps.refresh, MANAGE_WEBHOOKS))
        app.router.add_route("*", own, self._let(apps.collection, MANAGE_WEBHOOKS))
        app.router.add_get("/_edge/tenant_info", self._tenant)
        app.router.add_route("*", "/{anything:.*}", self._dead_link)

    @property
    def gateway(self) -> str:
        """The site's address behind the gateway."""
        return self.url + GATEWAY

    def grant(self, email: str, token: str, scopes: Collection[str] = (READ_USER, READ_WORK)) -> None:
        """A token with scopes of a known account: an API token, or an access token of an OAuth app."""
        (account_id,) = [person.account_id for person in self.people.values() if person.email == email]
        self.grants[token] = Grant(account_id, frozenset(scopes))

    def revoke(self, token: str) -> None:
        super().revoke(token)
        self.grants.pop(token, None)

    def expire_tokens(self) -> None:
        """Page tokens given until now are refused; on their own they expire in 7 days (OpenAPI document)."""
        self._epoch += 1

    def limit(self, times: int = 1, retry_after: int = 1, reason: str = "jira-burst-based") -> None:
        """Answer the next requests with 429 and the headers of the vendor's documentation."""
        reset = self.clock.now().replace(microsecond=0)
        headers = {
            "Retry-After": str(retry_after),
            "X-RateLimit-Limit": "350",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": f"{reset:%Y-%m-%dT%H:%MZ}",
            "RateLimit-Reason": reason,
            "Content-Type": JSON,
        }
        self.faults.append(Fault("/rest/api/", 429, b"", headers, times))

    # Endpoints

    async def _server_info(self, request: web.Request) -> web.Response:
        """Open to strangers (OpenAPI document)."""
        info = {
            "baseUrl": SITE,
            "version": "1001.0.0-SNAPSHOT",
            "versionNumbers": [1001, 0, 0],
            "deploymentType": "Cloud",
            "buildNumber": 100287,
            "serverTime": self.renderer.stamp(self.clock.now()),
            "serverTitle": "Jira",
        }
        return self.json(request, info)

    async def _field(self, request: web.Request) -> web.Response:
        fields = [{"id": name, "key": name, "name": name.title(), "custom": False} for name in ("summary",)]
        return self.json(request, fields)

    async def _tenant(self, request: web.Request) -> web.Response:
        return self.json(request, {"cloudId": CLOUD_ID})

    async def _bulkfetch(self, request: web.Request) -> web.Response:
        """Ascending ids; what is missing or not visible is just not there (OpenAPI document)."""
        try:
            asked = msgspec.json.decode(await request.read(), type=_Bulk)
        except msgspec.DecodeError as e:
            return self.refusal(request, 400, str(e))
        if not 1 <= len(asked.issue_ids_or_keys) <= _BULK_MOST:
            return self.refusal(request, 400, "Between 1 and 100 issues can be asked for.")
        named = (self.find(text) for text in asked.issue_ids_or_keys) if self.caller(request).sees else ()
        found = {issue.id: issue for issue in named if issue}
        issues = [self.shown(found[number], asked.fields) for number in sorted(found)]
        return self.json(request, {"expand": "schema,names", "issues": issues, "issueErrors": []})

    async def _bulk_histories(self, request: web.Request) -> web.Response:
        """All entries of these issues by date and issue, the oldest first; pages are cut anywhere, so that
        an issue's entries may be spread over several (OpenAPI document).
        """
        try:
            asked = msgspec.json.decode(await request.read(), type=_BulkHistories)
            start = int(base64.urlsafe_b64decode(asked.next_page_token)) if asked.next_page_token else 0
        except (msgspec.DecodeError, ValueError) as e:
            return self.refusal(request, 400, str(e))
        ids, size = asked.issue_ids_or_keys, asked.max_results
        if not (1 <= len(ids) <= _HISTORIES_MOST and 1 <= size <= _ENTRIES_MOST):
            return self.refusal(request, 400, "Too few or too many issues or entries.")
        named = (self.find(text) for text in ids) if self.caller(request).sees else ()
        all_ = [(change.created, issue.id, change) for issue in named if issue for change in issue.history]
        all_.sort(key=lambda entry: entry[:2])
        by_issue: dict[int, list[object]] = {}
        for _, number, change in all_[start : start + size]:
            by_issue.setdefault(number, []).append(self.renderer.lists.change(change, epoch=True))
        logs = [{"issueId": str(number), "changeHistories": entries} for number, entries in by_issue.items()]
        more = start + size < len(all_)
        token = base64.urlsafe_b64encode(str(start + size).encode()).decode() if more else None
        return self.json(request, {"issueChangeLogs": logs, "nextPageToken": token})

    async def _count(self, request: web.Request) -> web.Response:
        caller = self.caller(request)
        try:
            asked = msgspec.json.decode(await request.read(), type=_Count)
            query = compile_jql(asked.jql, caller)
        except (JqlRefused, msgspec.DecodeError) as e:
            return self.refusal(request, 400, str(e))
        found = self.results(asked.jql, caller.account_id, query) if caller.sees else []
        return self.json(request, {"count": len(found)})

    async def _search(self, request: web.Request) -> web.Response:
        """A stranger's search is no error: it finds what is public (reported by users)."""
        try:
            asked = self._asked(request, await request.read())
            self.meanwhile(asked.next_page_token)
            caller = self.caller(request)
            query = compile_jql(asked.jql, caller)
            found = self._found(asked, caller, query)
            start = self._start(asked, query, found)
        except (JqlRefused, msgspec.DecodeError, msgspec.ValidationError) as e:
            return self.refusal(request, 400, str(e))
        if asked.next_page_token and self.empty_pages:
            self.empty_pages -= 1
            # More padding makes it another token with the same meaning.
            empty = {"issues": [], "nextPageToken": f"{asked.next_page_token}=", "isLast": False}
            return self.json(request, empty)
        narrow = set(asked.fields) <= {"id", "key"}
        most = self.max_ids if narrow else self.max_page
        page = found[start : start + max(1, min(asked.max_results, most))]
        expand = asked.expand.split(",")
        answer: dict[str, object] = {"issues": [self.shown(issue, asked.fields, expand) for issue in page]}
        last = start + len(page) >= len(found)
        if not last:
            # The key is left out at the end; the documentation says null (vendor's issue tracker).
            answer["nextPageToken"] = self._token(asked, query, start + len(page) - 1, page[-1])
            if self.repeats_token and asked.next_page_token:
                answer["nextPageToken"] = asked.next_page_token
        answer["isLast"] = last
        return self.json(request, answer)

    async def _removed(self, request: web.Request) -> web.Response:
        """Shut down in 2025 (seen in recorded answers)."""
        return self.refusal(request, 410, _REMOVED)

    async def _dead_link(self, request: web.Request) -> web.Response:
        return web.Response(status=404, text=_DEAD_LINK, content_type="text/html")

    # What endpoints are made of

    def _asked(self, request: web.Request, body: bytes) -> _Search:
        """GET takes the same as POST; unknown members are refused (OpenAPI document)."""
        if request.method == "GET":
            query = {name: value for name, value in request.query.items() if name != "fields"}
            given = {**query, "fields": request.query.get("fields", "id").split(",")}
            return msgspec.convert(given, _Search, strict=False)
        asked = msgspec.json.decode(body, type=_Search)
        if len(asked.reconcile_issues) > _RECONCILED_MOST:
            raise JqlRefused(f"At most {_RECONCILED_MOST} issues can be reconciled.")
        return asked

    def _found(self, asked: _Search, caller: Caller, query: Query) -> Sequence[Issue]:
        if not caller.sees:
            return ()
        if asked.reconcile_issues:
            return self.reconciled(asked.reconcile_issues, query)
        return self.results(asked.jql, caller.account_id, query)

    def _token(self, asked: _Search, query: Query, index: int, issue: Issue) -> str:
        """Opaque; stands behind an issue, so that what is added or moved meanwhile shifts nothing."""
        place = [list(_place(order, issue)) for order in query.orders]
        position = _Position(self._epoch, _checksum(asked.jql), index, issue.id, place)
        return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()

    def _start(self, asked: _Search, query: Query, found: Sequence[Issue]) -> int:
        if not asked.next_page_token:
            return 0
        try:
            position = msgspec.json.decode(base64.urlsafe_b64decode(asked.next_page_token), type=_Position)
        except (binascii.Error, ValueError, msgspec.DecodeError):
            raise JqlRefused("The provided next page token is invalid or expired.") from None
        if position.epoch != self._epoch or position.query != _checksum(asked.jql):
            raise JqlRefused("The provided next page token is invalid or expired.")
        if position.index < len(found) and found[position.index].id == position.issue:
            return position.index + 1
        return next((at for at, issue in enumerate(found) if _behind(query, issue, position)), len(found))

    def person(self, request: web.Request) -> Person | None:
        """Basic with mail and API token at the site (a token as Bearer makes a stranger there), and through
        the gateway tokens with scopes, as Basic or as Bearer (all reported by users).
        """
        kind, email, secret = authorization(request)
        grant = self.grants.get(secret) if self._at_gateway(request) else None
        if grant is not None and (kind == "bearer" or self.people[grant.account_id].email == email):
            return self.people[grant.account_id]
        return self.people.get(self.tokens.get((email, secret), "")) if kind == "basic" else None

    def _app(self, request: web.Request) -> str | None:
        """The account that an OAuth app acts for: only apps come with an access token as Bearer."""
        kind, _, secret = authorization(request)
        grant = self.grants.get(secret) if kind == "bearer" and self._at_gateway(request) else None
        return grant.account_id if grant else None

    def _at_gateway(self, request: web.Request) -> bool:
        return request.path.startswith(GATEWAY)

    def _let(self, handler: Handler, scope: str) -> Handler:
        """Through the gateway nobody comes as a stranger, and nobody without the endpoint's scope; at the
        site's own address a token with scopes is refused (reported by users, who tested both).
        """

        async def checked(request: web.Request) -> web.StreamResponse:
            secret = authorization(request)[2]
            known = self.grants.get(secret)
            if not self._at_gateway(request):
                unknown = known is not None and self.person(request) is None
                return (
                    self._turned_away("Client must be authenticated.") if unknown else await handler(request)
                )
            if self.person(request) is None:
                return self._turned_away("Unauthorized")
            if known is not None and scope and scope not in known.scopes:
                return self._turned_away("Unauthorized; scope does not match")
            return await handler(request)

        return checked

    def _turned_away(self, message: str) -> web.Response:
        body = msgspec.json.encode({"code": 401, "message": message})
        return web.Response(status=401, body=body, headers={"Content-Type": JSON})


def _checksum(jql: str) -> int:
    return binascii.crc32(jql.encode())


def _place(order: Order, issue: Issue) -> tuple[int | str, ...]:
    return tuple(
        round(part.timestamp() * 1000) if isinstance(part, datetime) else part for part in order.value(issue)
    )


def _behind(query: Query, issue: Issue, position: _Position) -> bool:
    """Whether an issue comes after the one that the position stands behind."""
    for order, place in zip(query.orders, position.place, strict=True):
        here, there = _place(order, issue), tuple(place)
        if here != there:
            return (here < there) if order.descending else (here > there)
    return issue.id > position.issue
