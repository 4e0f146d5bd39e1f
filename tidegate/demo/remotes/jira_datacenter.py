"""A simulated Jira Data Center: the REST API v2 as far as issues are read, below a context path."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from tidegate.demo.remotes.base import Clock, Fault, Handler, Remote
from tidegate.demo.remotes.jira_issue import Issue, Person, ServerRenderer
from tidegate.demo.remotes.jira_model import JiraModel
from tidegate.demo.remotes.jira_query import JqlRefused, compile_jql
from tidegate.demo.remotes.jira_registrations import Administration
from tidegate.demo.remotes.jira_site import JSON, JiraSite, authorization
from tidegate.demo.remotes.jira_webhooks import Webhooks

_PAGE = 50
_WEBHOOKS_MOVED = 10
_HTML = {"Content-Type": "text/html;charset=UTF-8"}
_REASON = "X-Seraph-LoginReason"


class _Search(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of a search; unknown members are refused (seen in recorded answers of old servers)."""

    jql: str = ""
    start_at: int = 0
    max_results: int = _PAGE
    fields: tuple[str, ...] = ("*navigable",)
    expand: list[str] = []
    validate_query: bool = True


class JiraDataCenter(JiraSite):
    """The site and its server. `max_page` is what its administrator set as the most that a page has."""

    def __init__(
        self,
        clock: Clock | None = None,
        latency: float = 0.0,
        zone: str = "UTC",
        context: str = "",
        version: str = "9.12.2",
        deployment: str = "DataCenter",
    ) -> None:
        """`context` is the path below which it lies, like `/jira`."""
        Remote.__init__(self, clock, latency)
        JiraModel.__init__(self, self.clock, zone, f"https://jira.example.com{context}", ServerRenderer)
        self.context = context
        self.version = version
        self.deployment = deployment
        #: `jira.search.views.default.max`, 1000 where nobody changed it (vendor's knowledge base).
        self.max_page = 1000
        #: Whether user name and password are taken; from 11.0 on not by default (third-party guide).
        self.takes_passwords = True
        #: After so many failed logins a captcha is to be solved (vendor docs: three by default).
        self.captcha_after = 3
        #: Whether naming an unknown issue is refused even where the query need not be valid.
        self.always_validates = False
        #: Tokens of the bucket as its headers tell them; None where nobody switched the limits on.
        self.bucket: int | None = None
        #: What happens while somebody reads: called with the offset before a search is answered.
        self.meanwhile: Callable[[int], object] = lambda _: None
        self.worklogs_page = None
        self.pats: dict[str, str] = {}
        self.failed_logins: dict[str, int] = {}
        self.webhooks = Webhooks(self, cloud=False)

    @property
    def base(self) -> str:
        """The address that people paste."""
        return self.url + self.context

    def routes(self, app: web.Application) -> None:
        for version in ("2", "latest"):
            api = f"{self.context}/rest/api/{version}"
            app.router.add_get(f"{api}/myself", self._let(self.myself))
            app.router.add_get(f"{api}/serverInfo", self._let(self._server_info))
            app.router.add_get(f"{api}/filter/{{id}}", self._let(self.filter))
            app.router.add_get(f"{api}/issue/{{key}}", self._let(self.issue))
            app.router.add_get(f"{api}/issue/{{key}}/comment", self._let(self.comments))
            app.router.add_get(f"{api}/issue/{{key}}/worklog", self._let(self.worklogs))
            app.router.add_get(f"{api}/search", self._let(self._search))
            app.router.add_post(f"{api}/search", self._let(self._search))
        modern = int(self.version.partition(".")[0]) >= _WEBHOOKS_MOVED
        administration = Administration(self, "configured" if modern else "none")
        own = self.context + ("/rest/jira-webhook/1.0/webhooks" if modern else "/rest/webhooks/1.0/webhook")
        app.router.add_route("*", own, self._let(administration.collection))
        app.router.add_route("*", f"{own}/{{number}}", self._let(administration.one))
        app.router.add_route("*", "/{anything:.*}", self._nothing)

    # People

    def add_user(self, login: str, password: str, zone: str = "UTC", name: str = "") -> Person:
        """An account with a password. It has a key and a name, no accountId (seen in recorded answers)."""
        key = f"JIRAUSER{10_100 + len(self.people)}"
        person = Person(key, name or login.title(), f"{login}@example.com", zone, login)
        self.people[key] = person
        self.tokens[login, password] = key
        return person

    def add_pat(self, login: str, token: str) -> None:
        """A personal access token, used as Bearer (vendor docs: from 8.14 on)."""
        (self.pats[token],) = [person.account_id for person in self.people.values() if person.login == login]

    def revoke(self, token: str) -> None:
        super().revoke(token)
        self.pats.pop(token, None)

    def solve_captcha(self, login: str) -> None:
        """Somebody logged in with the browser."""
        self.failed_logins.pop(login, None)

    def limit(self, times: int = 1, retry_after: int | None = 1) -> None:
        """Answer the next requests with 429, as the token bucket does once it is switched on."""
        headers = {**self._limit_headers(0), "Content-Type": JSON}
        headers.pop("Retry-After")
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        self.faults.append(Fault("/rest/api/", 429, b'{"message":"Rate limit exceeded."}', headers, times))

    def person(self, request: web.Request) -> Person | None:
        kind, name, secret = authorization(request)
        if kind == "bearer":
            return self.people.get(self.pats.get(secret, ""))
        if kind != "basic" or self._wants_captcha(name):
            return None
        return self.people.get(self.tokens.get((name, secret), ""))

    def _wants_captcha(self, login: str) -> bool:
        return self.failed_logins.get(login, 0) >= self.captcha_after

    def _let(self, handler: Handler) -> Handler:
        """A refused credential ends each request; none makes a stranger, who sees what is public."""

        async def checked(request: web.Request) -> web.StreamResponse:
            kind, login, _ = authorization(request)
            if kind == "basic" and not self.takes_passwords:
                body = msgspec.json.encode(
                    {"message": "Basic Authentication has been disabled on this instance."}
                )
                return web.Response(status=403, body=body, headers={"Content-Type": JSON})
            if kind and self.person(request) is None:
                response = self._unknown(kind, login)
            else:
                self.failed_logins.pop(login, None)
                response = await handler(request)
            if self.bucket is not None:
                self.bucket = max(0, self.bucket - 1)
                response.headers.update(self._limit_headers(self.bucket))
            return response

        return checked

    def _unknown(self, kind: str, login: str) -> web.StreamResponse:
        """A page and not JSON; too many of them lead to a captcha (header reported by users)."""
        if kind == "basic" and self._wants_captcha(login):
            denied = f"CAPTCHA_CHALLENGE; login-url={self.renderer.site}/login.jsp"
            headers = {**_HTML, "X-Authentication-Denied-Reason": denied, _REASON: "AUTHENTICATION_DENIED"}
            return web.Response(
                status=403, text="<html><title>Forbidden (403)</title></html>", headers=headers
            )
        if kind == "basic":
            self.failed_logins[login] = self.failed_logins.get(login, 0) + 1
        headers = {**_HTML, "WWW-Authenticate": 'OAuth realm="jira"', _REASON: "AUTHENTICATED_FAILED"}
        return web.Response(
            status=401, text="<html><title>Unauthorized (401)</title></html>", headers=headers
        )

    def _limit_headers(self, remaining: int) -> dict[str, str]:
        """On every answer; `retry-after` is 0 while tokens remain (vendor docs)."""
        return {
            "X-RateLimit-Limit": "50",
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-FillRate": "10",
            "X-RateLimit-Interval-Seconds": "60",
            "Retry-After": "0" if remaining else "60",
        }

    # Endpoints

    async def _server_info(self, request: web.Request) -> web.StreamResponse:
        info = {
            "baseUrl": self.renderer.site,
            "version": self.version,
            "versionNumbers": [int(part) for part in self.version.split(".")],
            "deploymentType": self.deployment,
            "buildNumber": 9120002,
            "serverTime": self.renderer.stamp(self.clock.now()),
            "serverTitle": "Jira",
        }
        return self.json(request, info)

    async def _search(self, request: web.Request) -> web.StreamResponse:
        """Offsets into what matches at this moment: whatever moves meanwhile moves the pages (reported by
        users). More than the site allows is cut without a word, and `maxResults` says so (knowledge base).
        The index says which issues and in which order, the database how they look (reported by users).
        """
        try:
            asked = self._asked(request, await request.read())
            self.meanwhile(asked.start_at)
            caller = self.caller(request, strict=asked.validate_query or self.always_validates)
            query = compile_jql(asked.jql, caller, bounded=False)
        except (JqlRefused, msgspec.DecodeError, msgspec.ValidationError) as e:
            return self.refusal(request, 400, str(e))
        all_ = self.results(asked.jql, caller.account_id, query) if caller.sees else []
        size = min(asked.max_results, self.max_page)
        page: list[Issue] = list(all_[asked.start_at : asked.start_at + size])
        answer = {
            "expand": "schema,names",
            "startAt": asked.start_at,
            "maxResults": size,
            "total": len(all_),
            "issues": [self.shown(self.issues.get(i.id, i), asked.fields, asked.expand) for i in page],
        }
        return self.json(request, answer)

    def _asked(self, request: web.Request, body: bytes) -> _Search:
        if request.method == "POST":
            return msgspec.json.decode(body, type=_Search)
        given: dict[str, object] = dict(request.query)
        for name in ("fields", "expand"):
            if name in given:
                given[name] = str(given[name]).split(",")
        return msgspec.convert(given, _Search, strict=False)

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        """Outside of the context path there is another application, or none: a page in any case."""
        return web.Response(status=404, text="<html><title>HTTP Status 404</title></html>", headers=_HTML)
