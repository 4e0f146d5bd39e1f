"""Lists that come in pages, with the token of the next page in a header."""

from adapters.base import Unreadable
from adapters.reply import Reply

# The vendor's clients read it there, and nowhere else (reported by users); what it says is opaque.
_TOKEN = "x-ms-continuationtoken"  # noqa: S105 - the name of a header
_EMPTY_PAGES = 10


def next_token(reply: Reply) -> str:
    """What to ask the next page with; empty if this is the last."""
    return reply.headers.get(_TOKEN, "")


class Patience:
    """Ends a walk that a remote leads in circles: a token that comes again, or empty pages without end."""

    def __init__(self, host: str, what: str, token: str) -> None:
        """`token` is the one that the walk begins with, empty for none."""
        self._host = host
        self._what = what
        self._tokens = {token}
        self._empty = 0

    def spend(self, token: str, found: int) -> None:
        """Take note of a page of `found` and the token it came with. Raises `Unreadable` at the end."""
        if not token:
            return
        if token in self._tokens:
            raise Unreadable(f"{self._host} gave the same continuation token for {self._what} twice.")
        self._tokens.add(token)
        self._empty = 0 if found else self._empty + 1
        if self._empty >= _EMPTY_PAGES:
            raise Unreadable(f"{self._host} lists {self._what} in empty pages without end.")
