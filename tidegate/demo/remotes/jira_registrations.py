"""Where webhooks are registered at a simulated Jira: by administrators, and by apps for themselves."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
from aiohttp import web

from tidegate.demo.remotes.jira_query import JqlRefused, compile_jql
from tidegate.demo.remotes.jira_webhooks import Registration

if TYPE_CHECKING:
    from tidegate.demo.remotes.jira_site import JiraSite

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: How long an app's own webhook is sent (OpenAPI document).
LIFE = timedelta(days=30)
_OF_ISSUES = "issue-related-events-section"
_EVENTS = re.compile(
    r"jira:issue_(created|updated|deleted)|(comment|worklog)_(created|updated|deleted)"
    r"|issuelink_(created|deleted)|sprint_\w+|jira:version_\w+|project_\w+|user_\w+"
)
# What an app may register for itself, and which fields its queries may have (OpenAPI document).
_APP_EVENTS = re.compile(r"jira:issue_(created|updated|deleted)|comment_(created|updated|deleted)")
_APP_FIELDS = frozenset("issuekey key project issuetype status assignee reporter".split())
_FIELD = re.compile(r"([\w.]+)\s*(?:=|!=|not\s+in\b|in\b)", re.IGNORECASE)
_COMPARED = re.compile(r"([\w.]+)\s*(?:>=|<=|>|<|~|is\b|was\b)", re.IGNORECASE)


class _Webhook(msgspec.Struct, rename="camel"):
    name: str
    url: str
    events: tuple[str, ...] = ()
    filters: dict[str, str] = {}
    exclude_body: bool = False
    secret: str | None = None
    configuration: dict[str, str] = {}


class _AppWebhook(msgspec.Struct, rename="camel"):
    events: tuple[str, ...]
    jql_filter: str


class _AppWebhooks(msgspec.Struct, rename="camel"):
    url: str
    webhooks: list[_AppWebhook]


class _Ids(msgspec.Struct, rename="camel"):
    webhook_ids: list[int]


class Administration:
    """`/rest/webhooks/1.0/webhook`: for accounts with the permission to administer Jira.

    Data Center cannot sign there; from version 10 on it has `/rest/jira-webhook/1.0/webhooks` instead, takes
    the secret from a member of its own, and numbers webhooks (reported by users).
    """

    def __init__(self, site: "JiraSite", secrets: Literal["beside", "configured", "none"]) -> None:
        """`secrets`: where a secret is taken from."""
        self._site = site
        self._secrets = secrets

    async def collection(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request):
            return refused
        webhooks = self._site.webhooks
        if request.method == "GET":
            known = [one for one in webhooks.registered.values() if one.expires_at is None]
            return self._site.json(request, [self._shown(one) for one in known])
        asked = self._understood(await request.read())
        if isinstance(asked, str):
            return self._site.refusal(request, 400, asked)
        person = self._site.person(request)
        assert person is not None
        made = webhooks.add(
            asked.name,
            asked.url,
            asked.events,
            asked.filters.get(_OF_ISSUES, ""),
            self._secret(asked),
            person.account_id,
        )
        return self._site.json(request, self._shown(made), 201)

    async def one(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request):
            return refused
        webhooks, number = self._site.webhooks, int(request.match_info["number"])
        known = webhooks.registered.get(number)
        if known is None:
            return self._site.refusal(request, 404, "The webhook does not exist.")
        if request.method == "DELETE":
            del webhooks.registered[number]
            return web.Response(status=204)
        if request.method == "PUT":
            asked = self._understood(await request.read())
            if isinstance(asked, str):
                return self._site.refusal(request, 400, asked)
            known.name, known.url, known.events = asked.name, asked.url, asked.events
            known.jql = asked.filters.get(_OF_ISSUES, "")
            known.secret = self._secret(asked) or known.secret
        return self._site.json(request, self._shown(known))

    def _secret(self, asked: _Webhook) -> str | None:
        """What stands elsewhere is ignored without a word."""
        configured = asked.configuration.get("SECRET")
        return {"beside": asked.secret, "configured": configured, "none": None}[self._secrets]

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        person = self._site.person(request)
        if person is None:
            return self._site.refusal(request, 401, "You are not authenticated.")
        if person.account_id not in self._site.administrators:
            return self._site.refusal(request, 403, "You do not have permission to manage webhooks.")
        return None

    def _understood(self, body: bytes) -> _Webhook | str:
        try:
            asked = msgspec.json.decode(body, type=_Webhook)
            if jql := asked.filters.get(_OF_ISSUES, ""):
                compile_jql(jql, self._site.seen_by(""), bounded=False)
        except (msgspec.DecodeError, JqlRefused) as e:
            return str(e)
        unknown = [event for event in asked.events if not _EVENTS.fullmatch(event)]
        return f"The event {unknown[0]} is not known." if unknown else asked

    def _shown(self, one: Registration) -> dict[str, object]:
        """The secret is never shown (seen in recorded answers: there is no such member)."""
        if self._secrets == "configured":
            return {"id": one.id, "name": one.name, "url": one.url, "events": one.events, "active": True}
        return {
            "name": one.name,
            "url": one.url,
            "excludeBody": False,
            "filters": {_OF_ISSUES: one.jql},
            "events": one.events,
            "enabled": one.enabled,
            "self": f"{self._site.renderer.site}/rest/webhooks/1.0/webhook/{one.id}",
            "lastUpdatedUser": one.account_id,
        }


class AppWebhooks:
    """`/rest/api/3/webhook`: for OAuth apps only. `app` is the account that an app acts for, if one asks."""

    def __init__(self, site: "JiraSite", app: Callable[[web.Request], str | None]) -> None:
        self._site = site
        self._app = app

    async def collection(self, request: web.Request) -> web.StreamResponse:
        account = self._app(request)
        if account is None:
            return self._site.refusal(request, 403, "Only Connect and OAuth 2.0 apps can use this operation.")
        mine = self._mine(account)
        if request.method == "GET":
            values = [self._shown(one) for one in mine]
            page = {"startAt": 0, "maxResults": 100, "total": len(values), "isLast": True, "values": values}
            return self._site.json(request, page)
        try:
            if request.method == "DELETE":
                for number in msgspec.json.decode(await request.read(), type=_Ids).webhook_ids:
                    if any(one.id == number for one in mine):
                        del self._site.webhooks.registered[number]
                return web.Response(status=202)
            asked = msgspec.json.decode(await request.read(), type=_AppWebhooks)
        except msgspec.DecodeError as e:
            return self._site.refusal(request, 400, str(e))
        results = [self._registered(account, asked.url, one) for one in asked.webhooks]
        return self._site.json(request, {"webhookRegistrationResult": results})

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """Unknown ids are ignored; the date is text in the example, a number in the schema (OpenAPI)."""
        account = self._app(request)
        if account is None:
            return self._site.refusal(request, 403, "Only Connect and OAuth 2.0 apps can use this operation.")
        asked = msgspec.json.decode(await request.read(), type=_Ids)
        expires_at = self._site.clock.now() + LIFE
        for one in self._mine(account):
            if one.id in asked.webhook_ids:
                one.expires_at = expires_at
        return self._site.json(request, {"expirationDate": self._site.renderer.stamp(expires_at)})

    def _mine(self, account: str) -> list[Registration]:
        known = self._site.webhooks.registered.values()
        return [one for one in known if one.expires_at is not None and one.account_id == account]

    def _registered(self, account: str, url: str, asked: _AppWebhook) -> dict[str, object]:
        """Or why not: events and clauses are limited, and an app has one address only (OpenAPI document)."""
        if any(one.url != url for one in self._mine(account)):
            return {"errors": ["Only a single URL per app is allowed to be registered via REST API."]}
        if unknown := [event for event in asked.events if not _APP_EVENTS.fullmatch(event)]:
            return {"errors": [f"The event {unknown[0]} is unsupported"]}
        compared = _COMPARED.findall(asked.jql_filter)
        fields = [field for field in _FIELD.findall(asked.jql_filter) if field.lower() not in _APP_FIELDS]
        if wrong := [*compared, *fields]:
            return {"errors": [f"The clause {wrong[0]} is unsupported"]}
        expires_at = self._site.clock.now() + LIFE
        made = self._site.webhooks.add("", url, asked.events, asked.jql_filter, None, account, expires_at)
        return {"createdWebhookId": made.id}

    def _shown(self, one: Registration) -> dict[str, object]:
        assert one.expires_at is not None
        return {
            "id": one.id,
            "url": one.url,
            "jqlFilter": one.jql,
            "events": one.events,
            "expirationDate": self._site.renderer.stamp(one.expires_at),
        }
