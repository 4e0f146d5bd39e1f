"""How a request says who we are. The secret is revealed for the moment of the request only."""

from base64 import b64encode
from collections.abc import Callable
from typing import Protocol


class Auth(Protocol):
    async def header(self) -> str | None:
        """The value of the Authorization header, or None to go anonymously."""


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
