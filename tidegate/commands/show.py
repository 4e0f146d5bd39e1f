"""How commands show things: tables and colours on a terminal, plain text or JSON elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Self

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from store.database import to_text
from store.health import Problem
from store.syncs import Sync, status_of
from tidegate.commands import tables

GOOD = {"healthy", "succeeded", "yes", "ok", "all running", "active", "delivered"}
BAD = {"failed", "no", "crashing", "missing here"}
BUSY = {"partial", "stale", "rate_limited", "processing", "queued", "running", "waiting", "retrying"}
PLAIN_EVERY = 5.0  # seconds between lines of progress where there is no terminal


def on_terminal() -> bool:
    return sys.stdout.isatty()


def as_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))


def as_lines(values: Iterable[object]) -> None:
    for value in values:
        click.echo(msgspec.json.encode(value))


def as_table(columns: Sequence[str], rows: Sequence[Sequence[object]], none: str = "") -> None:
    """A table on a terminal; else the same as text with tabs between the columns and no header.

    Times are told from now on a terminal, else as in the API. `none` says what to do where there are no rows.
    """
    if not on_terminal():
        for row in rows:
            click.echo("\t".join(map(plain, row)))
    elif not rows:
        click.echo(none or "There are none.")
    else:
        now = datetime.now(UTC)
        texts = [[_for_people(value, now) for value in row] for row in rows]
        Console().print(tables.drawn(columns, [[_coloured(text) for text in row] for row in texts]))


def plain(value: object) -> str:
    """As programs read it."""
    if isinstance(value, datetime):
        return to_text(value)
    return "" if value is None else str(value)


def _for_people(value: object, now: datetime) -> str:
    if not isinstance(value, datetime):
        return plain(value)
    seconds = (value - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def _coloured(text: str) -> Text:
    return Text(text, style=colour_of(text))


def colour_of(word: str) -> str:
    """Of a word such as `healthy`; none for what is neither good nor bad."""
    return "green" if word in GOOD else "red" if word in BAD else "yellow" if word in BUSY else ""


def coloured_word(word: str) -> str:
    """A word in its colour, for a line on standard output."""
    return coloured(word, colour_of(word)) if colour_of(word) else word


def removed(said: str, id_: int, name: str | None, json_: bool) -> None:
    """Something is gone: said in words, or as `{"id", "name", "removed": true}`."""
    if json_:
        as_json({"id": id_, **({"name": name} if name else {}), "removed": True})
    else:
        click.echo(said)


def note(text: str) -> None:
    """What is said beside the result: never on standard output."""
    click.echo(text, err=True)


def coloured(text: str, colour: str) -> str:
    """For a line on standard output: without colour where it is not wanted (NO_COLOR) or not seen."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour)


def facts(values: Mapping[str, object]) -> None:
    """Names and what they stand for, one a line; what is None is left out."""
    found = [(name, value) for name, value in values.items() if value is not None]
    if not on_terminal():
        as_table(("", ""), found)
        return
    now = datetime.now(UTC)
    rows = [(Text(name.replace("_", " ")), _coloured(_for_people(value, now))) for name, value in found]
    Console().print(tables.pairs(rows))


def took(sync: Sync) -> str | None:
    """How long a sync has run, or None before it has begun."""
    if not sync.started_at or not sync.finished_at:
        return None
    return span((sync.finished_at - sync.started_at).total_seconds())


