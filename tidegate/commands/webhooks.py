"""`tidegate webhooks`: how a remote is to tell of changes at once, and having it do so."""

from collections.abc import Mapping
from pathlib import Path

import click
from msgspec import UNSET, UnsetType

from api import edits
from api import webhooks as hooks
from api.context import Context
from api.webhooks import WebhookAnswer
from config.secret import Secret
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.reach import context, named, secret_from
from tidegate.commands.session import Failure, WrongUse, on_ground
from tidegate.compose import Ground

Do = Mapping[str, bool]


@command(epilog="Example: tidegate webhooks team --register")
@click.argument("name", metavar="CONNECTION")
@click.option("--register", "register", is_flag=True, help="Have the remote call from now on.")
@click.option("--unregister", is_flag=True, help="Have the remote call no more.")
@click.option("--rotate", is_flag=True, help="Make a new address; the old one dies at once.")
@click.option("--secret-env", metavar="NAME", help="The variable that holds a webhook secret, to be stored.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds a webhook secret, to be stored.",
)
@click.option("--no-secret", is_flag=True, help="Forget the webhook secret: the address alone is the proof.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def webhooks(
    name: str,
    register: bool,
    unregister: bool,
    rotate: bool,
    secret_env: str | None,
    secret_file: Path | None,
    no_secret: bool,
    json_: bool,
) -> None:
    """Show the address that a remote is to call, and how to set it up there.

    With --register Tidegate sets it up itself, where the credential may: with a secret of its own, renewed
    before it ends, and removed with the connection. --rotate is for an address that others came to know.

    The remotes reach this Tidegate at TIDEGATE_PUBLIC_URL.
    """
    if register + unregister + rotate > 1:
        raise WrongUse("Give one of --register, --unregister and --rotate.")
    secret = secret_from(secret_env, secret_file)
    if secret is not None and no_secret:
        raise WrongUse("Give a secret, or --no-secret, not both.")
    given = secret if secret is not None else (None if no_secret else UNSET)
    doing = {"register": register, "unregister": unregister, "rotate": rotate}

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await named(connection, name)
        async with context(ground) as rules:
            answer = await _done(rules, found.id, doing, given)
        if json_:
            show.as_json(answer)
        else:
            _told(found.name, answer)
        if answer.error is not None and (register or unregister or rotate):
            raise Failure(show.problem(answer.error))

    on_ground(main)


async def _done(
    rules: Context, connection_id: int, doing: Do, secret: Secret | UnsetType | None
) -> WebhookAnswer:
    if secret is not UNSET:
        text = secret.reveal() if isinstance(secret, Secret) else None
        await edits.edit(rules, connection_id, lambda wanted: wanted, text)
    if doing["register"]:
        return await hooks.set_up(rules, connection_id)
    if doing["unregister"]:
        return await hooks.take_down(rules, connection_id)
    if doing["rotate"]:
        return await hooks.move(rules, connection_id)
    return await hooks.look(rules, connection_id)


def _told(name: str, answer: WebhookAnswer) -> None:
    show.facts(
        {
            "connection": name,
            "address": answer.address,
            "secret": "stored" if answer.has_secret else "none: the address alone is the proof",
            "registered": _registered(answer),
            "last webhook": answer.last_webhook_at or "never",
            "silent since": answer.silent_since,
            "problem": show.problem(answer.error) if answer.error else None,
        }
    )
    if answer.registered:
        return
    click.echo("\nTo set it up by hand:")
    for number, step in enumerate(answer.steps, 1):
        click.echo(f"\n{number}. {step.title}\n   {step.where}")
        for label, value in step.values.items():
            click.echo(f"     {label}: {value}")
    if answer.can_register:
        click.echo(f"\nOr have Tidegate do it: tidegate webhooks {name} --register")


def _registered(answer: WebhookAnswer) -> str:
    if not answer.registered:
        return "no"
    until = f", renewed before {answer.expires_at}" if answer.expires_at else ""
    return f"yes, since {answer.registered_at}{until}"
