"""Writes the references configuration.md and commands.md from the code. `make docs` runs it."""

import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click

from adapters.base import Adapter, Column, Stream
from config import about, settings
from config.frequency import parse_frequency
from config.settings import Settings
from tidegate.cli import main
from tidegate.registry import OURS

HERE = Path(__file__).parent
WIDTH = 100
MADE = "<!-- Made by `make docs`; what is changed here is lost. -->"
SYSTEMS = {"jira": "Jira", "jenkins": "Jenkins", "azure": "Azure DevOps"}


PIPED = """
On a terminal there are colours (unless `NO_COLOR` is set), tables and progress. Piped, lists are lines
with tabs between the columns; progress and notes are on standard error. `--json` prints one JSON
document, or of a list one object a line; an error is then `{"type", "title", "detail", "exit_code"}` on
standard error. Where nobody can be asked, `--yes` is needed. Exit codes: 0 all well, 1 it failed, 2
wrong use or settings, 3 partial, 130 stopped with Ctrl-C.
"""
SETTINGS = """
Environment variables, or the same names in lower case without `TIDEGATE_` in `tidegate.toml` of the
working folder; `TIDEGATE_CONFIG` names another file. A variable wins over the file. `NAME_FILE` names a
file that holds the value, as in `TIDEGATE_SECRET_KEY_FILE=/run/secrets/key`. An empty variable is the same
as none. An unknown name or a bad value is an error at start.
"""
FREQUENCIES = """
The same words in the API, on the command line and in declared files. `timezone` is an IANA name such as
`Europe/Berlin`; without one it is UTC. Words and intervals are spread over their whole period, each
connection at a place of its own; a stated time or cron fires in that minute. After downtime a connection
catches up once.
"""
STREAMS = """
Each stream is a view, in PostgreSQL in the schema `TIDEGATE_DATABASE_SCHEMA`. It shows the living records:
`connection_id`, `key`, `parent`, `updated_at` and `version`, then the typed columns below, then `body`,
the JSON as the remote sent it. A value that does not fit its column is NULL, and the body has it still.
Times are `timestamptz` on PostgreSQL, and UTC text such as `2026-01-02T03:04:05.000Z` on SQLite.
"""
SELECTED = """
A connection reads all streams of its system that its credential may read, or those that `streams` names.
"""


def configuration() -> str:
    """Every setting, every form of a frequency, and every stream with its columns."""
    return "\n".join(["# Configuration", "", MADE, "", *_settings(), *_frequencies(), *_streams()])


def commands() -> str:
    """Every command, as its help tells it."""
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        _paragraph(PIPED),
        "",
    ]
    top = click.Context(main, info_name="tidegate", terminal_width=WIDTH, **main.context_settings)
    for context in _contexts(top):
        title = context.command_path
        depth = "#" * min(max(len(title.split()), 2), 3)
        lines += [f"{depth} {title}", "", "```", context.get_help(), "```", ""]
    return "\n".join(lines)


def _settings() -> Iterator[str]:
    yield from (
        "## Settings",
        "",
        _paragraph(SETTINGS),
        "",
        "| setting | without it | what it is | example |",
        "|---|---|---|---|",
    )
    for name in settings.NAMES:
        told = about.SETTINGS[name]
        default = told.unset or f"`{getattr(Settings(data_dir=HERE), name)}`"
        variable = f"{settings.PREFIX}{name.upper()}"
        yield f"| `{variable}` | {default} | {told.meaning} | `{told.example}` |"
    yield ""


def _frequencies() -> Iterator[str]:
    yield from (
        "## Frequencies",
        "",
        _paragraph(FREQUENCIES),
        "",
        "| frequency | what it means | longest time between two |",
        "|---|---|---|",
    )
    for form, meaning in about.FREQUENCIES:
        yield f"| `{form}` | {meaning} | {_told(parse_frequency(form).period)} |"
    yield ""


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 118, break_on_hyphens=False)


def _told(period: timedelta | None) -> str:
    if period is None:
        return "-"
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count, rest = divmod(period.total_seconds(), seconds)
        if count and not rest:
            return f"{count:.0f} {unit}{'' if count == 1 else 's'}"
    return str(period)


def _streams() -> Iterator[str]:
    yield from (
        "## Streams",
        "",
        _paragraph(STREAMS),
        "",
        _paragraph(SELECTED),
        "",
    )
    for system, adapter in OURS.items():
        yield from _system(system, adapter)


def _system(system: str, adapter: type[Adapter]) -> Iterator[str]:
    overlap = f"{adapter.overlap.total_seconds() / 60:.0f} minutes" if adapter.overlap else ""
    again = f"Each sync looks {overlap} back, for the remote may show a change late. " if overlap else ""
    yield from (
        f"### {SYSTEMS[system]}",
        "",
        f"{again}At most {adapter.limits.parallel} requests are under way at one host, over all workers.",
        "",
    )
    for feed in adapter.feeds:
        for stream in feed.streams:
            yield from _stream(system, stream)


def _stream(system: str, stream: Stream) -> Iterator[str]:
    yield from (f"#### {stream.name}", "", f"View `{system}_{stream.name}`.{_parent(stream)}", "")
    yield from ("| column | type | unit | from |", "|---|---|---|---|")
    for column in stream.columns:
        yield f"| `{column.name}` | {column.type} | {_unit(column)} | `{column.source}` |"
    yield ""


def _parent(stream: Stream) -> str:
    return f" `parent` is the key of its record in `{stream.parent}`." if stream.parent else ""


def _unit(column: Column) -> str:
    return column.unit or "" if column.type in ("integer", "number") else ""


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """This command and all below it, but for those that are hidden."""
    yield context
    if not isinstance(context.command, click.Group):
        return
    for name in context.command.list_commands(context):
        found = context.command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from _contexts(click.Context(found, info_name=name, parent=context))


FILES = {"configuration.md": configuration, "commands.md": commands}

if __name__ == "__main__":
    for name, made in FILES.items():
        (HERE / name).write_text(made().rstrip("\n") + "\n", "utf-8")
        click.echo(f"docs/{name}")
