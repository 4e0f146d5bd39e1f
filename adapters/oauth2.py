"""OAuth 2.0 (RFC 6749): access tokens for client credentials or a refresh token, and why there is none."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import quote_plus

import msgspec
from yarl import URL

from adapters.auth import MASK, Anonymous, Auth, Basic, Bearer
from adapters.base import AdapterError, AuthFailed, Unavailable, Unreadable
from adapters.http import Http, Limits
from adapters.reply import Reply, decode

#: A token endpoint answers quickly or not at all, and shortly.
LIMITS = Limits(connect=5.0, read=10.0, total=12.0, body=256 * 1024, parallel=2)
#: Seconds that a token is taken to live if its issuer does not say.
UNSTATED = 3600.0
_LIVES_MOST = 86_400.0
_SAID_MOST = 300

#: A client for the token endpoint, with this credential.
Door = Callable[[Auth], Http]


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a token, and with what; made for the moment of the request."""

    token_url: str
    client_id: str
    scope: str | None
    secret: str | None
    refresh_token: str | None

    def __repr__(self) -> str:
        return f"<Client {self.client_id}>"


class Granted(msgspec.Struct, frozen=True):
    """A token and the seconds it lives. A `refresh_token` takes the place of the one that was used."""

    access_token: str
    lives: float
    refresh_token: str | None

    def __repr__(self) -> str:
        return f"<Granted for {self.lives:.0f} s>"


class Token(msgspec.Struct, frozen=True):
    """A token that is good until `due`, when it is to be renewed. It is revealed for a request only."""

    reveal: Callable[[], str]
    due: datetime


class Tokens(Protocol):
    """Where tokens are kept, and fetched by one process at a time."""

    async def usable(self, refused: str | None = None) -> Token:
        """A token that is not due and not `refused`, fetched if there is none. Raises `AdapterError`."""


