"""Walks over what a project lists page by page: the cursor, and answers that are too large."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from adapters.azure.credential import Need
from adapters.azure.listing import Patience, next_token
from adapters.azure.site import Envelope, Site
from adapters.azure.urls import segment
from adapters.base import Page, Partition, Record, Rejected, TooLarge
from adapters.reply import Reply, decode


class Walk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cursor. Between walks only `since`: what is of then or later is to be read.

    During one, `started` is the remote's time of its first request, `token` leads to the next page, and
    `size` is how many fit into an answer, if fewer than were asked for at first.
    """

    since: datetime | None = None
    started: datetime | None = None
    token: str = ""
    size: int | None = None

    @property
    def text(self) -> str:
        return msgspec.json.encode(self).decode()


def walk_of(cursor: str) -> Walk:
    return msgspec.json.decode(cursor, type=Walk)


class Listing(msgspec.Struct, frozen=True):
    """A list that every project has: its name, where it is, and what it takes to read it.

    `asking` gives the parameters of a page, all but its size and token; a token is good only with those that
    it was given for.
    """

    name: str
    path: str
    need: Need
    asking: Callable[[Walk], Mapping[str, str]]
    page: int


class Step(msgspec.Struct, frozen=True):
    """One answer, where to go on behind it, and whether it is all there is."""

    reply: Reply
    values: Sequence[msgspec.Raw]
    after: Walk
    only: bool

    def page(self, name: str, found: Sequence[Record | Rejected], overlap: timedelta) -> Page:
        """The page. The remote counts only what is in one answer, so that several leave the sum open."""
        started = self.after.started or self.reply.asked_at
        records = {one.key: one for one in found if isinstance(one, Record)}
        rejected = [one for one in found if isinstance(one, Rejected)]
        return Page(
            self.reply.sent_at,
            self.after.text if self.after.token else Walk(since=started - overlap).text,
            list(records.values()),
            rejected,
            expected={name: len(records) + len(rejected)} if self.only else None,
            end=not self.after.token,
        )


async def walked(
    site: Site, partition: Partition, listing: Listing, walk: Walk
) -> AsyncGenerator[Step, None]:
    """The answers, one after the other. What is too large for one is asked for in smaller parts."""
    patience = Patience(site.host, f"{listing.name} of {partition.mark or partition.name}", walk.token)
    path = f"/{segment(partition.name)}{listing.path}"
    while True:
        size = walk.size or listing.page
        asking = {**listing.asking(walk), "$top": str(size)}
        asking |= {"continuationToken": walk.token} if walk.token else {}
        try:
            reply = await site.get(path, asking, listing.need)
        except TooLarge:
            if size == 1:
                raise
            walk = replace(walk, size=max(1, size // 4))
            continue
        values = decode(reply, Envelope).value
        token = next_token(reply)
        patience.spend(token, len(values))
        only = not walk.token and not token
        walk = replace(walk, started=walk.started or reply.asked_at, token=token)
        yield Step(reply, values, walk, only)
        if not token:
            return


class _Id(msgspec.Struct, frozen=True):
    id: int


_id = msgspec.json.Decoder(_Id)


def ids_in(values: Sequence[msgspec.Raw]) -> list[int]:
    """The ids of an answer; what has none is not counted, and was rejected when it was read."""
    return [number for raw in values if (number := _number(raw)) is not None]


def _number(raw: msgspec.Raw) -> int | None:
    try:
        return _id.decode(raw).id
    except (msgspec.DecodeError, RecursionError):
        return None
