"""What Azure DevOps means by its refusals, sign-in pages included."""

import re
from html import unescape
from urllib.parse import unquote, urlsplit

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
from adapters.reply import Reply, retry_after

_LONGEST = 300
_VERSION_HINT = "Azure DevOps Services or Azure DevOps Server 2019 and later are needed."
_PROJECT_HINT = (
    "Check the project's name in the URL. A project that the account may not see looks the same: then make "
    "the account a member of the project."
)
_PLACE_HINT = (
    "Check the organization or collection in the URL: one that was renamed, deleted or disabled looks the "
    "same as one that never was."
)
_POLICY_HINT = (
    "A conditional access policy of the Microsoft Entra tenant keeps this account out: its administrator "
    "must except the account, or the address that requests of Tidegate come from."
)
_WINDOWS_HINT = (
    "This server takes only Windows sign-in (NTLM or Kerberos) here: use a personal access token (kind pat), "
    "or switch on Basic authentication over HTTPS at the server."
)
_EXPIRED_HINT = "The personal access token has expired: make a new one and store it."
_ACCESS_HINT = (
    "The account is known but has no access here: an administrator must add it to the organization with at "
    "least Stakeholder access, and to the projects that are to be read."
)
_VERSION = re.compile(r"\b\d{1,2}\.\d\b")
_TITLE = re.compile(rb"<title>(.{1,1000}?)</title>", re.IGNORECASE | re.DOTALL)


class TooManyItems(QueryRejected):
    """A query matched more work items than the remote lists at once (VS402337)."""


class VersionRefused(QueryRejected):
    """The API version we asked for is too new here. `newest` is what the remote says it knows."""

    def __init__(self, message: str, newest: str | None) -> None:
        super().__init__(message, _VERSION_HINT)
        self.newest = newest


class Unaccepted(AuthFailed):
    """A 401 that does not say why: the credential is no good, or it lacks a scope."""


class _Said(msgspec.Struct, rename={"type_key": "typeKey"}):
    """The error envelope; `typeKey` is stable, the message is localised."""

    message: str = ""
    type_key: str = ""


def judge(reply: Reply) -> AdapterError | None:
    """The error that an answer is, or None if it can be read.

    A bad token mostly brings a sign-in page (302, or 203 and even 200 with HTML), not a 401. An
    `AuthFailed` without a hint of its own gets one from who knows the credential.
    """
    if reply.status < 400:
        return _sign_in(reply)
    said = _said(reply)
    text = _sentence(said.message) or f"{reply.summary}."
    if reply.status == 429 or "TF400733" in said.message:
        return RateLimited(text, retry_after(reply, reply.sent_at))
    if reply.status >= 500:
        return Unavailable(text, retry_after(reply, reply.sent_at))
    # Seen quoted by users, as JSON and as the title of a page.
    if "VS403463" in said.message:
        return Forbidden(text, _POLICY_HINT)
    match reply.status:
        case 401:
            return _unauthorized(reply, said, text)
        case 403:
            return Forbidden(text, _ACCESS_HINT if "TF400813" in said.message else "")
        case 404 if said.type_key.startswith("ProjectDoesNotExist"):
            return NotFound(text, _PROJECT_HINT)
        case 404:
            return NotFound(text, "" if said.message else _PLACE_HINT)
        case 400:
            return _bad_request(said, text)
        case _:
            return None


def _sign_in(reply: Reply) -> AuthFailed | None:
    """A redirect to sign-in, or a web page in place of data."""
    where = urlsplit(reply.url)
    if reply.status in (302, 303, 307):
        to = urlsplit(reply.headers.get("Location", ""))
        elsewhere = bool(to.hostname) and to.hostname != where.hostname
        if to.path and not elsewhere and not re.search("sign-?in|login", to.path, re.IGNORECASE):
            # A server that moved by itself, such as to https: no matter of credentials.
            return None
    elif reply.status != 203 and not (reply.status == 200 and not reply.is_json and _is_page(reply)):
        return None
    return AuthFailed(f"{where.netloc} answered with its sign-in page: it does not accept the credential.")


def _is_page(reply: Reply) -> bool:
    kind = reply.headers.get("Content-Type", "").lower()
    return kind.startswith("text/") or "html" in kind or reply.body[:64].lstrip().startswith(b"<")


def _unauthorized(reply: Reply, said: _Said, text: str) -> AdapterError:
    if "TF400813" in said.message:
        return Forbidden(text, _ACCESS_HINT)
    if said.type_key == "AccessCheckException" and "expired" in said.message.lower():
        return AuthFailed(text, _EXPIRED_HINT)
    offers = " ".join(reply.headers.getall("WWW-Authenticate", [])).lower()
    if ("ntlm" in offers or "negotiate" in offers) and not ("basic" in offers or "bearer" in offers):
        return AuthFailed(f"{reply.summary}: the credential is not accepted.", _WINDOWS_HINT)
    return Unaccepted(text if said.message else f"{reply.summary}: the credential is not accepted.")


def _bad_request(said: _Said, text: str) -> AdapterError:
    if "VS402337" in said.message:
        return TooManyItems(text)
    if "VS402335" in said.message:
        # The query ran out of the remote's own time, which is about load and not about the question.
        return Unavailable(text)
    if said.type_key == "VssVersionOutOfRangeException":
        named = _VERSION.findall(said.message)
        return VersionRefused(text, named[-1] if len(named) > 1 else None)
    if said.type_key == "VssVersionNotSpecifiedException":
        return QueryRejected(text, _VERSION_HINT)
    return QueryRejected(text)


def _said(reply: Reply) -> _Said:
    """The vendor's own words: from the envelope, the service error header, plain text or a page's title."""
    try:
        said = msgspec.json.decode(reply.body, type=_Said) if reply.is_json else _Said()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        said = _Said()
    if said.message:
        return said
    if header := unquote(reply.headers.get("X-TFS-ServiceError", "")):
        return _Said(header, said.type_key)
    kind = reply.headers.get("Content-Type", "")
    if kind.startswith("text/plain"):
        return _Said(reply.body[: 4 * _LONGEST].decode(errors="replace"), said.type_key)
    title = _TITLE.search(reply.body[:8192]) if "html" in kind else None
    # Titles without a code of the vendor say no more than the status does.
    words = unescape(title[1].decode(errors="replace")) if title else ""
    return _Said(words if re.search(r"\b(?:TF|VS)\d{5,6}\b", words) else "", said.type_key)


def _sentence(message: str) -> str:
    return " ".join(message.split())[:_LONGEST]
