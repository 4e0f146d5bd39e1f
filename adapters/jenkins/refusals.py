"""What an answer of Jenkins means that brings no data: whom it takes us for, and what a person can do."""

import re
from urllib.parse import unquote, urljoin, urlsplit

from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    QueryRejected,
    Unavailable,
    Unreadable,
)
from adapters.http import Reply, origin_of, retry_after

USE_BASIC = "Jenkins wants a user name with an API token of that user (credential kind basic)."
_RENEW = (
    "Check the user name and the API token: it may be wrong or revoked. The user makes a new one in Jenkins "
    "under Security > API Token."
)
_ADD_CREDENTIAL = (
    "Add a credential: a user name with an API token of that user; or give anonymous {permission}."
)
_NOT_JENKINS = (
    "Check that the URL leads to Jenkins itself, with its context path and with job/ before each name, and "
    "that no proxy in front of it takes the header X-Jenkins away."
)
_ENCODED_SLASH = "A proxy in front of Jenkins must pass encoded slashes (%2F) on unchanged."
_LOGIN = (
    "A login page is for people. Use a user name with an API token made in Jenkins (credential kind basic), "
    "and let a proxy that asks for a login pass /api/json on."
)
_NO_CRUMB = "Use an API token instead of the password, and let no proxy change the request."
_NOT_SEEN = "Check the URL, and that {who} has Job/Read there: Jenkins answers the same for what is hidden."
_AFTER_START = "Nothing to do: Tidegate goes on when Jenkins has started. If that takes long, see its log."
_BEHIND = "Check that Jenkins is running and that the proxy in front of it reaches it; Tidegate keeps trying."

_LOGIN_WORDS = re.compile(
    r"(?:^|[/._-])(?:commencelogin|log-?in|sign-?_?in|logon|sso|saml2?|oauth2?|openid-connect|authorize|idp|adfs)"
    r"(?:$|[/._?-])",
    re.IGNORECASE,
)
_LOGIN_FORMS = re.compile(
    rb"""type=["']?password|SAMLRequest|j_(?:spring|acegi)_security_check|/securityRealm/commenceLogin"""
)
_STARTING = re.compile(rb"getting ready to work|Starting Jenkins|Jenkins is restarting", re.IGNORECASE)
_PERMISSION = re.compile(r"hudson\.model\.(Hudson|Item|View|Run)\.(\w+)")
_GROUPS = {"Hudson": "Overall", "Item": "Job", "View": "View", "Run": "Run"}


class LoginAsked(AuthFailed):
    """A login page instead of an answer. Some pages send those there, too, who only lack a permission."""


class LoginOnTheWay(Forbidden):
    """A login page for somebody whom Jenkins knows: it keeps us out, and proves nothing of what is there."""


class NotFoundUnsigned(NotFound):
    """A 404 that does not say that it is Jenkins': older ones and the proxy in front answer alike."""


class Asker:
    """Who asks, as far as it changes what a refusal means."""

    def __init__(self, *, anonymous: bool, basic: bool) -> None:
        self.anonymous = anonymous
        self._basic = basic

    def judge(self, reply: Reply) -> AdapterError | None:
        """The error that an answer stands for; None if it brings data, or if HTTP itself explains it."""
        jenkins = "X-Jenkins" in reply.headers
        match reply.status:
            case 200:
                return self._page(reply, jenkins=jenkins)
            case 400:
                return QueryRejected(f"{reply.summary}: the address is rejected.", _ENCODED_SLASH)
            case 401:
                return self._unknown(reply)
            case 403:
                return self._refused(reply)
            case 404 if jenkins:
                return self._not_found(reply)
            case 404:
                return NotFoundUnsigned(f"{reply.summary} without X-Jenkins.")
            case status if 300 <= status < 400 and (place := _login_place(reply)):
                return self._login(reply, f"sends us to the login page {place}")
            case 500 | 502 | 503 | 504:
                return _out_of_order(reply, jenkins=jenkins)
            case _:
                return None

    def not_found(self, reply_url: str) -> NotFound:
        """Said by a Jenkins that has proved to be one."""
        return NotFound(
            f"Jenkins has no {_thing(reply_url)} that {self._who} may see.", _NOT_SEEN.format(who=self._who)
        )

    def no_jenkins(self, summary: str) -> Unreadable:
        return Unreadable(f"{summary} without X-Jenkins: this is no Jenkins.", _NOT_JENKINS)

    def forbidden(
        self, reply_url: str, account: str, permission: str, kind: type[Forbidden] = Forbidden
    ) -> Forbidden:
        thing = _thing(reply_url)
        return kind(
            f"{account or 'The account'} may not read {thing}: {permission}.",
            f"In Jenkins, give {account or 'the account'} {_short(permission)} on {thing}.",
        )

    @property
    def _who(self) -> str:
        return "an anonymous visitor" if self.anonymous else "this account"

    def _not_found(self, reply: Reply) -> NotFound:
        error = self.not_found(reply.url)
        path = _path(reply.url)
        if path.count("/") and "/job/" not in path and "/view/" not in path:
            error.hint = f"Write job/ before each name of a path: /job/team/job/app. {error.hint}"
        elif "%25" in path:
            error.hint = f"{error.hint} {_ENCODED_SLASH}"
        return error

    def _page(self, reply: Reply, *, jenkins: bool) -> AdapterError | None:
        if reply.is_json:
            return None if jenkins else self.no_jenkins(reply.summary)
        if _LOGIN_FORMS.search(reply.body):
            return self._login(reply, "shows a login page")
        if not jenkins:
            return self.no_jenkins(reply.summary)
        return Unreadable(f"{reply.summary} with a web page instead of JSON.", _NOT_JENKINS)

    def _login(self, reply: Reply, does: str) -> AdapterError:
        said = f"What answers at {_path(reply.url) or '/'} {does} although a credential was sent."
        if self.anonymous:
            said = f"What answers at {_path(reply.url) or '/'} {does}: anonymous visitors are not let in."
            return Forbidden(said, _ADD_CREDENTIAL.format(permission=_presumed(reply)))
        return LoginAsked(said, _LOGIN)

    def _unknown(self, reply: Reply) -> AuthFailed:
        """A 401. Jenkins leaves it to its servlet container, so that X-Jenkins is missing there."""
        by_jenkins = (
            "X-Jenkins" in reply.headers
            or 'realm="jenkins"' in reply.headers.get("WWW-Authenticate", "").lower()
            or b"Invalid password/token" in reply.body
        )
        if not by_jenkins:
            return AuthFailed(
                f"What stands in front of Jenkins refuses the credential ({reply.summary}).",
                "A proxy there wants a login of its own; let it pass requests with a Jenkins credential on.",
            )
        if self._basic:
            return AuthFailed(f"Jenkins refuses the user name or API token ({reply.summary}).", _RENEW)
        return AuthFailed(f"Jenkins refuses the credential ({reply.summary}).", USE_BASIC)

    def _refused(self, reply: Reply) -> AdapterError:
        """A 403: whom Jenkins takes us for, and the missing permission."""
        headers = reply.headers
        if b"No valid crumb" in reply.body:
            return Forbidden(
                f"{reply.summary}: Jenkins asks for a crumb, which reading needs none.", _NO_CRUMB
            )
        signs = ("X-Jenkins", "X-Required-Permission", "X-You-Are-Authenticated-As")
        if not any(sign in headers for sign in signs):
            return Forbidden(
                f"{reply.summary}, and not by Jenkins: something in front of it refuses.", _BEHIND
            )
        account = headers.get("X-You-Are-Authenticated-As", "")[:100]
        permission = _permission(reply)
        if self.anonymous:
            return Forbidden(
                f"Jenkins does not show {_thing(reply.url)} to anonymous visitors: {permission}.",
                _ADD_CREDENTIAL.format(permission=_short(permission)),
            )
        if account == "anonymous":
            return AuthFailed(
                f"Jenkins takes us for anonymous although a credential was sent: {permission}.", USE_BASIC
            )
        return self.forbidden(reply.url, account, permission)