def span(seconds: float) -> str:
    """A length of time as people say it: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def receipt(sync: Sync) -> None:
    """What a sync came to: its state, its receipt, and the reason if it did not read everything."""
    click.echo(_headline(sync))
    streams = sorted({*(sync.receipt or {}), *sync.counters})
    rows = [_stream(sync, stream) for stream in streams]
    names = "stream expected stored complete read new changed unchanged deleted rejected".split()
    if rows:
        as_table(names, rows) if on_terminal() else _aligned(names, rows)
    if sync.error is not None:
        click.echo(problem(sync.error))


def _headline(sync: Sync) -> str:
    seconds = ""
    if sync.started_at and sync.finished_at:
        seconds = f" in {(sync.finished_at - sync.started_at).total_seconds():.1f} s"
    mib = sync.bytes / 2**20
    return f"Sync {sync.id} {sync.state}{seconds}: {sync.requests} requests, {mib:.1f} MiB."


def _stream(sync: Sync, stream: str) -> list[str]:
    counts = sync.counters.get(stream)
    promised = (sync.receipt or {}).get(stream)
    said = ["-", "-", "-"]
    if promised is not None:
        expected = "-" if promised.expected is None else str(promised.expected)
        said = [expected, str(promised.stored), "yes" if promised.complete else "no"]
    names = ("read", "new", "changed", "unchanged", "deleted", "rejected")
    return [stream, *said, *(str(getattr(counts, name)) if counts else "0" for name in names)]


def _aligned(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (names, *rows)) for i in range(len(names))]
    for row in (names, *rows):
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def problem(error: Problem) -> str:
    return f"{error.kind}: {error.message} {error.hint}".strip()


def sync_json(sync: Sync) -> None:
    """The sync as the API shows it."""
    as_json(status_of(sync))


class Ticker:
    """Shows on standard error how something gets on: one line that changes on a terminal, else a line now
    and then; nothing at all with `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._began = time.monotonic()
        self._told_at = self._began
        self._before: int | None = None
        self._line_now = ""

    def _shown(self) -> Text:
        return Text(self._line_now, no_wrap=True, overflow="ellipsis")

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Show the line, if there is a terminal to show it on."""
        if self._live is None and self._console.is_terminal:
            self._live = Live(
                console=self._console, refresh_per_second=8, transient=True, get_renderable=self._shown
            )
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, line: Callable[[], str]) -> None:
        if self._quiet:
            return
        if self._console.is_terminal:
            self._line_now = line()
            self.start()
        elif time.monotonic() - self._told_at >= PLAIN_EVERY:
            self._told_at = time.monotonic()
            click.echo(line(), err=True)

    def begin(self, done: int) -> None:
        """Count from here: some may have been done before we began to look."""
        self._before = done if self._before is None else self._before

    def pace(self, done: int, total: int | None, things: str = "records") -> str:
        """`1,200 records/s, 12 s left`; the time left only where `total` is known."""
        return pace(done, total, done - (self._before or 0), time.monotonic() - self._began, things)


def pace(done: int, total: int | None, lately: int, seconds: float, things: str = "records") -> str:
    """How fast it goes, by what was done in the last `seconds`, and how long the rest will take."""
    rate = lately / max(0.1, seconds)
    left = ""
    if total is not None and done < total and rate > 0:
        left = f", {span((total - done) / rate)} left"
    return f"{rate:,.0f} {things}/s{left}"


class Progress(Ticker):
    """Tells how a sync gets on, with its rate, and the time left where the remote says how much there is."""

    def __call__(self, sync: Sync, expected: int | None = None) -> None:
        read = sum(counts.read for counts in sync.counters.values())
        self.begin(read)
        self.tell(lambda: self._line(sync, read, expected))

    def _line(self, sync: Sync, read: int, expected: int | None) -> str:
        each = ", ".join(f"{counts.read:,} {name}" for name, counts in sync.counters.items() if counts.read)
        of = f" of {expected:,}" if expected is not None and expected >= read > 0 else ""
        wait = f" until {sync.resume_at:%H:%M:%S} UTC" if sync.resume_at else ""
        why = f" ({sync.error.message})" if sync.error and sync.state == "waiting" else ""
        return f"{sync.state}{wait}: {each or 'nothing yet'}{of}, {self.pace(read, expected)}{why}"


class Counted(Ticker):
    """Tells how far a count of things has come: `12,000 of 50,000 rows written, 9,000 rows/s, 4 s left`."""

    def __init__(self, things: str, deed: str, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._things = things
        self._deed = deed

    def __call__(self, done: int, total: int | None) -> None:
        of = "" if total is None else f" of {total:,}"
        rate = self.pace(done, total, self._things)
        self.tell(lambda: f"{done:,}{of} {self._things} {self._deed}, {rate}")


class Busy(Ticker):
    """Tells on a terminal what is waited for, and since when; nothing elsewhere."""

    def __init__(self, words: str, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._words = words

    def __enter__(self) -> Self:
        if not self._quiet:
            self.start()
        return self

    def _shown(self) -> Text:
        return Text(f"{self._words} ... {span(time.monotonic() - self._began)}")
