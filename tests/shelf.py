"""A whole adapter without a remote: a shelf of books, whose URL says how many and in what state.

`shelf.example/7` has seven books and a loan of each second one; `?state=` makes it refuse, hang, or keep
its loans to itself.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

import msgspec

from adapters.auth import Anonymous, Auth, Basic
from adapters.base import (
    AuthFailed,
    BadHook,
    BadTarget,
    Check,
    Column,
    Feed,
    Fetched,
    Hint,
    Hook,
    Keys,
    Missing,
    NotFound,
    Page,
    Partition,
    Readable,
    Record,
    Rejected,
    Stream,
    Target,
)
from adapters.http import Http, Limits

BOOKS = Stream("books", (Column("number", "integer", "n"),))
LOANS = Stream("loans", parent="books")
_URL = re.compile(r"(?:https?://)?([a-z0-9.:]+)/(\d+)(?:\?state=([a-z]+))?")
_PARAMS = ("jql", "census_every")


class Shelf:
    system: ClassVar[str] = "shelf"
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("books", (BOOKS,)), Feed("loans", (LOANS,)))
    limits: ClassVar[Limits] = Limits()
    overlap: ClassVar[timedelta] = timedelta(0)
    batch: ClassVar[int] = 10

    def __init__(self, target: Target, http: Http) -> None:
        self._options = target.options
        self._http = http

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        for name in params:
            if name not in _PARAMS:
                raise BadTarget(f"params.{name}", "A shelf knows no such parameter.")
        match = _URL.fullmatch(url)
        if match is None:
            raise BadTarget("url", "A shelf is named like shelf.example/7.")
        host, books, state = match.groups()
        base = f"https://{host}"
        return Target(base, f"{base}/{books}", {"books": books, "state": state or ""})

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:
        if kind == "anonymous":
            return Anonymous()
        if kind != "basic" or not username:
            raise BadTarget("kind" if kind != "basic" else "username", "A shelf takes basic, with a name.")
        return Basic(username, reveal)

    async def check(self) -> Check:
        match self._options["state"]:
            case "locked":
                raise AuthFailed("The librarian does not know you.")
            case "slow":
                await asyncio.Event().wait()
            case "lost":
                raise NotFound("There is no such shelf.")
        header = await self._http.auth.header()
        loans = Readable(self._options["state"] != "private", problem="Loans are private.")
        books = Readable(self._options["state"] != "empty", int(self._options["books"]))
        return Check("reader" if header else None, "Shelf 1", {"books": books, "loans": loans})

    async def plan(self, feed: str) -> Sequence[Partition]:
        return (Partition("all"),)

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        books = int(self._options["books"])
        records = [self._book(i) for i in range(1, books + 1)]
        if feed == "loans":
            records = [self._loan(i) for i in range(2, books + 1, 2)]
        rejected = [Rejected(feed, "b99", "torn", b"{")] if self._options["state"] == "torn" else []
        yield Page(self._http.clock(), "end", records, rejected, end=True)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        there = {book.key: book for book in map(self._book, range(1, int(self._options["books"]) + 1))}
        found = [there[key] for key in keys if key in there]
        return Fetched(
            self._http.clock(), found, missing=[Missing(k, "deleted") for k in keys if k not in there]
        )

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return hmac.compare_digest(hook.headers.get("x-shelf-secret", "").encode(), secret.encode())

    @staticmethod
    def hint(hook: Hook) -> Hint:
        """`{"books": ["b01"]}`; the delivery is a header."""
        try:
            keys = msgspec.json.decode(hook.body, type=dict[str, list[str]])
        except msgspec.DecodeError as e:
            raise BadHook(str(e)) from None
        delivery = hook.headers.get("x-shelf-delivery")
        return Hint(keys, delivery, None if keys else "Nobody borrowed anything.")

    async def census(
        self, stream: str, partition: Partition, cursor: str | None
    ) -> AsyncGenerator[Keys, None]:
        step = 1 if stream == "books" else 2
        made = self._book if stream == "books" else self._loan
        numbers = range(step, int(self._options["books"]) + 1, step)
        yield Keys(self._http.clock(), "", [made(number).key for number in numbers], end=True)

    def _book(self, number: int) -> Record:
        # Line breaks between tokens, and characters that encoders like to change, are kept as they are.
        body = b'{ "n": %d,\r\n  "title": "\\u00e9\\n/", "f": 1.10 }' % number
        return Record("books", f"b{number:02}", body, version=str(number), columns=(number,))

    def _loan(self, number: int) -> Record:
        return Record("loans", f"l{number:02}", b'{"loan":%d}' % number, parent=f"b{number:02}")
