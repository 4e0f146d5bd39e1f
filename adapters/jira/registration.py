"""Tidegate's own webhook at Jira: made, found again, renewed and removed.

An administrator's webhook stays until it is removed, and signs. What an OAuth app registers for itself ends
after 30 days, signs nothing, and may ask only a few fields (vendor docs and OpenAPI document).
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar
from urllib.parse import urlsplit

from msgspec import Struct, field

from adapters.auth import Anonymous, Basic
from adapters.base import (
    AdapterError,
    Forbidden,
    NotFound,
    QueryRejected,
    Registered,
    Unreadable,
)
from adapters.http import Http, Reply, decode
from adapters.jira.answers import Product, judging
from adapters.jira.jql import projects_of
from adapters.times import from_millis, parse_time

NAME = "Tidegate"
_ADMIN = "/rest/webhooks/1.0/webhook"
# Where Data Center has them from version 10 on (reported by users).
_ADMIN_FROM_10 = "/rest/jira-webhook/1.0/webhooks"
_APP = "/rest/api/3/webhook"
_OF_ISSUES = "issue-related-events-section"
_APP_EVENTS = (
    "jira:issue_created",
    "jira:issue_updated",
    "jira:issue_deleted",
    "comment_created",
    "comment_updated",
    "comment_deleted",
)
_EVENTS = (
    *_APP_EVENTS,
    "worklog_created",
    "worklog_updated",
    "worklog_deleted",
    "issuelink_created",
    "issuelink_deleted",
)
_ADMINISTER = (
    "Only an account with the permission Administer Jira may register webhooks. Register it by hand under "
    "System > WebHooks, or give this connection the credential of an administrator while you register it."
)
_OWN_SCOPE = (
    "Give the OAuth app the scope manage:jira-webhook, and have it authorised anew; or register the webhook "
    "by hand under System > WebHooks."
)
_BY_HAND = "Register the webhook by hand under System > WebHooks."


class _Known(Struct):
    """A webhook of an administrator. Its number was in its link only, once (seen in recorded answers)."""

    url: str
    id: int | None = None
    link: str = field(default="", name="self")

    @property
    def number(self) -> str:
        if self.id is not None:
            return str(self.id)
        return urlsplit(self.link).path.rstrip("/").rpartition("/")[2]


class _AppKnown(Struct, rename="camel"):
    id: int
    url: str
    expiration_date: str | int | None = None


class _AppPage(Struct, rename="camel"):
    values: list[_AppKnown]
    is_last: bool = True


class _Result(Struct, rename="camel"):
    created_webhook_id: int | None = None
    errors: list[str] | None = None


class _Results(Struct, rename="camel"):
    webhook_registration_result: list[_Result]


class _Expiry(Struct, rename="camel"):
    expiration_date: str | int


class _Registrar:
    """Of one kind of webhook. `kind` begins its ids, so that none is taken for one of another kind."""

    kind: ClassVar[str]
    needed: ClassVar[str]

    def __init__(self, http: Http, product: Product) -> None:
        self._http = http
        self._judged = judging(http, product)

    def _judge(self, reply: Reply) -> AdapterError | None:
        error = self._judged(reply)
        return Forbidden(error.message, self.needed) if isinstance(error, Forbidden) else error

    def _number(self, id_: str) -> str:
        kind, _, number = id_.partition(":")
        if kind != self.kind or not number.isdigit():
            raise NotFound(
                "This webhook was registered with another kind of credential.",
                "Remove it in Jira by hand, and register it anew.",
            )
        return number

    def _id(self, number: str | int) -> str:
        return f"{self.kind}:{number}"


class OfAdministrator(_Registrar):
    """Webhooks that stay, signed where Jira can: on Cloud, and on Data Center from version 10 on."""

    kind = "site"
    needed = _ADMINISTER

    def __init__(self, http: Http, product: Product) -> None:
        super().__init__(http, product)
        self._paths = (_ADMIN,) if product == "cloud" else (_ADMIN_FROM_10, _ADMIN)

    async def register(self, url: str, secret: str | None, restriction: str) -> Registered:
        path, known = await self._listed()
        signs = secret is not None and path == self._paths[0]
        body: dict[str, object] = {
            "name": NAME,
            "url": url,
            "events": _EVENTS,
            "filters": {_OF_ISSUES: projects_of(restriction) or restriction},
            "excludeBody": False,
        }
        if secret is not None and path == _ADMIN_FROM_10:
            # Beside the other members it is ignored without a word (reported by users).
            body["configuration"] = {"EXCLUDE_BODY": "false", "SECRET": secret}
        elif signs:
            body["secret"] = secret
        if mine := _calling(known, url):
            await self._http.change("PUT", f"{path}/{mine.number}", body, self._judge)
            return Registered(self._id(mine.number), signed=signs)
        await self._http.change("POST", path, body, self._judge)
        # Not every version answers with what it made.
        _, known = await self._listed()
        if mine := _calling(known, url):
            return Registered(self._id(mine.number), signed=signs)
        raise Unreadable("Jira took the webhook, and does not list it.")

    async def renew(self, id_: str) -> Registered:
        number = self._number(id_)
        _, known = await self._listed()
        if not any(one.number == number for one in known):
            raise NotFound("Jira does not have this webhook any more.", "Register it anew.")
        return Registered(id_)

    async def unregister(self, id_: str) -> None:
        number = self._number(id_)
        path, known = await self._listed()
        if any(one.number == number for one in known):
            await self._http.change("DELETE", f"{path}/{number}", None, self._judge)

    async def _listed(self) -> tuple[str, list[_Known]]:
        """Where this version keeps webhooks, and all that there are."""
        for path in self._paths[:-1]:
            try:
                return path, decode(await self._http.get(path, judge=self._judge), list[_Known])
            except NotFound:
                continue
        path = self._paths[-1]
        return path, decode(await self._http.get(path, judge=self._judge), list[_Known])


def _calling(known: Sequence[_Known], url: str) -> _Known | None:
    return next((one for one in known if one.url == url and one.number.isdigit()), None)


class OfApp(_Registrar):
    """Webhooks of an OAuth app: never signed, for 30 days, one address for each app."""

    kind = "app"
    needed = _OWN_SCOPE

    async def register(self, url: str, secret: str | None, restriction: str) -> Registered:
        known = await self._find(lambda one: one.url == url)
        if known is None:
            asked = {"events": _APP_EVENTS, "jqlFilter": projects_of(restriction) or restriction}
            reply = await self._http.change("POST", _APP, {"url": url, "webhooks": [asked]}, self._judge)
            [result] = decode(reply, _Results).webhook_registration_result or [_Result()]
            if result.created_webhook_id is None:
                told = " ".join(result.errors or ())[:300] or "it does not say why"
                raise QueryRejected(f"Jira does not register the webhook: {told}", _BY_HAND)
            return await self._renewed(result.created_webhook_id)
        return await self._renewed(known.id)

    async def renew(self, id_: str) -> Registered:
        number = int(self._number(id_))
        if await self._find(lambda one: one.id == number) is None:
            raise NotFound("Jira does not have this webhook any more.", "Register it anew.")
        return await self._renewed(number)

    async def unregister(self, id_: str) -> None:
        await self._http.change("DELETE", _APP, {"webhookIds": [int(self._number(id_))]}, self._judge)

    async def _renewed(self, number: int) -> Registered:
        """What is not known is silently left alone, so that only a known one may be asked for."""
        reply = await self._http.change("PUT", f"{_APP}/refresh", {"webhookIds": [number]}, self._judge)
        return Registered(self._id(number), _moment(decode(reply, _Expiry).expiration_date), signed=False)

    async def _find(self, wanted: Callable[[_AppKnown], bool]) -> _AppKnown | None:
        at = 0
        while True:
            asked = {"startAt": str(at), "maxResults": "100"}
            page = decode(await self._http.get(_APP, asked, judge=self._judge), _AppPage)
            if found := next(filter(wanted, page.values), None):
                return found
            at += len(page.values)
            if page.is_last or not page.values:
                return None


def registrar(http: Http, product: Product) -> OfAdministrator | OfApp:
    """Who may register here with this credential. Raises `Forbidden` where nobody can."""
    gateway = "/ex/jira/" in f"{urlsplit(http.base).path}/"
    if isinstance(http.auth, Anonymous):
        raise Forbidden("Strangers may not register webhooks.", _ADMINISTER)
    if gateway and isinstance(http.auth, Basic):
        raise Forbidden("Behind api.atlassian.com only OAuth apps may register webhooks.", _BY_HAND)
    return OfApp(http, product) if gateway else OfAdministrator(http, product)


def _moment(told: str | int) -> datetime:
    moment = from_millis(told) if isinstance(told, int) else parse_time(told)
    if moment is None:
        raise Unreadable("Jira does not say until when the webhook is sent.")
    return moment
