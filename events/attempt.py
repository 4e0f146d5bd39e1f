"""One attempt to deliver an event: signed, posted, and what came of it."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from adapters.base import AdapterError
from adapters.http import Reply
from adapters.outgoing import Post
from config.secret import MASK
from config.vault import Vault, VaultError
from events import signature
from events.schedule import retry_after
from store import subscriptions
from store.health import Problem
from store.subscriptions import Sealed

MEDIA = "application/cloudevents+json"
#: Characters of an answer that are kept.
EXCERPT = 1024

#: `away` is of the endpoint, whatever it is sent; `refused` of this one event; `gone` for good.
Verdict = Literal["delivered", "away", "refused", "gone"]
_AWAY = (408, 425, 429)


class Outcome(msgspec.Struct, frozen=True):
    """What came of an attempt. Without a `status` no answer came."""

    at: datetime
    ended_at: datetime
    verdict: Verdict
    milliseconds: int
    status: int | None = None
    error: Problem | None = None
    excerpt: str | None = None
    asked: timedelta | None = None

    @property
    def row(self) -> dict[str, object]:
        """As an attempt is stored."""
        error = None if self.error is None else self.error.message
        return {
            "at": self.at,
            "status": self.status,
            "milliseconds": self.milliseconds,
            "error": error,
            "excerpt": self.excerpt,
        }


def open_secrets(vault: Vault, subscription_id: int, sealed: Sealed, now: datetime) -> Sequence[str]:
    """The secrets that sign now, the newest first. Raises `VaultError`."""
    secrets = [vault.open(sealed.secret, subscriptions.place(subscription_id))]
    if sealed.old_secret is not None and sealed.old_until is not None and sealed.old_until > now:
        secrets.append(vault.open(sealed.old_secret, subscriptions.old_place(subscription_id)))
    return secrets


class Courier:
    """Delivers to the subscriptions' endpoints; the same for what is sent by itself and by hand."""

    def __init__(self, post: Post, vault: Vault, clock: Callable[[], datetime]) -> None:
        self._post = post
        self._vault = vault
        self.clock = clock

    async def deliver(self, subscription_id: int, url: str, sealed: Sealed, uid: str, body: bytes) -> Outcome:
        """Make one attempt. Whatever goes wrong is in the outcome."""
        at, began = self.clock(), time.monotonic()
        try:
            secrets = open_secrets(self._vault, subscription_id, sealed, at)
        except VaultError as e:
            hint = "Give the key that it was sealed with, or rotate the secret of this subscription."
            return Outcome(at, at, "away", 0, error=Problem("secret", f"It cannot be signed: {e}.", hint))
        headers = {**signature.headers(secrets, uid, at, body), "Content-Type": MEDIA, "Accept": "*/*"}
        try:
            reply = await self._post(url, body, headers)
        except AdapterError as e:
            error = Problem(e.kind, e.message, e.hint)
            return Outcome(at, self.clock(), "away", _since(began), error=error)
        verdict, problem = judge(reply, urlsplit(url).hostname or "The endpoint")
        return Outcome(
            at=at,
            ended_at=self.clock(),
            verdict=verdict,
            milliseconds=_since(began),
            status=reply.status,
            error=problem,
            excerpt=_excerpt(reply, secrets),
            asked=None if verdict == "delivered" else retry_after(reply, at),
        )


def judge(reply: Reply, host: str) -> tuple[Verdict, Problem | None]:
    """What an answer means for the event, and for those after it."""
    status = reply.status
    said = f"{host} answered {status}."
    if 200 <= status < 300:
        return "delivered", None
    if status == 410:
        return "gone", Problem("gone", said, "It wants no more; switch the subscription on to try again.")
    if 300 <= status < 400:
        hint = "Redirects are not followed: give the address that it leads to."
        return "away", Problem("redirected", said, hint)
    if status == 429:
        return "away", Problem("rate_limited", said, "Nothing to do: it is sent again when it may be.")
    if status in _AWAY or not 400 <= status < 500:
        return "away", Problem("unreachable", said, "See why the endpoint fails; it is sent again by itself.")
    hint = "See in the endpoint's log why it refuses this event; it is sent again by itself."
    return "refused", Problem("rejected", said, hint)


def _excerpt(reply: Reply, secrets: Sequence[str]) -> str | None:
    """The beginning of an answer as text that any database holds, without our secrets."""
    text = reply.body[: 4 * EXCERPT].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    for secret in secrets:
        text = text.replace(secret, MASK).replace(secret.removeprefix(signature.PREFIX), MASK)
    return text[:EXCERPT] or None


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
