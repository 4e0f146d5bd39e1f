"""What a simulated Jira answers alike on Cloud and on Data Center, and who asks it."""

import base64
import binascii
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from msgspec import Raw

from tidegate.demo.remotes.base import Remote
from tidegate.demo.remotes.jira_issue import Issue, Person
from tidegate.demo.remotes.jira_lists import sliced
from tidegate.demo.remotes.jira_model import JiraModel
from tidegate.demo.remotes.jira_webhooks import Webhooks

JSON = "application/json;charset=UTF-8"


class Caller:
    """Who asks, as a query needs to know it."""

    def __init__(self, model: JiraModel, person: Person | None, *, strict: bool = True) -> None:
        """`strict`: naming an issue that is not there is an error."""
        self._model = model
        self._strict = strict
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
            return None if self._strict and self._model.refuses_unknown_issues else 0
        return found.id

    def filter_jql(self, number: str) -> str | None:
        known = self._model.filters.get(int(number)) if number.isdigit() else None
        allowed = known and self.sees and (known.shared or known.owner == self.account_id)
        return known.jql if known and allowed else None


class JiraSite(JiraModel, Remote):
    """The model behind a server. Subclasses add routes, and how their product knows an account."""

    #: The most comments of an issue that are given at once (OpenAPI document: 100 where none is said).
    comments_page = 100
    #: The most worklogs; None where there are no pages.
    worklogs_page: int | None = 5000
    #: What happens while somebody reads: called before a list of an issue is given.
    before_list: Callable[[], object] = staticmethod(lambda: None)
    #: What is registered here, and what was sent.
    webhooks: Webhooks

    @abstractmethod
    def person(self, request: web.Request) -> Person | None:
        """The account of the request's credential, None for strangers and for what is refused."""

    def changed(self, before: Issue | None, after: Issue | None) -> None:
        self.webhooks.changed(before, after)

    async def close(self) -> None:
        await self.webhooks.close()
        await super().close()

    def seen_by(self, account_id: str) -> Caller:
        """How an account's queries are read; those of nobody see everything that is not hidden."""
        return Caller(self, self.people.get(account_id) or next(iter(self.people.values()), None))

    async def myself(self, request: web.Request) -> web.StreamResponse:
        person = self.person(request)
        if person is None:
            return self.refusal(request, 401, "Client must be authenticated to access this resource.")
        return self.json(request, {**self.renderer.person(person), "locale": "en_US"})

    async def filter(self, request: web.Request) -> web.StreamResponse:
        """400, not 404, where it is missing or not shared (OpenAPI document)."""
        number = request.match_info["id"]
        jql = self.caller(request).filter_jql(number)
        if jql is None:
            return self.refusal(request, 400, "The selected filter is not available to you.")
        known = self.filters[int(number)]
        shown = {
            "self": self.renderer.link("filter", str(known.id)),
            "id": str(known.id),
            "name": known.name,
            "jql": known.jql,
            "viewUrl": f"{self.renderer.site}/issues/?filter={known.id}",
            "sharePermissions": [],
        }
        return self.json(request, shown)

    async def issue(self, request: web.Request) -> web.StreamResponse:
        """An earlier key leads to the issue, without a redirect (OpenAPI document)."""
        issue = self._asked_for(request)
        if issue is None:
            return self._no_issue(request)
        fields = request.query.get("fields", "*all").split(",")
        return self.json(request, self.shown(issue, fields, request.query.get("expand", "").split(",")))

    async def comments(self, request: web.Request) -> web.StreamResponse:
        """The oldest first (OpenAPI document). More than the site gives at once is cut without a word."""
        issue = self._asked_for(request)
        if issue is None:
            return self._no_issue(request)
        self.before_list()
        issue = self.issues.get(issue.id, issue)
        most = min(int(request.query.get("maxResults", self.comments_page)), self.comments_page)
        shown = [self.renderer.lists.comment(issue, one) for one in issue.comments]
        return self.json(request, sliced(shown, int(request.query.get("startAt", 0)), most, "comments"))

    async def worklogs(self, request: web.Request) -> web.StreamResponse:
        """Cloud gives pages, the oldest first (OpenAPI document); Data Center all (recorded answers)."""
        issue = self._asked_for(request)
        if issue is None:
            return self._no_issue(request)
        start, most = int(request.query.get("startAt", 0)), len(issue.worklogs)
        if self.worklogs_page is not None:
            most = min(int(request.query.get("maxResults", self.worklogs_page)), self.worklogs_page)
        else:
            start = 0
        shown = [self.renderer.lists.worklog(issue, one) for one in issue.worklogs]
        return self.json(request, sliced(shown, start, most, "worklogs"))

    def _asked_for(self, request: web.Request) -> Issue | None:
        return self.find(request.match_info["key"]) if self.caller(request).sees else None

    def _no_issue(self, request: web.Request) -> web.Response:
        return self.refusal(request, 404, "Issue does not exist or you do not have permission to see it.")

    def shown(self, issue: Issue, fields: Sequence[str], expand: Sequence[str] = ()) -> Raw:
        """With its history where that is expanded, beside the fields."""
        shown = self._fields_of(issue, fields)
        if "changelog" not in expand:
            return shown
        return Raw(b'%b,"changelog":%b}' % (bytes(shown)[:-1], self.histories(issue)))

    def _fields_of(self, issue: Issue, fields: Sequence[str]) -> Raw:
        """Only the id by default (measured by users of Cloud); `*all` is everything there is."""
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

    def caller(self, request: web.Request, *, strict: bool = True) -> Caller:
        return Caller(self, self.person(request), strict=strict)

    def json(self, request: web.Request, answer: object, status: int = 200) -> web.Response:
        """A refused credential shows in a header only (seen in recorded answers)."""
        headers = {"Content-Type": JSON, "Cache-Control": "no-cache, no-store, no-transform"}
        if "Authorization" in request.headers:
            headers["X-Seraph-LoginReason"] = "OK" if self.person(request) else "AUTHENTICATED_FAILED"
        return web.Response(status=status, body=msgspec.json.encode(answer), headers=headers)

    def refusal(self, request: web.Request, status: int, message: str) -> web.Response:
        return self.json(request, {"errorMessages": [message], "errors": {}}, status)


def authorization(request: web.Request) -> tuple[str, str, str]:
    """The kind in lower case, and the user name and secret of Basic or the token of another kind."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return kind.lower(), "", value
    try:
        name, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "basic", "", ""
    return "basic", name, secret
