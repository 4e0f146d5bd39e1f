"""A whole adapter, as small as a correct one gets: the entries of a ledger server."""

import hmac
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

import msgspec

from adapters.auth import Auth, Bearer
from adapters.base import (
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
    Page,
    Partition,
    Readable,
    Record,
    Rejected,
    Stream,
    Target,
    Unreadable,
)
from adapters.http import Http, Limits, decode

ENTRIES = Stream("entries", (Column("text", "text", "text"),))


class _Entry(msgspec.Struct):
    """Only what identifies a record must be right; a column takes what fits it."""

    id: int
    seq: int
    text: object = None


class _Page(msgspec.Struct):
    entries: list[msgspec.Raw]
    more: bool = False


class _Ids(msgspec.Struct):
    ids: list[int]
    more: bool = False


class _Me(msgspec.Struct):
    name: str
    version: str


class Ledger:
    system: ClassVar[str] = "ledger"
    feeds: ClassVar[tuple[Feed, ...]] = (Feed("entries", (ENTRIES,)),)
    limits: ClassVar[Limits] = Limits(parallel=2)
    # Sequence numbers are given in order and shown at once: a cursor may come as near to now as it likes.
    overlap: ClassVar[timedelta] = timedelta(0)
    batch: ClassVar[int] = 50

    def __init__(self, target: Target, http: Http) -> None:
        self._http = http

    @staticmethod
    def parse(url: str, params: Mapping[str, object]) -> Target:
        if not url.startswith(("http://", "https://")) or params:
            raise BadTarget("url", "Give the address of the ledger, like https://ledger.example.com.")
        return Target(url.rstrip("/"), url.rstrip("/"))

    @staticmethod
    def auth(kind: str, username: str | None, reveal: Callable[[], str]) -> Auth:  # noqa: ARG004
        if kind != "bearer":
            raise BadTarget("kind", f"The ledger does not take {kind}; use bearer.")
        return Bearer(reveal)

    async def check(self) -> Check:
        me = decode(await self._http.get("/me"), _Me)
        return Check(me.name, f"Ledger {me.version}", {"entries": Readable(True)})

    async def plan(self, feed: str) -> Sequence[Partition]:
        return [Partition("all")]

    async def read(self, feed: str, partition: Partition, cursor: str | None) -> AsyncGenerator[Page, None]:
        """By sequence number: an entry that changes gets a new one and moves to the end."""
        after = int(cursor) if cursor and cursor.isdigit() else 0
        more = True
        while more:
            reply = await self._http.get("/entries", {"after": str(after), "limit": "5"})
            page = decode(reply, _Page)
            records, rejected = _sorted_out(page.entries)
            last = max((int(record.version or 0) for record in records), default=after)
            if page.more and last <= after:
                raise Unreadable("The ledger says that more follows, and gives nothing new.")
            after, more = last, page.more
            yield Page(reply.sent_at, str(after), records, rejected, end=not more)

    async def fetch(self, stream: str, keys: Sequence[str]) -> Fetched:
        asked = [int(key) for key in keys if key.isdigit()]
        reply = await self._http.post("/entries/get", {"ids": asked})
        records, rejected = _sorted_out(decode(reply, _Page).entries)
        found = {record.key for record in records} | {one.key for one in rejected}
        missing = [Missing(key, "deleted") for key in keys if key not in found]
        return Fetched(reply.sent_at, records, rejected, missing)

    async def census(
        self, stream: str, partition: Partition, cursor: str | None
    ) -> AsyncGenerator[Keys, None]:
        after, more = int(cursor or 0), True
        while more:
            reply = await self._http.get("/entries/ids", {"after": str(after)})
            page = decode(reply, _Ids)
            if page.more and max(page.ids, default=after) <= after:
                raise Unreadable("The ledger says that more follows, and gives nothing new.")
            after, more = max(page.ids, default=after), page.more
            yield Keys(reply.sent_at, str(after), [str(number) for number in page.ids], end=not more)

    @staticmethod
    def verify(hook: Hook, secret: str) -> bool:
        return hmac.compare_digest(hook.headers.get("x-ledger-token", "").encode(), secret.encode())

    @staticmethod
    def hint(hook: Hook) -> Hint:
        try:
            entry = msgspec.json.decode(hook.body, type=_Entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise BadHook(str(e)) from None
        return Hint({"entries": [str(entry.id)]})


def _sorted_out(entries: Sequence[msgspec.Raw]) -> tuple[list[Record], list[Rejected]]:
    """One entry that is not legible must not spoil its page."""
    records: list[Record] = []
    rejected: list[Rejected] = []
    for raw in entries:
        body = bytes(raw)
        try:
            entry = msgspec.json.decode(body, type=_Entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            rejected.append(Rejected("entries", None, str(e), body))
            continue
        text = entry.text if isinstance(entry.text, str) else None
        records.append(Record("entries", str(entry.id), body, version=str(entry.seq), columns=(text,)))
    return records, rejected
