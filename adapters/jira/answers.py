"""What Jira's answers mean: its traps as the error that names the consequence."""

import msgspec

from adapters.base import (
    AdapterError,
    AuthFailed,
    Forbidden,
    NotFound,
    QueryRejected,
    RateLimited,
)
from adapters.http import Reply, retry_after

_MESSAGE_MOST = 300
_LOGIN = "X-Seraph-LoginReason"

_CREDENTIAL_HINT = (
    "Jira Cloud takes an API token with kind basic and the account's e-mail address as user name. A token "
    "with scopes works only at https://api.atlassian.com/ex/jira/{cloudId}; use that as the URL, or a "
    "token without scopes. Otherwise it may be wrong, expired or revoked."
)


class _Complaint(msgspec.Struct, rename="camel"):
    error_messages: list[str] | None = None
    errors: dict[str, str] | None = None
    error_message: str | None = None
    message: str | None = None


def judge(reply: Reply, *, anonymous: bool = False) -> AdapterError | None:
    """The error in an answer of any Jira endpoint, None where the status alone tells.

    Endpoints that also serve the public answer a refused credential with an empty 200 and only a header
    that says so; that header counts on every status.
    """
    if not anonymous and (refused := _refused(reply)):
        return refused
    said = complaint(reply)
    match reply.status:
        case 400 if not anonymous and "anonymous users" in said:
            return AuthFailed(
                f"Jira did not take the credential and answered as to a stranger: {said}", _CREDENTIAL_HINT
            )
        case 400:
            return QueryRejected(f"Jira refuses the query: {said or reply.summary}")
        case 401:
            return AuthFailed(f"Jira does not accept the credential ({reply.summary}).", _CREDENTIAL_HINT)
        case 403:
            return Forbidden(f"Jira says no: {said or reply.summary}")
        case 404 if reply.is_json:
            return NotFound(f"Jira finds nothing there: {said or reply.summary}")
        case 404:
            return NotFound(
                f"{reply.summary} with a page instead of data.",
                "Check that the URL is the address of the Jira site, without a path that is not part of it.",
            )
        case 410:
            return QueryRejected(
                f"Jira no longer offers this interface: {said or reply.summary}", "Update Tidegate."
            )
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


def _refused(reply: Reply) -> AuthFailed | None:
    reasons = {
        part.strip().upper() for value in reply.headers.getall(_LOGIN, []) for part in value.split(",")
    }
    if "AUTHENTICATION_DENIED" in reasons or "X-Authentication-Denied-Reason" in reply.headers:
        return AuthFailed(
            "Jira wants a captcha solved before it accepts this account again.",
            "Log in once in the browser with this account, then test the connection.",
        )
    if reasons - {"OK", ""}:
        return AuthFailed(
            "Jira did not accept the credential and answers as to a stranger.", _CREDENTIAL_HINT
        )
    return None


def _limited(reply: Reply) -> RateLimited:
    """Which of Jira's several limits it was, for whoever reads the sync's error."""
    reason = reply.headers.get("RateLimit-Reason", "")[:60]
    told = f" ({reason})" if reason else ""
    return RateLimited(f"Jira limits our requests{told}.", retry_after(reply, reply.sent_at))