class OAuth2(Bearer):
    """A bearer whose token is fetched, and renewed before its end or once when the remote refuses it."""

    def __init__(self, tokens: Tokens, clock: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._token: Token | None = None
        self._renewed = False
        self._lock = asyncio.Lock()

    async def header(self) -> str:
        """Raises what keeps us from a token: `AuthFailed`, `Unavailable`, `RateLimited`, ..."""
        async with self._lock:
            if self._token is None or self._clock() >= self._token.due:
                self._token = await self._tokens.usable()
            return "Bearer " + self._token.reveal()

    async def renew(self, refused: str) -> bool:
        """False if a renewed token is refused again: then it is not the token's age."""
        async with self._lock:
            if self._token is not None and "Bearer " + self._token.reveal() != refused:
                return True
            if self._renewed:
                return False
            self._renewed = True
            self._token = await self._tokens.usable(refused.removeprefix("Bearer "))
            return True


class _Answer(msgspec.Struct):
    """What a token endpoint says, good or bad (RFC 6749, 5.1 and 5.2). `expires_in` is a text at some."""

    access_token: str | None = None
    token_type: str | None = None
    expires_in: float | str | None = None
    refresh_token: str | None = None
    error: str | None = None
    error_description: str | None = None


class _BasicWantedError(AuthFailed):
    """The endpoint wants the client's name and secret as Basic, and not in the form."""


async def fetch(client: Client, door: Door) -> Granted:
    """Ask for a token, with the refresh token if there is one. Raises `AdapterError`.

    The client says who it is in the form, which all of Atlassian, Entra and Keycloak take; an endpoint that
    answers 401 and asks for Basic gets that, as the standard has it.
    """
    form = _form(client)
    mine = {"client_id": client.client_id} | ({"client_secret": client.secret} if client.secret else {})
    try:
        return await _fetch(client, door(Anonymous()), form | mine)
    except _BasicWantedError as e:
        secret = client.secret
        if secret is None:
            raise AuthFailed(e.message, e.hint) from None
    basic = Basic(quote_plus(client.client_id), lambda: quote_plus(secret))
    return await _fetch(client, door(basic), form)


def _form(client: Client) -> dict[str, str]:
    scope = {"scope": client.scope} if client.scope else {}
    if client.refresh_token is None:
        return {"grant_type": "client_credentials", **scope}
    return {"grant_type": "refresh_token", "refresh_token": client.refresh_token, **scope}


async def _fetch(client: Client, http: Http, form: Mapping[str, str]) -> Granted:
    reply = await http.submit(
        URL(client.token_url).raw_path_qs, form, lambda reply: _refusal(client, http, reply)
    )
    answer = _answer(reply)
    token = answer.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise _refused(client, answer) if answer.error else _no_token(reply, "without a usable access_token")
    if answer.token_type and answer.token_type.lower() != "bearer":
        raise _no_token(reply, "with a token that is not for bearers")
    other = answer.refresh_token if client.refresh_token else None
    return Granted(token, _lives(answer.expires_in), other if other != client.refresh_token else None)


def _refusal(client: Client, http: Http, reply: Reply) -> AdapterError | None:
    """What an answer of 4xx means; None leaves it to what the status means anywhere."""
    if not 400 <= reply.status < 500 or reply.status in (407, 408, 425, 429):
        return None
    try:
        answer = _answer(reply)
    except Unreadable as e:
        return AuthFailed(f"{reply.summary}.", _HINTS["invalid_client"]) if reply.status == 401 else e
    if (
        reply.status == 401
        and "basic" in reply.headers.get("WWW-Authenticate", "").lower()
        and http.anonymous
    ):
        return _BasicWantedError(f"{reply.summary}{_said(client, answer)}", _HINTS["invalid_client"])
    return _refused(client, answer)


def _answer(reply: Reply) -> _Answer:
    try:
        return decode(reply, _Answer)
    except Unreadable as e:
        raise Unreadable(e.message, _CHECK_URL) from None


def _refused(client: Client, answer: _Answer) -> AdapterError:
    host = URL(client.token_url).host
    message = f"{host} gives no token{_said(client, answer)}"
    if answer.error in {"temporarily_unavailable", "server_error", "slow_down"}:
        return Unavailable(message)
    code = answer.error or ""
    if code in {"invalid_grant", "unauthorized_client"} and client.refresh_token is None:
        return AuthFailed(message, _HINTS["unauthorized_client"])
    if code == "unauthorized_client":
        code = "invalid_grant"  # so do some call a refresh token that is no longer good
    return AuthFailed(message, _HINTS.get(code, _CHECK_URL))


def _said(client: Client, answer: _Answer) -> str:
    """The endpoint's own words without our secrets: the first line, what follows is for its support."""
    words = (answer.error_description or "").strip().splitlines()
    text = ": ".join(part for part in (answer.error, words[0] if words else "") if part)
    for secret in (client.secret, client.refresh_token):
        text = text.replace(secret, MASK.decode()) if secret else text
    text = "".join(c for c in text if c.isprintable())[:_SAID_MOST].rstrip(".")
    return f": {text}." if text else "."


def _no_token(reply: Reply, how: str) -> Unreadable:
    return Unreadable(f"{reply.summary} {how}.", _CHECK_URL)


def _lives(stated: float | str | None) -> float:
    try:
        seconds = float(UNSTATED if stated is None else stated)
    except ValueError:
        return UNSTATED
    return min(seconds, _LIVES_MOST) if seconds > 0 else UNSTATED


_CHECK_URL = "Check the credential's token_url, client_id and scope."
_HINTS = {
    "invalid_grant": (
        "The consent is over: it was withdrawn or has expired, or its refresh token was used elsewhere. "
        "Consent again and give the credential the new refresh token."
    ),
    "invalid_client": (
        "The client is unknown, or its secret is wrong or has expired. "
        "Make a new secret where the client is registered and give it to the credential."
    ),
    "unauthorized_client": (
        "The client may not act for itself: allow it client credentials where it is registered, "
        "or give the credential a refresh token."
    ),
    "invalid_scope": "Check the credential's scope, and that the client was granted it.",
    "invalid_target": "Check the credential's scope, and that the client was granted it.",
    "invalid_resource": "Check the credential's scope, and that the client was granted it.",
}
