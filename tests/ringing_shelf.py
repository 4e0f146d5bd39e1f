"""A shelf that sets up its own webhooks, at a librarian who can be told how to behave."""

from datetime import datetime
from typing import ClassVar

from adapters.base import Adapter, AdapterError, NotFound, Registered
from tests.shelf import Shelf


class Librarian:
    """What the remote has: addresses by the id of the webhook. `error` is what it answers with."""

    def __init__(self) -> None:
        self.webhooks: dict[str, str] = {}
        self.secrets: dict[str, str | None] = {}
        self.expires_at: datetime | None = None
        self.signed = True
        self.error: AdapterError | None = None
        self.asked: list[str] = []
        self._count = 0

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def add(self, url: str, secret: str | None) -> Registered:
        known = next((id for id, address in self.webhooks.items() if address == url), None)
        if known is None:
            self._count += 1
            known = f"w{self._count}"
        self.webhooks[known] = url
        self.secrets[known] = secret
        return Registered(known, self.expires_at, self.signed)


class RingingShelf(Shelf):
    """The adapter. `librarian` is given by `ringing`."""

    system: ClassVar[str] = "ringing"
    librarian: ClassVar[Librarian]

    async def register(self, url: str, secret: str | None) -> Registered:
        self.librarian.ask("register")
        return self.librarian.add(url, secret)

    async def renew(self, id: str) -> Registered:
        self.librarian.ask("renew")
        if id not in self.librarian.webhooks:
            raise NotFound("There is no such webhook.")
        return Registered(id, self.librarian.expires_at, self.librarian.signed)

    async def unregister(self, id: str) -> None:
        self.librarian.ask("unregister")
        self.librarian.webhooks.pop(id, None)


def ringing(librarian: Librarian) -> type[Adapter]:
    """The adapter of one librarian."""

    class Ringing(RingingShelf):
        pass

    Ringing.librarian = librarian
    return Ringing
