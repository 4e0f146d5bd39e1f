"""Debug logs: what the syncs of a connection with `debug` did, line by line."""

from collections.abc import Sequence
from typing import Any

import msgspec

from api.connections import named
from api.paging import ById, Page, after_id, cut
from api.routing import Call, Route
from api.shapes import Id, Nothing, moment
from store import debug_log
from store.debug_log import Line


class LineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `detail` depends on the event: `slice_begun`, `wait`, `request`, `page`, `census`, `error`,
    `slice_ended`, and `slice_lost` or `slice_broken` where a slice did not come to its end.
    """

    id: int
    at: str | None
    sync_id: int
    event: str
    detail: dict[str, Any]


class Log(msgspec.Struct, frozen=True):
    """Some lines, newest first."""

    lines: Sequence[LineAnswer]
    next: str | None


class LogQuery(Page, frozen=True, kw_only=True):
    """Which lines."""

    sync_id: Id | None = None


async def lines(call: Call[Nothing, LogQuery]) -> Log:
    """What syncs of a connection did while it had `debug`: the last 10,000 lines, of the last 7 days."""
    query = call.query
    async with call.context.database.read() as connection:
        of = await named(call, connection)
        before = after_id(call.request, query)
        found = await debug_log.listed(connection, of.id, before, query.limit + 1, query.sync_id)
    page = cut(call.request, found, query.limit, lambda one: ById(one.id))
    return Log([answer(one) for one in page.items], page.next)


def answer(line: Line) -> LineAnswer:
    return LineAnswer(
        id=line.id, at=moment(line.at), sync_id=line.sync_id, event=line.event, detail=line.detail
    )


ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="GET",
        path="/v1/connections/{id}/log",
        summary="Read the debug log of a connection",
        permission="write",
        by_project=True,
        handler=lines,
        body=Nothing,
        query=LogQuery,
        answer=Log,
    ),
)
