"""`tidegate test`: what a remote answers us now, before a connection is made or after."""

from pathlib import Path

import click

from api.checks import Found, Tried, try_saved, try_unsaved
from api.wanted import Wanted
from config.logs import Redactor
from config.secret import Secret
from config.settings import Settings
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.reach import by_the_rules, context, named, pairs, secret_from
from tidegate.commands.session import WrongUse, on_ground, run
from tidegate.compose import Ground
from tidegate.standalone import Login, try_remote


@command(epilog="Example: tidegate test --system azure --url https://dev.azure.com/company --secret-env PAT")
@click.argument("connection", required=False)
@click.option("--system", help="Without CONNECTION: jira, jenkins, azure, or one that a package adds.")
@click.option("--url", help="Without CONNECTION: the URL, as you would paste it.")
@click.option("--credential", type=int, metavar="ID", help="Without CONNECTION: a stored credential.")
@click.option("--username", help="With a secret: basic authentication as this user.")
@click.option("--secret-env", metavar="NAME", help="The environment variable that holds the secret.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds the secret.",
)
@click.option("--stream", "streams", multiple=True, help="This stream must be readable. May be repeated.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def test(
    connection: str | None,
    system: str | None,
    url: str | None,
    credential: int | None,
    username: str | None,
    secret_env: str | None,
    secret_file: Path | None,
    streams: tuple[str, ...],
    params: tuple[str, ...],
    json_: bool,
) -> None:
    """Ask a remote who we are there, its version, and for each stream whether it can be read.

    \b
    tidegate test CONNECTION
        A stored connection, by its id or name, with its own credential.
    \b
    tidegate test --system jira --url URL
        A connection that is still to be made: with --credential a stored credential; with --username and a
        secret basic authentication; with a secret alone a personal access token; else anonymous. Nothing is
        stored.

    Where a stream cannot be read, it says which permission is missing. Private networks are refused unless
    TIDEGATE_ALLOW_NETWORKS lists them.

    Exit codes: 0 all can be read, 1 it does not work, 2 wrong use, 3 some streams cannot be read.
    """
    secret = secret_from(secret_env, secret_file)
    given = (system, url, credential, username, secret, *streams, *params)
    if connection is not None:
        if any(one is not None for one in given):
            raise WrongUse("A connection has its own URL, credential and parameters: leave the options out.")
        found, chosen = _stored(connection)
    else:
        if system is None or url is None:
            raise WrongUse("Name a connection, or give --system and --url.")
        if credential is not None and (secret is not None or username is not None):
            raise WrongUse("Give --credential, or --username and a secret, not both.")
        if username is not None and secret is None:
            raise WrongUse("--username needs a secret: give --secret-env or --secret-file.")
        wanted = Wanted(
            name=system,
            system=system,
            url=url,
            credential_id=credential,
            frequency="manually",
            streams=list(streams) or None,
            params=pairs(params),
        )
        chosen = bool(streams)
        found = _with_stored(wanted) if credential is not None else _with_given(wanted, username, secret)
    if json_:
        show.as_json(found)
    else:
        _tell(found, _code(found, chosen=chosen))
    raise SystemExit(_code(found, chosen=chosen))


def _stored(name: str) -> tuple[Tried, bool]:
    """What was found, and whether the connection names its streams."""

    async def main(ground: Ground) -> tuple[Tried, bool]:
        async with ground.database.read() as connection:
            found = await named(connection, name)
        async with context(ground) as rules:
            with asking(found.system):
                return await try_saved(rules, found), found.streams is not None

    return on_ground(main)


def _with_stored(wanted: Wanted) -> Tried:
    async def main(ground: Ground) -> Tried:
        async with context(ground) as rules:
            with asking(wanted.system):
                return await try_unsaved(rules, wanted)

    return on_ground(main)


def _with_given(wanted: Wanted, username: str | None, secret: Secret | None) -> Tried:
    async def main(settings: Settings, redactor: Redactor) -> Tried:
        if secret is not None:
            redactor.register(secret.reveal())
        with by_the_rules(), asking(wanted.system):
            return await try_remote(settings, redactor, wanted, Login(username, secret))

    return run(main, brief=True)


def asking(system: str) -> show.Busy:
    """Somebody looks on, unless nobody does."""
    return show.Busy(f"Asking {system}", quiet=False)


def _code(found: Tried, *, chosen: bool) -> int:
    """Where the streams were chosen, nobody asks for the others."""
    if not found.ok:
        return 1
    return 0 if chosen or all(stream.readable for stream in found.streams.values()) else 3


def _tell(found: Tried, code: int) -> None:
    show.facts({"account": found.account, "version": found.system_version})
    if found.streams:
        rows = [_row(name, stream) for name, stream in found.streams.items()]
        show.as_table(("stream", "readable", "records", "problem"), rows)
    for note in found.notes:
        click.echo(f"Note: {note}")
    if found.error is not None:
        click.echo(show.problem(found.error), err=True)
    if found.ok:
        click.echo("It works." if code == 0 else "It works, but not every stream can be read.", err=True)


def _row(name: str, found: Found) -> tuple[object, ...]:
    count = None if found.count is None else f"{found.count:,}"
    return (name, "yes" if found.readable else "no", count, found.problem)
