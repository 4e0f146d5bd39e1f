"""The records of a connection: looked for, looked at, and those that could not be read."""

import msgspec
from aiohttp import web

from api.problems import not_found
from api.ui.connection import found, head
from api.ui.front import Route, Visit
from store import finding, reading

PAGE = 50


async def records(visit: Visit) -> web.Response:
    """A page of records of one stream."""
    query = visit.request.query
    text, after = query.get("q", "").strip()[:200], query.get("after") or None
    gone = query.get("gone") == "yes"
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
        values = await head(connection, one)
        tables = {table.stream.name: table for table in visit.context.tables.of(one.system)}
        stream = query.get("stream") or next(iter(_chosen(list(tables), one.streams)), "")
        seen: list[finding.Seen] = []
        if stream in tables and "\0" not in text + (after or ""):
            seen = await finding.find(connection, tables[stream], one.id, text, after, PAGE + 1, gone=gone)
    return visit.page(
        "records.html",
        **values,
        streams=list(tables),
        stream=stream,
        text=text,
        gone=gone,
        after=after,
        records=seen[:PAGE],
        more=len(seen) > PAGE,
    )


def _chosen(names: list[str], wanted: list[str] | None) -> list[str]:
    """The streams to begin with: what the connection reads, and what people name first."""
    first = ("issues", "builds", "work_items")
    read = [name for name in names if wanted is None or name in wanted]
    return sorted(read, key=lambda name: (name not in first, name))


async def record(visit: Visit) -> web.Response:
    """One record with the remote's own JSON."""
    query = visit.request.query
    stream, key = query.get("stream", ""), query.get("key", "")
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
        values = await head(connection, one)
        tables = {table.stream.name: table for table in visit.context.tables.of(one.system)}
        if stream not in tables or "\0" in key:
            raise not_found("record", f"{key} of {stream}")
        seen = await finding.one(connection, tables[stream], one.id, key)
    if seen is None:
        raise not_found("record", f"{key} of {stream}")
    return visit.page("record.html", **values, record=seen, raw=_pretty(seen.body))


async def quarantine(visit: Visit) -> web.Response:
    """What could not be read, with the reasons."""
    given = visit.request.query.get("after", "0")
    after = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
    async with visit.context.database.read() as connection:
        one = await found(visit, connection)
        values = await head(connection, one)
        rows = await reading.quarantined(connection, one.id, after, PAGE + 1)
    shown = [(row, _pretty(row.body)) for row in rows[:PAGE]]
    return visit.page("quarantine.html", **values, rows=shown, more=len(rows) > PAGE, after=after)


def _pretty(body: str) -> str:
    """JSON with line breaks; what is none stays as it is."""
    try:
        return msgspec.json.format(body, indent=2)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return body


ROUTES = (
    Route(method="GET", path="/connections/{id}/records", view=records, by_project=True),
    Route(method="GET", path="/connections/{id}/record", view=record, by_project=True),
    Route(method="GET", path="/connections/{id}/quarantine", view=quarantine, by_project=True),
)
