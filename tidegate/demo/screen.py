"""What the demo shows: the connections as they fill, what happens, and where things are."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import connections, syncs
from store.connections import Connection
from store.schema import processes
from store.schema import syncs as syncs_table
from store.streams import StreamTables

_COLOURS = {
    "healthy": "green",
    "processing": "cyan",
    "pending": "cyan",
    "partial": "yellow",
    "rate_limited": "yellow",
    "failed": "red",
}
#: Lines of the story and of events that are kept, and how many are shown at least.
_LINES, _LEAST = 40, 3
#: A change by webhook is told so often, for there is one every few seconds.
WEBHOOK_SECONDS = 15
#: A screen that is wider than this shows more of each connection.
_WIDE = 130


class Changed(msgspec.Struct, frozen=True):
    """What last changed at a remote that sends webhooks, such as `TIDE-7 is Done`, so many seconds ago."""

    what: str
    seconds: float


class Row(msgspec.Struct, frozen=True):
    """One connection as it stands."""

    connection: Connection
    records: Mapping[str, int]
    busy: str


class Seen(msgspec.Struct, frozen=True):
    """Everything that one picture shows."""

    now: datetime
    rows: Sequence[Row]
    workers: Sequence[int]


async def look(connection: AsyncConnection, tables: StreamTables, ids: Sequence[int], now: datetime) -> Seen:
    """Read the picture from the database."""
    rows = []
    for connection_id in ids:
        found = await connections.get(connection, connection_id)
        if found is None:
            continue
        counts = {}
        for table in tables.of(found.system):
            c = table.table.c
            living = select(func.count()).where(c.connection_id == connection_id, c.gone_at.is_(None))
            counts[table.stream.name] = (await connection.execute(living)).scalar_one()
        rows.append(Row(found, counts, await _busy(connection, connection_id)))
    workers = select(processes.c.pid).where(processes.c.role == "worker", processes.c.seen_at > _fresh(now))
    return Seen(now, rows, list((await connection.execute(workers)).scalars()))


def _fresh(now: datetime) -> datetime:
    return datetime.fromtimestamp(now.timestamp() - 15, now.tzinfo)


async def _busy(connection: AsyncConnection, connection_id: int) -> str:
    c = syncs_table.c
    live = await syncs.listed(connection, None, 3, c.connection_id == connection_id, c.finished_at.is_(None))
    return ", ".join(f"{sync.state} {sync.scope}" for sync in live) or "-"


def _lines(text: str, width: int) -> int:
    """How many lines of a terminal a text takes, and one more where words are not broken."""
    return 1 if len(text) <= width else -(-len(text) // width) + (len(text) % width > width - 12)


class Screen:
    """Keeps the last lines of what happened, and draws."""

    def __init__(self, url: str, folder: str, names: Mapping[int, str], own: str) -> None:
        self._url = url
        self._own = own
        self._folder = folder
        self._names = names
        self._lines: deque[Text] = deque(maxlen=_LINES)
        self._webhook_at: float | None = None

    def told(self, event: Mapping[str, object], changed: Changed | None = None) -> str | None:
        """Remember an event of the stream as a line; None for mere progress.

        `changed`: what changed last of that which a webhook tells of.
        """
        line = line_of(event, self._names, changed)
        if line is None or not self._is_due(event):
            return None
        self._lines.append(Text(line))
        return line

    def _is_due(self, event: Mapping[str, Any]) -> bool:
        if event["data"].get("trigger") != "webhook":
            return True
        at = datetime.fromisoformat(event["time"]).timestamp()
        if self._webhook_at is not None and at < self._webhook_at + WEBHOOK_SECONDS:
            return False
        self._webhook_at = at
        return True

    def say(self, line: str) -> None:
        """A line of the story itself."""
        self._lines.append(Text(line, style="bold"))

    def picture(self, seen: Seen, width: int, height: int) -> RenderableType:
        """What fits into a terminal: connections, the last lines of what happened, and where to look."""
        wide = width >= _WIDE
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        names = ("CONNECTION", "HEALTH", "NEXT DUE", *(["NOW"] if wide else []), "RECORDS")
        rows = [cells(row, seen.now, wide=wide) for row in seen.rows]
        for at, name in enumerate(names):
            # The last column alone gives way where it is narrow.
            least = max(len(name), *(row[at].cell_len for row in rows)) if name != "RECORDS" else None
            table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=least)
        for row in rows:
            table.add_row(*row)
        places = self.places(seen.workers)
        free = height - len(rows) - 5 - sum(_lines(line, width) for line in places.splitlines())
        lines = self._last(max(_LEAST, free), width)
        return Group(table, "", Text("WHAT HAPPENS", style="bold"), *lines, "", Text(places))

    def _last(self, room: int, width: int) -> Sequence[Text]:
        """The last lines for which there is room."""
        found: list[Text] = []
        for line in reversed(self._lines):
            room -= _lines(line.plain, width)
            if room < 0 and found:
                break
            found.insert(0, line)
        return found

    def places(self, workers: Sequence[int] = ()) -> str:
        """Where to look, to be typed as it stands."""
        query = "SELECT issue_key, status FROM jira_issues LIMIT 5"
        lines = [
            f"Page      {self._url}  (sign in with the key in {self._folder}/admin.key)",
            f"Your own  press Add a connection there, and paste {self._own}",
            f'API       curl -H "X-API-Key: $(cat {self._folder}/admin.key)" {self._url}/v1/connections',
            f'Database  sqlite3 {self._folder}/tidegate.db "{query}"',
        ]
        if workers:
            pids = " ".join(map(str, workers))
            lines.append(
                f"Workers   {pids}: try `kill -9 {workers[0]}`, the syncs go on. Ctrl-C ends the demo."
            )
        return "\n".join(lines)


def cells(row: Row, now: datetime, *, wide: bool) -> list[Text]:
    """A row of the table."""
    found = row.connection
    health = found.health if found.cause is None else f"{found.health}: {found.cause}"
    return [
        Text(found.name),
        Text(health, style=_COLOURS.get(found.health, "")),
        Text(_until(found.next_due_at, now)),
        *([Text(row.busy)] if wide else []),
        Text(", ".join(f"{count:,} {stream}" for stream, count in row.records.items() if count)),
    ]


def line_of(
    event: Mapping[str, object], names: Mapping[int, str], changed: Changed | None = None
) -> str | None:
    """An event as a line for people; None for progress, and for what is not of the demo."""
    if event["type"] not in ("io.tidegate.status", "io.tidegate.connection_status"):
        return None
    connection_id = int(str(event["source"]).rpartition("/")[2])
    data = event["data"]
    name = names.get(connection_id)
    if name is None or not isinstance(data, dict):
        return None
    at = str(event["time"])[11:19]
    if event["type"] == "io.tidegate.connection_status":
        why = f": {data['cause']}" if data["cause"] else ""
        return f"{at}  {name}: {data['health_before']} -> {data['health']}{why}"
    if data["trigger"] == "webhook":
        if data["state"] != "succeeded" or changed is None:
            return None
        later = f"{changed.seconds * 1000:.0f} ms later, by webhook"
        return f"{at}  {name}: {changed.what} there, and here {later}"
    if data["scope"] == "records" or data["state"] not in ("succeeded", "partial", "failed", "cancelled"):
        return None
    return f"{at}  {name}: {data['scope']} sync {data['id']} {data['state']}: {_came(data)}"


def _came(data: Mapping[str, Any]) -> str:
    """What a sync brought, in few words; why, if it brought nothing because it could not."""
    if data["error"] is not None:
        return f"{data['error']['message']}"
    counts = [
        f"{count:,} {stream} {word}"
        for stream, counted in data["counters"].items()
        for word, count in (
            ("new", counted["new"]),
            ("changed", counted["changed"]),
            ("gone", counted["deleted"]),
        )
        if count
    ]
    return ", ".join(counts) or "nothing has changed"


def _until(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else f"in {max(0, round((moment - now).total_seconds()))} s"
