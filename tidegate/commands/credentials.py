"""`tidegate credentials`: how to authenticate. A secret goes in and never out."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from api.credentials import NewCredential, answer, discard, make
from store import credentials as stored
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.reach import context, secret_from
from tidegate.commands.session import Failure, WrongUse, on_ground
from tidegate.compose import Ground

ALL = 1_000_000


@group()
def credentials() -> None:
    """List, add and remove how to authenticate at a system."""


@credentials.command("list", epilog="Example: tidegate credentials list --json")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def listed(json_: bool) -> None:
    """All credentials, without their secrets."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await stored.listed(connection, 0, ALL)
        if json_:
            show.as_lines(map(answer, found))
            return
        rows = [(one.id, one.name, one.system, one.kind, one.username) for one in found]
        none = "No credential yet. Add one: tidegate credentials add --help"
        show.as_table(("id", "name", "system", "kind", "username"), rows, none)

    on_ground(main)


@credentials.command(
    epilog="Example: tidegate credentials add me --system jira --username me@example.com --secret-env TOKEN"
)
@click.argument("name")
@click.option("--system", required=True, help="The system that it is for: jira, jenkins, azure.")
@click.option(
    "--kind",
    type=click.Choice(["basic", "bearer", "pat", "anonymous", "oauth2"]),
    help="By default oauth2 with a token URL, basic with a user name, else pat.",
)
@click.option("--username", help="The user name, or the e-mail address of a Jira Cloud account.")
@click.option("--secret-env", metavar="NAME", help="The environment variable that holds the secret.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds the secret.",
)
@click.option("--token-url", help="oauth2: where tokens are fetched.")
@click.option(
    "--refresh-token-env",
    metavar="NAME",
    help="oauth2: the environment variable that holds the refresh token of a consent.",
)
@click.option(
    "--refresh-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="oauth2: the file that holds the refresh token.",
)
@click.option("--client-id", help="oauth2: the client's id.")
@click.option("--scope", help="oauth2: the scope asked for.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def add(
    name: str,
    system: str,
    kind: str | None,
    username: str | None,
    secret_env: str | None,
    secret_file: Path | None,
    refresh_token_env: str | None,
    refresh_token_file: Path | None,
    token_url: str | None,
    client_id: str | None,
    scope: str | None,
    json_: bool,
) -> None:
    """Add a credential called NAME.

    Its secret comes from --secret-env or --secret-file, else it is asked for. It is never an argument,
    for those can be seen by others on this machine. With --kind oauth2 the secret is the client's; a client
    without one gives a refresh token alone.
    """
    kind = kind or ("oauth2" if token_url else "basic" if username else "pat")
    refresh_token = secret_from(refresh_token_env, refresh_token_file, "--refresh-token")
    secret = secret_from(secret_env, secret_file)
    needed = secret is None and refresh_token is None and kind != "anonymous"
    values = {
        "name": name,
        "system": system,
        "kind": kind,
        "username": username,
        "secret": _asked() if needed else secret and secret.reveal(),
        "refresh_token": refresh_token and refresh_token.reveal(),
        "token_url": token_url,
        "client_id": client_id,
        "scope": scope,
    }

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            made = await make(rules, _new(values))
        if json_:
            show.as_json(made)
        else:
            click.echo(f"Credential {made.id} {made.name} is stored.")

    on_ground(main)


@credentials.command(epilog="Example: tidegate credentials remove 3")
@click.argument("credential_id", type=int, metavar="ID")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def remove(credential_id: int, json_: bool) -> None:
    """Remove a credential that no connection uses."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            await discard(rules, credential_id)
        show.removed(f"Credential {credential_id} is removed.", credential_id, None, json_)

    on_ground(main)


def _asked() -> str:
    try:
        return str(click.prompt("Secret", hide_input=True, err=True))
    except click.Abort:
        raise Failure("No secret was given; use --secret-env or --secret-file where nobody types.") from None


def _new(values: Mapping[str, object]) -> NewCredential:
    try:
        return msgspec.convert(dict(values), NewCredential)
    except msgspec.ValidationError as e:
        raise WrongUse(str(e)) from None
