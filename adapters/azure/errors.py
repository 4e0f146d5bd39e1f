"""What Azure DevOps means by its refusals, sign-in pages included."""

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
_CREDENTIAL_HINT = (
    "Give a personal access token of this very organisation that is valid, not expired, and may read "
    "projects and work items; tokens for all organisations are no longer accepted."
)
_VERSION_HINT = "Azure DevOps Services or Azure DevOps Server 2022.1 and later are needed."


class TooManyItems(QueryRejected):
    """A query matched more work items than the remote lists at once (VS402337)."""


class _Said(msgspec.Struct, rename={"type_key": "typeKey"}):
    """The error envelope; `typeKey` is stable, the message is localised."""

    message: str = ""
    type_key: str = ""


def judge(reply: Reply) -> AdapterError | None:
    """The error that an answer is, or None if it can be read.

    A bad token mostly brings a sign-in page (302, or 203 and even 200 with HTML), not a 401.
    """
    if reply.status in (200, 203, 302, 303, 307):
        return _sign_in(reply)
    if reply.status < 400:
        return None
    said = _said(reply)
    text = _sentence(said.message) or f"{reply.summary}."
    if reply.status == 429 or "TF400733" in said.message:
        return RateLimited(text, retry_after(reply, reply.sent_at))
    if reply.status >= 500:
        return Unavailable(text, retry_after(reply, reply.sent_at))
    match reply.status:
        case 401:
            return _unauthorized(reply, said, text)
        case 403:
            return Forbidden(text)
        case 404 if said.type_key.startswith("ProjectDoesNotExist"):
            return NotFound(
                text,
                "Check the project's name; a project that the account may not see looks the same.",
            )
        case 404:
            return NotFound(text)
        case 400:
            return _bad_request(said, text)
        case _:
            return None


def _sign_in(reply: Reply) -> AuthFailed | None:
    """A redirect to sign-in, or a web page in place of data."""
    if reply.status == 200 and (reply.is_json or not _is_page(reply)):
        return None
    where = urlsplit(reply.url).netloc
    return AuthFailed(
        f"{where} answered with its sign-in page: it does not accept the credential.", _CREDENTIAL_HINT
    )


def _is_page(reply: Reply) -> bool:
    kind = reply.headers.get("Content-Type", "").lower()
    return kind.startswith("text/") or "html" in kind or reply.body[:64].lstrip().startswith(b"<")


def _unauthorized(reply: Reply, said: _Said, text: str) -> AdapterError:
    if "TF400813" in said.message:
        return Forbidden(text, "The account is known but has no access to this organisation.")
    if said.type_key == "AccessCheckException" and "expired" in said.message.lower():
        return AuthFailed(text, "The personal access token has expired: make a new one and store it.")
    return AuthFailed(
        text if said.message else f"{reply.summary}: the credential is not accepted.", _CREDENTIAL_HINT
    )


def _bad_request(said: _Said, text: str) -> AdapterError:
    if "VS402337" in said.message:
        return TooManyItems(text)
    if "VS402335" in said.message:
        # The query ran out of the remote's own time, which is about load and not about the question.
        return Unavailable(text)
    if said.type_key in ("VssVersionOutOfRangeException", "VssVersionNotSpecifiedException"):
        return QueryRejected(text, _VERSION_HINT)
    return QueryRejected(text)


def _said(reply: Reply) -> _Said:
    """The vendor's own words: from the envelope, the service error header, or plain text."""
    try:
        said = msgspec.json.decode(reply.body, type=_Said) if reply.is_json else _Said()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        said = _Said()
    if said.message:
        return said
    header = unquote(reply.headers.get("X-TFS-ServiceError", ""))
    plain = reply.headers.get("Content-Type", "").startswith("text/plain")
    body = reply.body[: 4 * _LONGEST].decode(errors="replace") if plain else ""
    return _Said(header or body, said.type_key)


def _sentence(message: str) -> str:
    return " ".join(message.split())[:_LONGEST]
