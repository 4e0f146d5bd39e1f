"""How a request says who we are. The secret is revealed for the moment of the request only."""

import html
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Protocol, runtime_checkable
from urllib.parse import quote, quote_plus

MASK = b"********"
SHORTEST = 4  # characters; masking shorter secrets would eat ordinary words


class Auth(Protocol):
    async def header(self) -> str | None:
        """The value of the Authorization header, or None to go anonymously."""


@runtime_checkable
class Renewable(Protocol):
    """A credential that the remote may refuse before its time, and that can then be had anew."""

    async def renew(self, refused: str) -> bool:
        """Whether there is now another header than the `refused` one, so that it is worth to ask again."""


class Anonymous:
    async def header(self) -> None:
        return None


class Basic:
    """User name and secret (password or API token), sent with the first request."""

    def __init__(self, username: str, reveal: Callable[[], str]) -> None:
        self._username = username
        self._reveal = reveal

    async def header(self) -> str:
        return "Basic " + b64encode(f"{self._username}:{self._reveal()}".encode()).decode()


class Bearer:
    def __init__(self, reveal: Callable[[], str]) -> None:
        self._reveal = reveal

    async def header(self) -> str:
        return "Bearer " + self._reveal()


def secrets_in(authorization: str | None) -> list[str]:
    """What of a header's value must not be seen: all that follows the kind, and the secret within it."""
    kind, _, value = (authorization or "").partition(" ")
    return [value, b64decode(value).decode().partition(":")[2]] if kind == "Basic" else [value]


def masked(body: bytes, authorization: str) -> bytes:
    """A refusal without the credential that it was given to: there are remotes that say it back."""
    for text in secrets_in(authorization):
        if len(text) >= SHORTEST:
            escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
            for form in {text, quote(text), quote(text, safe=""), quote_plus(text), *escaped}:
                body = body.replace(form.encode(), MASK)
    return body
