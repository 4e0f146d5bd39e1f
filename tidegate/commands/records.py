"""`tidegate records`: the copied records as files for other programs."""

import os
from pathlib import Path

import click

from store import typed
from store.connections import Connection
from store.streams import StreamTable
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.reach import named
from tidegate.commands.session import Failure, WrongUse, on_ground
from tidegate.compose import Ground
from tidegate.export import STDOUT, Chosen, Told, Written, write_lines, write_table
from tidegate.formats import Format, MissingExtra, parquet

FORMATS = ("ndjson", "csv", "parquet")


@group()
def records() -> None:
    """Export copied records into files."""


@records.command(epilog="Example: tidegate records export team --stream issues --output issues.csv")
@click.argument("name", metavar="CONNECTION")
@click.option("--stream", help="Only this stream; needed for csv and parquet, which are one table.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="By default what the name of the file ends with, else ndjson.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file, replaced when all of it is written; - is the standard output.",
)
@click.option(
    "--changed-after",
    type=click.IntRange(0),
    metavar="CHANGE",
    help="Only what changed after this number, tombstones too. The number to go on with is printed.",
)
@click.option("--deleted", is_flag=True, help="Records that are gone, too, with the reason.")
@click.option("--exact", is_flag=True, help="csv: leave texts that look like formulas as they are.")
@click.option("--json", "json_", is_flag=True, help="Print what was written as JSON, and no progress.")
def export(
    name: str,
    stream: str | None,
    format_: str | None,
    output: Path,
    changed_after: int | None,
    deleted: bool,
    exact: bool,
    json_: bool,
) -> None:
    """Export the records of a connection (its id or name), in constant memory.

    \b
    ndjson   a record a line, as the API gives it, with the remote's own JSON in "data"
    csv      the common and typed columns of one stream, UTF-8, with a header; empty is null
    parquet  the same columns with their types, and the remote's JSON as text; needs tidegate[parquet]

    In csv, a text that a spreadsheet would run as a formula (it begins with = + - @) gets an apostrophe
    before it, for anybody may write the title of an issue. --exact leaves it out, for programs.
    """
    form = Format(_format(format_, output), exact=exact)
    _check(form, stream, output, json_=json_)

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await named(connection, name)
            tables = _tables(ground, found, stream)
            chosen = Chosen(found.id, tables, changed_after, deleted)
            newest = await typed.newest_change(connection, found.id)
            total = await typed.count(connection, tables, found.id, after=changed_after, deleted=deleted)
        with show.Counted("records", "written", quiet=json_) as progress:
            written = await _written(ground, output, chosen, form, lambda n: progress(n, total))
        # What changed while we read by key is told again next time; by change, nothing is passed over.
        reached = newest if changed_after is None else max(changed_after, written.change)
        _tell(written, output, reached, json_=json_)

    on_ground(main)


async def _written(ground: Ground, output: Path, chosen: Chosen, form: Format, told: Told) -> Written:
    try:
        if form.name == "ndjson":
            return await write_lines(output, ground.database, chosen, told)
        return await write_table(output, ground.database, chosen, form, told)
    except BrokenPipeError:
        raise
    except OSError as e:
        raise Failure(f"The file could not be written: {e.strerror or e}") from None


def _tell(written: Written, output: Path, reached: int, *, json_: bool) -> None:
    if json_:
        show.as_json({"written": written.written, "changed_after": reached})
        return
    to = "standard output" if output == STDOUT else str(output)
    click.echo(f"{written.written:,} records written to {to}.", err=True)
    click.echo(f"What changes from now on: --changed-after {reached}", err=True)


def _format(given: str | None, output: Path) -> str:
    ending = output.suffix.lstrip(".").lower()
    return given or (ending if ending in FORMATS else "ndjson")


def _check(form: Format, stream: str | None, output: Path, *, json_: bool) -> None:
    """Found out before anything is read, rather than after an hour of reading."""
    if form.name != "ndjson" and stream is None:
        raise WrongUse(f"--stream: {form.name} is one table; name the stream that it is to hold.")
    if form.exact and form.name != "csv":
        raise WrongUse("--exact is for csv; the other formats are exact.")
    if output == STDOUT and (form.name == "parquet" or json_):
        raise WrongUse("--output: parquet and --json need a file, not the standard output.")
    folder = output.absolute().parent
    if output != STDOUT and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise WrongUse(f"--output: the folder {folder} does not exist or cannot be written to.")
    if form.name == "parquet":
        try:
            parquet()
        except MissingExtra as e:
            raise WrongUse(str(e)) from None


def _tables(ground: Ground, connection: Connection, stream: str | None) -> list[StreamTable]:
    tables = list(ground.tables.of(connection.system))
    if stream is None:
        return tables
    chosen = [table for table in tables if table.stream.name == stream]
    if not chosen:
        known = ", ".join(table.stream.name for table in tables) or "none"
        raise WrongUse(f"--stream: {connection.name} has no stream {stream}; there are: {known}.")
    return chosen
