"""`tidegate sync`: a connection of the configured database, or any URL into a file with nothing set up."""

import os
import re
from datetime import timedelta
from pathlib import Path
from random import Random

import click

from api.access import COMMAND_LINE
from config.logs import Redactor
from config.secret import Secret
from config.settings import Settings
from scheduler.dispatch import ClosedError, Opened, Request, open_sync
from store import audit, processes
from store.database import clock
from store.syncs import Scope, Sync
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.reach import bell, by_the_rules, named, pairs, secret_from
from tidegate.commands.session import Failure, WrongUse, run
from tidegate.compose import Ground, budget_alone, open_ground, open_remotes, owner_name
from tidegate.foreground import follow as follow_sync
from tidegate.foreground import working
from tidegate.standalone import Asked, StateError, sync_into_file
from worker.budget import Clock
from worker.sync import Deps

CODES = {"succeeded": 0, "partial": 3}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[timedelta]):
    """`90s`, `2m`, `1h`; a bare number is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a duration such as 90s, 2m or 1h.", param, ctx)
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])


@command(
    epilog="Example: tidegate sync team --scope full\n"
    "tidegate sync --system jenkins --url https://ci.example.com/job/api --output builds.ndjson"
)
@click.argument("connection", required=False)
@click.option(
    "--scope",
    type=click.Choice(["incremental", "full", "census"]),
    default="incremental",
    show_default=True,
    help="What to read: what changed, everything, or keys only.",
)
@click.option(
    "--accept-loss", is_flag=True, help="With census or full: even most of the records may be found gone."
)
@click.option("--follow/--no-follow", default=True, help="Wait for the end, or return once it is queued.")
@click.option(
    "--patience",
    type=Duration(),
    default="2m",
    show_default=True,
    help="Give up when the remote keeps us waiting longer than this.",
)
@click.option("--json", "json_", is_flag=True, help="Print the receipt as JSON.")
@click.option("--system", help="Without CONNECTION: jira, jenkins, azure, or one that a package adds.")
@click.option("--url", help="Without CONNECTION: the URL, as you would paste it.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Without CONNECTION: the file to write, one JSON record a line.",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Without CONNECTION: keeps how far was read; the next run writes only what changed.",
)
@click.option("--username", help="With a secret: basic authentication as this user.")
@click.option("--secret-env", metavar="NAME", help="The environment variable that holds the secret.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds the secret.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the system, such as jql='project = TG'. May be repeated.",
)
@click.option("--stream", "streams", multiple=True, help="Read only this stream. May be repeated.")
def sync(
    connection: str | None,
    scope: Scope,
    accept_loss: bool,
    follow: bool,
    patience: timedelta,
    json_: bool,
    system: str | None,
    url: str | None,
    output: Path | None,
    state: Path | None,
    username: str | None,
    secret_env: str | None,
    secret_file: Path | None,
    params: tuple[str, ...],
    streams: tuple[str, ...],
) -> None:
    """Sync now, in the foreground, with progress and a receipt.

    \b
    tidegate sync CONNECTION
        A connection (its id or name) of the configured database. A running worker does it; without
        one this command works on it itself.
    \b
    tidegate sync --system jira --url URL --output issues.ndjson
        Any URL, with nothing set up. --username and a secret: basic authentication; a secret alone: a
        personal access token; neither: anonymous. The file is replaced when the sync is complete or
        partial, and left alone when it failed.

    Private networks are refused unless TIDEGATE_ALLOW_NETWORKS lists them.

    Exit codes: 0 complete, 1 failed, 2 wrong use, 3 partial.
    """
    if connection is not None:
        if any((system, url, output, state, username, secret_env, secret_file, params, streams)):
            raise WrongUse("A connection has its own URL, credential and parameters: leave the options out.")
        request = Request("cli", scope, accept_loss=accept_loss)
        ended = _of_connection(connection, request, patience, follow=follow, quiet=json_)
    else:
        if system is None or url is None or output is None:
            raise WrongUse("Name a connection, or give --system, --url and --output.")
        asked = Asked(
            system=system,
            url=url,
            params=pairs(params),
            streams=streams,
            username=username,
            secret=_secret(username, secret_env, secret_file),
            scope=scope,
            output=_writable(output),
            state=state,
            patience=patience,
        )
        ended = _into_file(asked, quiet=json_)
    if json_:
        show.sync_json(ended)
    elif ended.finished_at is not None:
        show.receipt(ended)
    raise SystemExit(_code(ended, follow=follow))


def _code(sync: Sync, *, follow: bool) -> int:
    """The exit code. A sync that we stopped waiting for is partial if it brought anything."""
    if sync.finished_at is not None:
        return CODES.get(sync.state, 1)
    if not follow:
        return 0
    if sync.error is not None:
        click.echo(show.problem(sync.error), err=True)
    until = f" until {sync.resume_at:%Y-%m-%d %H:%M:%S} UTC" if sync.resume_at else ""
    click.echo(f"Gave up waiting: the remote keeps us waiting{until}. --patience waits longer.", err=True)
    return 3 if sync.pages else 1


def _secret(username: str | None, env: str | None, file: Path | None) -> Secret | None:
    secret = secret_from(env, file)
    if secret is None and username is not None:
        raise WrongUse("--username needs a secret: give --secret-env or --secret-file.")
    return secret


def _writable(output: Path) -> Path:
    """Found out before anything is read, rather than after an hour of reading."""
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise WrongUse(f"--output: the folder {folder} does not exist or cannot be written to.")
    return output.absolute()


def _into_file(asked: Asked, *, quiet: bool) -> Sync:
    with show.Progress(quiet=quiet) as progress:

        async def main(settings: Settings, redactor: Redactor) -> Sync:
            if asked.secret is not None:
                redactor.register(asked.secret.reveal())
            try:
                with by_the_rules():
                    outcome = await sync_into_file(settings, redactor, asked, progress)
            except StateError as e:
                raise WrongUse(str(e)) from None
            except OSError as e:
                raise Failure(f"The file could not be written: {e.strerror or e}") from None
            if outcome.written is None:
                click.echo(f"{asked.output} was left as it was.", err=True)
            else:
                click.echo(f"{outcome.written} records written to {asked.output}.", err=True)
            return outcome.sync

        return run(main, brief=True)


def _of_connection(name: str, request: Request, patience: timedelta, *, follow: bool, quiet: bool) -> Sync:
    with show.Progress(quiet=quiet) as progress:

        async def main(settings: Settings, redactor: Redactor) -> Sync:
            async with open_ground(settings, redactor) as ground, bell(settings) as ringing:
                opened = await _opened(ground, name, request)
                if opened.ring is not None:
                    await ringing.ring([opened.ring])
                if not follow:
                    click.echo(f"Sync {opened.sync.id} is {opened.sync.state}.", err=True)
                    return opened.sync
                return await _followed(ground, opened.sync, patience, progress)

        return run(main, brief=True)


async def _opened(ground: Ground, name: str, request: Request) -> Opened:
    async with ground.database.write() as connection:
        found = await named(connection, name)
        try:
            opened = await open_sync(connection, found.id, request, await clock(connection))
            actor = COMMAND_LINE.actor
            await audit.write(connection, actor, "sync", "connection", found.id, name=found.name)
            return opened
        except ClosedError as e:
            raise Failure(str(e)) from None


async def _followed(ground: Ground, sync: Sync, patience: timedelta, progress: show.Progress) -> Sync:
    """By a worker that is running; without one, worked on here."""
    database = ground.database
    time = Clock(await database.time())
    async with database.read() as connection:
        alone = bool(await processes.missing(connection, ["worker"]))
    if not alone:
        return await follow_sync(database, sync.id, time, patience, progress)
    async with open_remotes(ground, budget_alone(ground.settings, time)) as remotes:
        spread = Random()  # noqa: S311 - spreads retries
        known = ground.redactor
        deps = Deps(database, ground.tables, remotes, owner_name(), lambda: False, spread, redactor=known)
        async with working(deps, sync, time):
            return await follow_sync(database, sync.id, time, patience, progress)
