"""A simulated Jira Cloud site: the REST API v3 as far as issues are read, answered from a changing model."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from msgspec import Raw

from tidegate.demo.remotes.base import Clock, Fault, Remote
from tidegate.demo.remotes.jira_issue import Issue, Person
from tidegate.demo.remotes.jira_model import SITE, JiraModel
from tidegate.demo.remotes.jira_query import JqlRefused, Order, Query, compile_jql

_PAGE = 50
_PAGE_ID_ONLY = 5000
_RECONCILED_MOST = 50
_BULK_MOST = 100
_JSON = "application/json;charset=UTF-8"
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


class _Count(msgspec.Struct):
    jql: str = ""


class _Position(msgspec.Struct, array_like=True):
    """What a page token holds: the issue of which query it stands behind. `epoch` makes it expire."""

    epoch: int
    query: int
    index: int
    issue: int
    place: list[list[int | str]]


class _Caller:
    """Who asks, as a query needs to know it."""

    def __init__(self, model: JiraModel, person: Person | None) -> None:
        self._model = model
        self.zone: tzinfo = ZoneInfo(person.zone) if person else model.zone
        self.now: datetime = model.clock.now()
        self.account_id = person.account_id if person else None
        self.sees = person is not None or model.public

    def has_project(self, key: str) -> bool:
        if not self.sees:
            return not self._model.strict_to_strangers
        return key in self._model.projects and key not in self._model.hidden_projects

    def issue_id(self, text: str) -> int | None:
        found = self._model.find(text)
        if found is None:
            return None if self._model.refuses_unknown_issues else 0
        return found.id

    def filter_jql(self, number: str) -> str | None:
        known = self._model.filters.get(int(number)) if number.isdigit() else None
        allowed = known and self.sees and (known.shared or known.owner == self.account_id)
        return known.jql if known and allowed else None


class JiraCloud(JiraModel, Remote):
    """The site and its server. `max_page` is the most issues with all fields that a page has."""

    def __init__(self, clock: Clock | None = None, latency: float = 0.0, zone: str = "UTC") -> None:
        Remote.__init__(self, clock, latency)
        JiraModel.__init__(self, self.clock, zone)
        self.max_page = 100
        #: Give the token of the first page with every page (reported by users of naive loops).
        self.repeats_token = False
        self._epoch = 0

    def routes(self, app: web.Application) -> None:
        for version in ("2", "3", "latest"):
            api = f"/rest/api/{version}"
            app.router.add_get(f"{api}/myself", self._myself)
            app.router.add_get(f"{api}/serverInfo", self._server_info)
            app.router.add_get(f"{api}/field", self._field)
            app.router.add_get(f"{api}/filter/{{id}}", self._filter)
            app.router.add_get(f"{api}/issue/{{key}}", self._issue)
            app.router.add_post(f"{api}/issue/bulkfetch", self._bulkfetch)
            app.router.add_route("*", f"{api}/search", self._removed)
            app.router.add_get(f"{api}/search/jql", self._search)
            app.router.add_post(f"{api}/search/jql", self._search)
            app.router.add_post(f"{api}/search/approximate-count", self._count)
        app.router.add_get("/_edge/tenant_info", self._tenant)
        app.router.add_route("*", "/{anything:.*}", self._dead_link)

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
            "Content-Type": _JSON,
        }
        self.faults.append(Fault("/rest/api/", 429, b"", headers, times))

    # Endpoints

    async def _myself(self, request: web.Request) -> web.Response:
        person = self._person(request)
        if person is None:
            return self._refusal(request, 401, "Client must be authenticated to access this resource.")
        return self._json(request, {**self.renderer.person(person), "locale": "en_US"})

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
        return self._json(request, info)

    async def _field(self, request: web.Request) -> web.Response:
        fields = [{"id": name, "key": name, "name": name.title(), "custom": False} for name in ("summary",)]
        return self._json(request, fields)

    async def _tenant(self, request: web.Request) -> web.Response:
        return self._json(request, {"cloudId": "11223344-a1b2-3b33-c444-def123456789"})

    async def _filter(self, request: web.Request) -> web.Response:
        """400, not 404, where it is missing or not shared (OpenAPI document)."""
        number = request.match_info["id"]
        jql = self._caller(request).filter_jql(number)
        if jql is None:
            return self._refusal(request, 400, "The selected filter is not available to you.")
        known = self.filters[int(number)]
        shown = {
            "self": f"{SITE}/rest/api/3/filter/{known.id}",
            "id": str(known.id),
            "name": known.name,
            "jql": known.jql,
            "viewUrl": f"{SITE}/issues/?filter={known.id}",
            "sharePermissions": [],
        }
        return self._json(request, shown)

    async def _issue(self, request: web.Request) -> web.Response:
        """An earlier key leads to the issue, without a redirect (OpenAPI document)."""
        issue = self.find(request.match_info["key"]) if self._caller(request).sees else None
        if issue is None:
            return self._refusal(
                request, 404, "Issue does not exist or you do not have permission to see it."
            )
        return self._json(request, self._shown(issue, request.query.get("fields", "*all").split(",")))

    async def _bulkfetch(self, request: web.Request) -> web.Response:
        """Ascending ids; what is missing or not visible is just not there (OpenAPI document)."""
        try:
            asked = msgspec.json.decode(await request.read(), type=_Bulk)
        except msgspec.DecodeError as e:
            return self._refusal(request, 400, str(e))
        if not 1 <= len(asked.issue_ids_or_keys) <= _BULK_MOST:
            return self._refusal(request, 400, "Between 1 and 100 issues can be asked for.")
        named = (self.find(text) for text in asked.issue_ids_or_keys) if self._caller(request).sees else ()
        found = {issue.id: issue for issue in named if issue}
        issues = [self._shown(found[number], asked.fields) for number in sorted(found)]
        return self._json(request, {"expand": "schema,names", "issues": issues, "issueErrors": []})

    async def _count(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        try:
            asked = msgspec.json.decode(await request.read(), type=_Count)
            query = compile_jql(asked.jql, caller)
        except (JqlRefused, msgspec.DecodeError) as e:
            return self._refusal(request, 400, str(e))
        found = self.results(asked.jql, caller.account_id, query) if caller.sees else []
        return self._json(request, {"count": len(found)})

    async def _search(self, request: web.Request) -> web.Response:
        """A stranger's search is no error: it finds what is public (reported by users)."""
        caller = self._caller(request)
        try:
            asked = self._asked(request, await request.read())
            query = compile_jql(asked.jql, caller)
            found = self._found(asked, caller, query)
            start = self._start(asked, query, found)
        except (JqlRefused, msgspec.DecodeError, msgspec.ValidationError) as e:
            return self._refusal(request, 400, str(e))
        narrow = set(asked.fields) <= {"id", "key"}
        most = _PAGE_ID_ONLY if narrow else self.max_page
        page = found[start : start + max(1, min(asked.max_results, most))]
        answer: dict[str, object] = {"issues": [self._shown(issue, asked.fields) for issue in page]}
        last = start + len(page) >= len(found)
        if not last:
            # The key is left out at the end; the documentation says null (vendor's issue tracker).
            answer["nextPageToken"] = self._token(asked, query, start + len(page) - 1, page[-1])
            if self.repeats_token and asked.next_page_token:
                answer["nextPageToken"] = asked.next_page_token
        answer["isLast"] = last
        return self._json(request, answer)

    async def _removed(self, request: web.Request) -> web.Response:
        """Shut down in 2025 (seen in recorded answers)."""
        return self._refusal(request, 410, _REMOVED)

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

    def _found(self, asked: _Search, caller: _Caller, query: Query) -> Sequence[Issue]:
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

    def _shown(self, issue: Issue, fields: Sequence[str]) -> Raw:
        """Only the id by default (measured by users); `*all` is everything there is."""
        if "*all" in fields or "*navigable" in fields:
            return Raw(self.body(issue))
        shown: dict[str, object] = {"id": str(issue.id)}
        if set(fields) - {"id"}:
            whole = msgspec.json.decode(self.body(issue), type=dict[str, object])
            members = whole["fields"]
            shown |= {"key": issue.key, "self": whole["self"]}
            if isinstance(members, dict):
                shown["fields"] = {name: members[name] for name in fields if name in members}
        return Raw(msgspec.json.encode(shown))

    def _caller(self, request: web.Request) -> _Caller:
        return _Caller(self, self._person(request))

    def _person(self, request: web.Request) -> Person | None:
        """Basic with mail and API token; a token as Bearer makes a stranger here (reported by users)."""
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            email, _, token = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return self.people.get(self.tokens.get((email, token), ""))

    def _json(self, request: web.Request, answer: object, status: int = 200) -> web.Response:
        """A refused credential shows in a header only (seen in recorded answers)."""
        headers = {"Content-Type": _JSON, "Cache-Control": "no-cache, no-store, no-transform"}
        if "Authorization" in request.headers:
            headers["X-Seraph-LoginReason"] = "OK" if self._person(request) else "AUTHENTICATED_FAILED"
        return web.Response(status=status, body=msgspec.json.encode(answer), headers=headers)

    def _refusal(self, request: web.Request, status: int, message: str) -> web.Response:
        return self._json(request, {"errorMessages": [message], "errors": {}}, status)


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