def _out_of_order(reply: Reply, *, jenkins: bool) -> Unavailable | None:
    """Pages of a Jenkins that starts or fails, and of a proxy that does not reach it."""
    at = retry_after(reply, reply.sent_at)
    if _STARTING.search(reply.body):
        return Unavailable("Jenkins is starting.", at, _AFTER_START)
    if reply.status == 500:
        logged = re.search(rb"Logging ID=([0-9a-f-]{8,40})", reply.body)
        entry = f" (Logging ID={logged[1].decode()} in its log)" if logged else ""
        return Unavailable(f"Jenkins failed on {_thing(reply.url)}: {reply.summary}{entry}.", at)
    if jenkins:
        return None
    return Unavailable(f"What stands in front of Jenkins does not reach it ({reply.summary}).", at, _BEHIND)


def _permission(reply: Reply) -> str:
    """The permission as the headers of a refusal name it, with the words of Jenkins' own matrix.

    Who may only discover a job (Job/Discover) is refused without any name.
    """
    name = reply.headers.get("X-Required-Permission", "")[:100]
    if not name:
        return f"the permission {_presumed(reply)} is missing"
    found = _PERMISSION.fullmatch(name)
    if found is None:
        return f"the permission {name} is missing"
    return f"the permission {_GROUPS[found[1]]}/{found[2]} ({name}) is missing"


def _presumed(reply: Reply) -> str:
    path = _path(reply.url)
    if "/job/" in path:
        return "Job/Read"
    return "View/Read" if "/view/" in path else "Overall/Read"


def _short(permission: str) -> str:
    """`Job/Read` of `the permission Job/Read (hudson.model.Item.Read) is missing`."""
    return permission.removeprefix("the permission ").partition(" ")[0]


def _path(url: str) -> str:
    return urlsplit(url).path.removesuffix("/api/json")


def _thing(url: str) -> str:
    """`job 'team/app'` for a request below a job, else the view or the page."""
    path = _path(url)
    steps = re.findall(r"/job/([^/]+)", path)
    views = re.findall(r"/view/([^/]+)", path)
    if views and not path.rpartition("/view/")[2].count("/job/"):
        return f"view '{'/'.join(map(unquote, views))}'"
    if not steps:
        return f"page {path or '/'}"
    build = re.search(r"/job/[^/]+/(\d+)$", path)
    name = "/".join(unquote(unquote(step)) for step in steps)
    return f"build {name} #{build[1]}" if build else f"job '{name}'"


def _login_place(reply: Reply) -> str:
    """Host and path of the login page that an answer redirects to, "" if it leads elsewhere."""
    asked = urlsplit(reply.url)
    try:
        to = urlsplit(urljoin(reply.url, reply.headers.get("Location", "")[:2000]))
        outside = origin_of(to.geturl()) != origin_of(reply.url)
    except (ValueError, AdapterError):
        return ""
    if to.path.rstrip("/") == asked.path.rstrip("/"):
        return ""
    place = (to.hostname or "" if outside else "") + to.path
    return place[:100] if _LOGIN_WORDS.search(place) else ""
