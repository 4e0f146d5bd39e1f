"""What Jira's answers mean: its traps as the error that names the consequence."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    QueryRejected,
    RateLimited,
    Unavailable,
)
from adapters.http import Http, Reply, retry_after
from adapters.jira import hints

Product = Literal["cloud", "datacenter"]

_MESSAGE_MOST = 300
_PAGE_LOOKED_AT = 20_000
_LOGIN = "X-Seraph-LoginReason"
_DENIED = "X-Authentication-Denied-Reason"

# Where a login page, a single sign-on or a Jira under maintenance sends those who ask.
_TO_LOGIN = re.compile(r"log-?in|sign-?in|sso|saml|adfs|/oauth2?/|/authorize", re.IGNORECASE)
_TO_MAINTENANCE = re.compile(r"johnson|errors\.jsp|maintenance|/startup", re.IGNORECASE)
# Members of Jira's own login form.
_LOGIN_FORM = re.compile(rb"os_username|id=\"login-form|name=\"loginform", re.IGNORECASE)
_BASIC_OFF = re.compile(rb"basic auth", re.IGNORECASE)


class _Complaint(msgspec.Struct, rename="camel"):
    error_messages: list[str] | None = None
    errors: dict[str, str] | None = None
    error_message: str | None = None
    message: str | None = None


def judging(http: Http, product: Product | None) -> Callable[[Reply], AdapterError | None]:
    """The judge of all answers that come to `http`; `product` is None where it is not known yet."""
    credential = hints.credential(http.auth, product, gateway="/ex/jira/" in f"{urlsplit(http.base).path}/")

    def judge(reply: Reply) -> AdapterError | None:
        return _judged(reply, credential, anonymous=http.anonymous)

    return judge


def _judged(reply: Reply, credential: str, *, anonymous: bool) -> AdapterError | None:
    """The error in an answer of any Jira endpoint, None where the status alone tells.

    Endpoints that also serve the public answer a refused credential with an empty 200 and only a header
    that says so; that header counts on every status.
    """
    if not anonymous and (refused := _refused(reply, credential)):
        return refused
    match reply.status:
        case 200:
            return _login_page(reply, credential)
        case 301 | 302 | 303 | 307 | 308:
            return _sent_away(reply, credential)
        case 400:
            return _bad_request(reply, credential, anonymous=anonymous)
        case 401:
            return _unknown(reply, credential, anonymous=anonymous)
        case 403:
            return _denied(reply)
        case 404:
            return _nothing_there(reply)
        case 410:
            said = complaint(reply) or reply.summary
            return QueryRejected(f"Jira no longer offers this interface: {said}", "Update Tidegate.")
        case 429:
            return _limited(reply)
        case _:
            return None


def complaint(reply: Reply) -> str:
    """Jira's own messages in one line, "" where the answer holds none."""
    if not reply.is_json or reply.status == 200:
        return ""
    try:
        told = msgspec.json.decode(reply.body, type=_Complaint)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    fields = [f"{field}: {message}" for field, message in (told.errors or {}).items()]
    lines = [*(told.error_messages or ()), *fields, told.error_message or "", told.message or ""]
    text = " ".join(" ".join(line.split()) for line in lines if line.strip())
    return text if len(text) <= _MESSAGE_MOST else text[: _MESSAGE_MOST - 1] + "…"


def _refused(reply: Reply, credential: str) -> AuthFailed | None:
    """By the headers alone: they come with every status, 200 among them."""
    reasons = {
        part.strip().upper() for value in reply.headers.getall(_LOGIN, []) for part in value.split(",")
    }
    if "AUTHENTICATION_DENIED" in reasons or _DENIED in reply.headers:
        return AuthFailed(
            "Jira wants a captcha solved before it accepts this account again: too many logins failed.",
            hints.CAPTCHA,
        )
    if reasons - {"OK", ""}:
        return AuthFailed("Jira did not accept the credential and answers as to a stranger.", credential)
    return None


def _login_page(reply: Reply, credential: str) -> AuthFailed | None:
    if reply.is_json or not _LOGIN_FORM.search(reply.body[:_PAGE_LOOKED_AT]):
        return None
    return AuthFailed(f"{reply.summary} with Jira's login page instead of data.", credential)


def _sent_away(reply: Reply, credential: str) -> AdapterError | None:
    location = reply.headers.get("Location", "").partition("?")[0]
    if _TO_LOGIN.search(location):
        return AuthFailed(
            f"{reply.summary}: it sends us to a login page instead of answering.",
            f"{credential} {hints.SINGLE_SIGN_ON}",
        )
    if _TO_MAINTENANCE.search(location):
        return Unavailable(f"{reply.summary}: Jira is starting or under maintenance.")
    return None


def _bad_request(reply: Reply, credential: str, *, anonymous: bool) -> AdapterError:
    said = complaint(reply)
    if not anonymous and "anonymous users" in said:
        return AuthFailed(
            f"Jira did not take the credential and answered as to a stranger: {said}", credential
        )
    return QueryRejected(f"Jira refuses the query: {said or reply.summary}", hints.query(anonymous=anonymous))


def _unknown(reply: Reply, credential: str, *, anonymous: bool) -> AdapterError:
    said = complaint(reply)
    if "scope" in said.lower():
        scope = hints.scope_of(reply.url)
        return Forbidden(
            f"The token lacks the scope {scope} ({reply.summary}: {said}).", hints.missing_scope(scope)
        )
    if anonymous:
        return AuthFailed(f"Jira lets nobody in without a credential ({reply.summary}).", hints.STRANGER)
    return AuthFailed(f"Jira does not accept the credential ({reply.summary}).", credential)


def _denied(reply: Reply) -> AdapterError:
    if _BASIC_OFF.search(reply.body[:_PAGE_LOOKED_AT]):
        return AuthFailed("This Jira takes no user name with password or token (basic).", hints.BASIC_OFF)
    if reply.is_json:
        return Forbidden(f"Jira says no: {complaint(reply) or reply.summary}", hints.PERMISSION)
    return Forbidden(f"Jira says no: {reply.summary} with a page instead of data.", hints.FORBIDDEN_PAGE)


def _nothing_there(reply: Reply) -> NotFound:
    if reply.is_json:
        return NotFound(f"Jira finds nothing there: {complaint(reply) or reply.summary}")
    return NotFound(f"{reply.summary} with a page instead of data.", hints.WRONG_ADDRESS)


def _limited(reply: Reply) -> RateLimited:
    """Which of Jira's several limits it was, for whoever reads the sync's error.

    Data Center may name only the seconds after which its bucket is filled up (vendor's documentation).
    """
    reason = reply.headers.get("RateLimit-Reason", "")[:60]
    told = f" ({reason})" if reason else ""
    until = retry_after(reply, reply.sent_at)
    interval = reply.headers.get("X-RateLimit-Interval-Seconds", "")
    if until is None and interval.isascii() and interval.isdigit():
        until = reply.sent_at + timedelta(seconds=min(int(interval), 3600))
    return RateLimited(f"Jira limits our requests{told}.", until)
