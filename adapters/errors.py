"""What goes wrong between an adapter, its user and its remote, named by the consequence."""

from datetime import datetime
from typing import ClassVar


class BadHook(ValueError):
    """A webhook that cannot be understood; the text says what was expected."""


class BadTarget(ValueError):
    """A URL, parameter or credential kind that cannot work. `field` names it; the text says what would."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class AdapterError(Exception):
    """The remote let us down. Each subclass names the consequence; `kind` is the cause that users see.

    `message` says what happened, `hint` what to do about it. Neither ever holds a secret.
    """

    kind: ClassVar[str] = "unreadable"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint


class AuthFailed(AdapterError):
    """The remote does not know us: stop until a person changes the credential."""

    kind = "auth"
    default_hint = "Check the credential: it may be wrong, expired or revoked."


class Forbidden(AdapterError):
    """The remote knows us and says no: a permission is missing."""

    kind = "forbidden"
    default_hint = "Give the account permission to read this, or use another credential."


class NotFound(AdapterError):
    """What the URL names is not there, or is not shown to this account."""

    kind = "not_found"
    default_hint = "Check the URL, and that the account may see what it names."


class QueryRejected(AdapterError):
    """The remote understood our question and refuses it; asking again will not help."""

    kind = "rejected"
    default_hint = "Check the query (filter, JQL, parameters) of this connection."


class Unreadable(AdapterError):
    """The answer makes no sense: not what this endpoint answers, cut off, or too large."""

    kind = "unreadable"
    default_hint = "Check that the URL leads to the system itself and not to a login page or a proxy."


class TooLarge(Unreadable):
    """More bytes than we take at once: an adapter may ask for a smaller page."""


class TlsFailed(AdapterError):
    """No trusted encrypted connection could be made."""

    kind = "tls"
    default_hint = "Check the certificate of the remote; a private CA is named by TIDEGATE_CA_FILE."


class Blocked(AdapterError):
    """We refuse to go there: a private address that is not allowed, or a redirect elsewhere."""

    kind = "blocked"
    default_hint = "Private networks must be listed in TIDEGATE_ALLOW_NETWORKS."


class Later(AdapterError):
    """Not now. `retry_at` is when the remote says to come back, None if it does not say."""

    def __init__(self, message: str, retry_at: datetime | None = None, hint: str = "") -> None:
        super().__init__(message, hint)
        self.retry_at = retry_at


class Unavailable(Later):
    """The remote cannot be reached or is out of order: try again later."""

    kind = "unreachable"
    default_hint = "Check that the remote is up and reachable from here; Tidegate keeps trying."


class RateLimited(Later):
    """The remote, or our own politeness, asks us to wait."""

    kind = "rate_limited"
    default_hint = "Nothing to do: Tidegate goes on when the remote allows it."
