"""Who is let into the simulated organisation, and how a busy account is slowed down."""

from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote

import msgspec
from aiohttp import web

from tidegate.demo.remotes.azure.model import Organisation
from tidegate.demo.remotes.azure.render import Person, Refusal

_ENTRA = "entra"
JSON = "application/json; charset=utf-8; api-version=7.1"
#: The identity of callers without one (seen in answers quoted by users).
NOBODY = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
_SIGN_IN = (
    b"<html><head><title>\r\n\r\n  Azure DevOps Services | Sign In\r\n\r\n</title></head><body></body></html>"
)


class Access:
    """`tokens` are the accepted secrets, `expired` those that once were, `strangers` belong to accounts
    without access. `scopes` limits a token to some of `project`, `work` and `build`; one without an entry has
    full access. `entra` says whether a header brings a token of Entra, whose scopes are those of "entra".
    `passwords` are those of accounts by name, which only a server of one's own takes.

    With `sign_in_page` everybody gets the page, whatever header was sent; with `policy` all are kept out by
    the tenant; with `windows_only` nothing but NTLM is offered.
    """

    def __init__(self, model: Organisation, *, hosted: bool = True) -> None:
        self._model = model
        self._hosted = hosted
        self.tokens: dict[str, Person] = {"azure-token": model.me}
        self.scopes: dict[str, frozenset[str]] = {}
        self.passwords: dict[str, str] = {}
        self.entra: Callable[[str | None], bool] | None = None
        self.expired: set[str] = set()
        self.strangers: set[str] = set()
        self.sign_in_page = False
        self.policy = False
        self.windows_only = False

    def caller(self, request: web.Request, url: str) -> tuple[Person | None, web.Response | None]:
        """Who asks, or why not. Where there are public projects, a bad token is nobody's (seen by users)."""
        user, secret = self._presented(request)
        if self.sign_in_page:
            return None, sign_in()
        if self.policy:
            # Quoted by users.
            message = (
                "VS403463: The conditional access policy defined by your Microsoft Entra administrator has "
                "failed."
            )
            return None, refused(Refusal(401, message, "VssServiceException"))
        if secret in self.expired:
            message = "Access Denied: The Personal Access Token used has expired."
            return None, refused(Refusal(401, message, "AccessCheckException"))
        if secret in self.strangers:
            message = f"TF400813: The user '{NOBODY}' is not authorized to access this resource."
            return None, refused(Refusal(401, message, "UnauthorizedRequestException"))
        caller = self._model.me if secret == _ENTRA else self.tokens.get(secret)
        if not self._hosted and user in self.passwords:
            caller = self._model.me if self.passwords[user] == secret else None
        public = any(project.visibility == "public" for project in self._model.projects.values())
        if caller is not None or public:
            return caller, None
        return None, self._unknown(request, url)

    def _presented(self, request: web.Request) -> tuple[str, str]:
        """User and secret; all tokens of Entra are one."""
        header = request.headers.get("Authorization", "")
        return ("", _ENTRA) if self.entra and self.entra(header) else _login(header)

    def _unknown(self, request: web.Request, url: str) -> web.Response:
        """What a credential brings that is nobody's."""
        if self.windows_only:
            return web.Response(status=401, headers={"WWW-Authenticate": "NTLM"})
        if self._hosted and request.headers.get("X-TFS-FedAuthRedirect", "").casefold() != "suppress":
            # Reported by users.
            location = f"{url}/_signin?realm=dev.azure.com&reply_to={quote(url, safe='')}"
            return web.Response(status=302, headers={"Location": location})
        return self.bare(url)

    def bare(self, url: str) -> web.Response:
        """An empty body, and a realm on a host of the vendor (seen in recorded answers)."""
        realm = "https://tfsprodweu1.app.visualstudio.com/" if self._hosted else f"{url}/"
        return web.Response(status=401, headers={"WWW-Authenticate": f'Basic realm="{realm}"'})

    def admit(self, request: web.Request, scope: str) -> None:
        """Refuse a token that has not the scope, with no more words than a wrong one (reported by users)."""
        _, secret = self._presented(request)
        granted = self.scopes.get(secret)
        if scope and granted is not None and scope not in granted:
            raise Refusal(401, "")


class Throttle(msgspec.Struct):
    """What a busy account is told (vendor docs).

    `delay` seconds go with every answer that has data; the next `blocked` requests get 429 and `wait`.
    """

    delay: float = 0.0
    blocked: int = 0
    wait: float = 30.0

    def blocks(self, now: datetime) -> web.Response | None:
        if self.blocked <= 0:
            return None
        self.blocked -= 1
        message = (
            "TF400733: The request has been canceled: Request was blocked due to exceeding usage of resource "
            "'Concurrency' in namespace 'User'."
        )
        response = refused(Refusal(429, message, "RequestBlockedException"))
        response.headers.update(_headers(self.wait, now))
        return response

    def slows(self, now: datetime) -> dict[str, str]:
        """The headers of an answer with data that says to go slower."""
        return _headers(self.delay, now) if self.delay else {}


def _headers(wait: float, now: datetime) -> dict[str, str]:
    return {
        "Retry-After": f"{wait:g}",
        "X-RateLimit-Resource": "Core",
        "X-RateLimit-Delay": f"{wait:.3f}",
        "X-RateLimit-Limit": "200",
        "X-RateLimit-Remaining": "0",
        # Seconds since 1970 (vendor docs).
        "X-RateLimit-Reset": str(int(now.timestamp() + wait)),
    }


def sign_in() -> web.Response:
    """The sign-in page, with a status that looks like success (reported by users)."""
    return web.Response(status=203, body=_SIGN_IN, content_type="text/html", charset="utf-8")


def refused(refusal: Refusal) -> web.Response:
    """Typed errors are JSON, routing errors plain text; the header says both (seen in recorded answers)."""
    headers = {"X-TFS-ServiceError": quote(refusal.message, safe="")}
    if not refusal.type_key:
        return web.Response(status=refusal.status, text=refusal.message, headers=headers)
    headers["Content-Type"] = JSON
    return web.Response(status=refusal.status, body=refusal.body, headers=headers)


def _login(authorization: str) -> tuple[str, str]:
    """User and token: behind the colon of Basic, whatever the user name is, or after Bearer (vendor docs)."""
    kind, _, value = authorization.partition(" ")
    if kind.casefold() != "basic":
        return "", value
    try:
        user, _, secret = b64decode(value).decode().partition(":")
    except ValueError:
        return "", ""
    return user, secret
