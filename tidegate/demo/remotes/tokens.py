"""A simulated issuer of OAuth 2.0 tokens, as Atlassian and Entra are: clients, consents, and their end."""

import secrets
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import unquote_plus

import msgspec
from aiohttp import web

from tidegate.demo.remotes.base import Clock, Remote


class _Consent(msgspec.Struct):
    """What a person agreed to: a chain of refresh tokens, of which the last is good."""

    client_id: str
    tokens: list[str]
    revoked: bool = False


class TokenServer(Remote):
    """`POST /oauth/token` with a form.

    As "atlassian" each refresh token is good once; using an old one again ends the consent, and refusals of
    a refresh token are 403 (vendor docs). As "entra" an old one stays good, and errors end in lines with
    numbers for the support (vendor docs). With `wants_basic` a client in the form is refused with 401.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        latency: float = 0.0,
        vendor: Literal["atlassian", "entra"] = "atlassian",
    ) -> None:
        super().__init__(clock, latency)
        self.vendor = vendor
        self.lives = 3600
        self.wants_basic = False
        #: Clients by id, with their secret; None for a public one. A secret in `expired` is not taken.
        self.clients: dict[str, str | None] = {}
        self.expired: set[str] = set()
        self.issued = 0
        self._consents: list[_Consent] = []
        self._tokens: dict[str, datetime] = {}

    @property
    def token_url(self) -> str:
        return f"{self.url}/oauth/token"

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/oauth/token", self._token)

    def consent(self, client_id: str) -> str:
        """A person agrees: the first refresh token."""
        made = secrets.token_urlsafe(24)
        self._consents.append(_Consent(client_id, [made]))
        return made

    def withdraw(self, client_id: str) -> None:
        """The person changes their mind, or their password."""
        for consent in self._consents:
            consent.revoked = consent.revoked or consent.client_id == client_id

    def end_tokens(self) -> None:
        """No access token given so far is good any more, whatever was said of its end."""
        self._tokens.clear()

    def accepts(self, authorization: str | None) -> bool:
        """Whether a header brings an access token that is good now."""
        kind, _, token = (authorization or "").partition(" ")
        end = self._tokens.get(token)
        return kind == "Bearer" and end is not None and self.clock.now() < end

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        given = _basic(request.headers.get("Authorization", ""))
        if self.wants_basic and given is None:
            headers = {"WWW-Authenticate": 'Basic realm="tokens"'}
            return self._refused(401, "invalid_client", "Client authentication failed", headers)
        client_id, secret = given or (form.get("client_id", ""), form.get("client_secret"))
        if refused := self._unknown(client_id, secret):
            return refused
        match form.get("grant_type"):
            case "client_credentials" if secret:
                return self._granted()
            case "client_credentials":
                return self._refused(400, "unauthorized_client", "A public client cannot act for itself")
            case "refresh_token":
                return self._refreshed(client_id, form.get("refresh_token", ""))
        return self._refused(400, "unsupported_grant_type", "The grant type is missing or unknown")

    def _unknown(self, client_id: str, secret: str | None) -> web.Response | None:
        if client_id not in self.clients:
            return self._refused(400, "unauthorized_client", "AADSTS700016: Application not found")
        if self.clients[client_id] != secret:
            return self._refused(401, "invalid_client", "AADSTS7000215: Invalid client secret provided")
        if secret in self.expired:
            return self._refused(401, "invalid_client", "AADSTS7000222: The provided secret keys are expired")
        return None

    def _refreshed(self, client_id: str, token: str) -> web.Response:
        used = next((one for one in self._consents if token in one.tokens), None)
        if used is not None and self.vendor == "atlassian" and token != used.tokens[-1]:
            used.revoked = True
        if used is None or used.revoked or used.client_id != client_id:
            if self.vendor == "atlassian":
                return self._refused(403, "invalid_grant", "Unknown or invalid refresh token.")
            return self._refused(400, "invalid_grant", "AADSTS700082: The refresh token has expired")
        used.tokens.append(secrets.token_urlsafe(24))
        return self._granted(used.tokens[-1])

    def _granted(self, refresh_token: str | None = None) -> web.Response:
        token = secrets.token_urlsafe(32)
        self._tokens[token] = self.clock.now() + timedelta(seconds=self.lives)
        self.issued += 1
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer", "expires_in": self.lives}
        return _json(200, answer | ({"refresh_token": refresh_token} if refresh_token else {}))

    def _refused(
        self, status: int, error: str, why: str, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        if self.vendor == "entra":
            why += f".\r\nTrace ID: {secrets.token_hex(8)}\r\nTimestamp: {self.clock.now():%F %T}Z"
        return _json(status, {"error": error, "error_description": why}, headers)


def _json(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
    )


def _basic(authorization: str) -> tuple[str, str] | None:
    kind, _, value = authorization.partition(" ")
    if kind != "Basic":
        return None
    client_id, _, secret = b64decode(value).decode().partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
