"""Questions to one Jenkins controller, and what its answers mean."""

import re
from datetime import datetime
from urllib.parse import unquote, urlsplit

import msgspec

from adapters.auth import Bearer
from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    QueryRejected,
    Unavailable,
    Unreadable,
)
from adapters.http import Http, Reply, decode, retry_after

_USE_BASIC = "Jenkins wants a user name with an API token of that user (credential kind basic)."
_NOT_JENKINS = (
    "Check that the URL leads to Jenkins itself, with its context path, and not to a proxy or login page."
)
_ENCODED_SLASH = "A proxy in front of Jenkins must pass encoded slashes (%2F) on unchanged."


class _WhoAmI(msgspec.Struct):
    name: str
    anonymous: bool


class _Me(msgspec.Struct):
    id: str


class _Security(msgspec.Struct):
    use_security: bool = msgspec.field(default=True, name="useSecurity")


class Controller:
    """Asks below one root. Every method raises `AdapterError` only."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.anonymous = http.anonymous
        self._account: str | None = None

    @property
    def base(self) -> str:
        return self._http.base

    def now(self) -> datetime:
        return self._http.clock()

    async def ask(self, path: str, tree: str) -> Reply:
        """The JSON of what is at `path` (percent-encoded), cut to `tree`; it is Jenkins that answers."""
        return await self._http.get(f"{path}/api/json", {"tree": tree}, judge=self._judge)

    async def prove(self, *, only_if_silent: bool = False) -> str:
        """The account that Jenkins takes us for. Raises `AuthFailed` if it took no notice of a credential.

        A wrong user or API token is always refused, but a bearer token that no plugin understands is
        ignored, and then an open Jenkins shows the little that everyone sees. `only_if_silent` asks in
        that case alone.
        """
        if only_if_silent and not isinstance(self._http.auth, Bearer):
            return ""
        if self._account is None:
            self._account = await self._who()
        return self._account

    async def _who(self) -> str:
        try:
            who = decode(await self.ask("/whoAmI", "name,anonymous"), _WhoAmI)
        except NotFound:
            return await self._me()
        if who.anonymous and not self.anonymous and await self._is_secured():
            raise AuthFailed("Jenkins takes us for anonymous although a credential was sent.", _USE_BASIC)
        return who.name

    async def _me(self) -> str:
        """For controllers without the page `whoAmI`; anonymous visitors have no page `me`."""
        try:
            return decode(await self.ask("/me", "id"), _Me).id
        except (NotFound, Forbidden) as refusal:
            if self.anonymous:
                return "anonymous"
            if isinstance(refusal, Forbidden):
                raise
            raise AuthFailed("Jenkins does not say who we are.", _USE_BASIC) from None

    async def _is_secured(self) -> bool:
        """Without security everyone is anonymous and may do all, so that a credential means nothing."""
        return decode(await self.ask("", "useSecurity"), _Security).use_security

    def _judge(self, reply: Reply) -> AdapterError | None:
        jenkins = "X-Jenkins" in reply.headers
        match reply.status:
            case 200 if not jenkins:
                return Unreadable(f"{reply.summary} without X-Jenkins: this is no Jenkins.", _NOT_JENKINS)
            case 200 if not reply.is_json:
                return Unreadable(f"{reply.summary} with a web page instead of JSON.", _NOT_JENKINS)
            case 400:
                return QueryRejected(f"{reply.summary}: the address is rejected.", _ENCODED_SLASH)
            case 401:
                where = "Jenkins" if jenkins else "What stands in front of Jenkins"
                return AuthFailed(f"{where} refuses the credential ({reply.summary}).", _USE_BASIC)
            case 403 if not jenkins and "X-Required-Permission" not in reply.headers:
                return Forbidden(f"{reply.summary}, and not by Jenkins: something in front of it refuses.")
            case 403:
                return self._refused(reply, reply.headers.get("X-You-Are-Authenticated-As", "")[:100])
            case 404 if not jenkins:
                return Unreadable(f"{reply.summary} without X-Jenkins: this is no Jenkins.", _NOT_JENKINS)
            case 404:
                return NotFound(f"Jenkins has no {_thing(reply)} that this account may see.")
            case 503 if b"getting ready to work" in reply.body:
                return Unavailable("Jenkins is starting.", retry_after(reply, reply.sent_at))
            case status if 300 <= status < 400 and _leads_to_login(reply):
                return self._refused(reply, "anonymous")
            case _:
                return None

    def _refused(self, reply: Reply, account: str) -> AdapterError:
        """A 403, or a redirect to the login page: whom Jenkins takes us for, and the missing permission."""
        permission = _permission(reply)
        if self.anonymous:
            return Forbidden(
                f"Jenkins does not show this to anonymous visitors: {permission}.",
                "Add a credential: a user name with an API token of that user.",
            )
        if account == "anonymous":
            return AuthFailed(
                f"Jenkins takes us for anonymous although a credential was sent: {permission}.", _USE_BASIC
            )
        return Forbidden(f"{account or 'The account'} may not read {_thing(reply)}: {permission}.")


def version(reply: Reply) -> str | None:
    """The release that answered, as `2.462.1`."""
    return reply.headers.get("X-Jenkins")


def _permission(reply: Reply) -> str:
    """The permission as the headers of a refusal name it, with the words of Jenkins' own matrix."""
    name = reply.headers.get("X-Required-Permission", "")[:100]
    if not name:
        return "a permission is missing"
    shown = re.sub(
        r"^hudson\.model\.(Hudson|Item)\.", lambda m: {"Hudson": "Overall/", "Item": "Job/"}[m[1]], name
    )
    return (
        f"the permission {shown} ({name}) is missing"
        if shown != name
        else f"the permission {name} is missing"
    )


def _thing(reply: Reply) -> str:
    """`job 'team/app'` for a request below a job, else the path."""
    path = urlsplit(reply.url).path.removesuffix("/api/json")
    steps = re.findall(r"/job/([^/]+)", path)
    if not steps:
        return f"page {path or '/'}"
    build = re.search(r"/job/[^/]+/(\d+)$", path)
    name = "/".join(unquote(unquote(step)) for step in steps)
    return f"build {name} #{build[1]}" if build else f"job '{name}'"


def _leads_to_login(reply: Reply) -> bool:
    path = urlsplit(reply.headers.get("Location", "")).path
    return path.endswith(("/login", "/securityRealm/commenceLogin"))
