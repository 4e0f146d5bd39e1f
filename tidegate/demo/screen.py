"""What the demo shows: the connections as they fill, what happens, and where things are."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime

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
_LINES = 12


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


class Screen:
    """Keeps the last lines of what happened, and draws."""

    def __init__(self, url: str, folder: str, names: Mapping[int, str], own: str) -> None:
        self._url = url
        self._own = own
        self._folder = folder
        self._names = names
        self._lines: deque[str] = deque(maxlen=_LINES)

    def told(self, event: Mapping[str, object], since_change: float | None = None) -> str | None:
        """Remember an event of the stream as a line; None for mere progress.

        `since_change`: so many seconds ago something changed that a webhook told of.
        """
        line = line_of(event, self._names, since_change)
        if line is not None:
            self._lines.append(line)
        return line

    def say(self, line: str) -> None:
        """A line of the story itself."""
        self._lines.append(line)

    def picture(self, seen: Seen) -> RenderableType:
        table = Table(title="Tidegate keeps these in step", title_justify="left", expand=True)
        for name in ("connection", "health", "records", "now", "last success", "next due"):
            table.add_column(name, overflow="fold")
        for row in seen.rows:
            table.add_row(*cells(row, seen.now))
        happened = Text("\nWhat happens (Redis stream tidegate:events)\n", style="bold")
        happened.append("\n".join(self._lines) + "\n", style="not bold")
        return Group(table, happened, Text(self.places(seen.workers)))

    def places(self, workers: Sequence[int] = ()) -> str:
        """Where to look, to be typed as it stands."""
        query = "SELECT issue_key, status, updated_at FROM jira_issues ORDER BY updated_at DESC LIMIT 5"
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


def cells(row: Row, now: datetime) -> list[Text]:
    """A row of the table."""
    found = row.connection
    health = found.health if found.cause is None else f"{found.health}: {found.cause}"
    return [
        Text(found.name),
        Text(health, style=_COLOURS.get(found.health, "")),
        Text(", ".join(f"{count} {stream}" for stream, count in row.records.items())),
        Text(row.busy),
        Text(_ago(found.last_success_at, now)),
        Text(_until(found.next_due_at, now)),
    ]


def line_of(
    event: Mapping[str, object], names: Mapping[int, str], since_change: float | None = None
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
        if data["state"] != "succeeded" or since_change is None:
            return None
        return f"{at}  {name}: changed there, and here {since_change * 1000:.0f} ms later, by webhook"
    if data["state"] == "queued":
        return f"{at}  {name}: {data['scope']} sync {data['id']} queued by {data['trigger']}"
    if data["state"] not in ("succeeded", "partial", "failed", "cancelled"):
        return None
    counts = [
        f"{stream} {counted['read']} read, {counted['new']} new, {counted['changed']} changed"
        for stream, counted in data["counters"].items()
        if counted["read"]
    ]
    return f"{at}  {name}: sync {data['id']} {data['state']}; {'; '.join(counts) or 'nothing new'}"


def _ago(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else f"{max(0, round((now - moment).total_seconds()))} s ago"


def _until(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else f"in {max(0, round((moment - now).total_seconds()))} s"
