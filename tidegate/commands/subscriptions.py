"""`tidegate subscriptions`: who is told of events by webhooks, and what arrived there."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from api import sendings as sent
from api.subscribed import NewSubscription, SubscriptionAnswer, SubscriptionChange, answer
from api.subscribing import discard, edit, make, renew
from store import projects, sendings
from store import subscriptions as stored
from store.health import HEALTHS
from store.outgoing import sendings as table
from store.projects import Project
from store.subscriptions import TYPES
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.reach import context, named, secret_from
from tidegate.commands.session import Failure, WrongUse, on_ground
from tidegate.compose import Ground

ALL = 1_000_000
STATES = ("queued", "running", "waiting", "succeeded", "partial", "failed", "cancelled")
COLUMNS = ("id", "name", "url", "status", "last success", "next attempt", "last error")
SENT = ("id", "event", "type", "source", "state", "attempts", "last attempt", "next attempt", "answer")

_ID = click.argument("subscription_id", type=click.IntRange(1), metavar="ID")
_JSON = click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
_SECRET_ENV = click.option(
    "--secret-env", metavar="NAME", help="The variable that holds a secret of your own (whsec_...)."
)
_SECRET_FILE = click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds a secret of your own.",
)


@group()
def subscriptions() -> None:
    """Tell others of events by signed webhooks, and see what arrived."""


@subscriptions.command("list", epilog="Example: tidegate subscriptions list --json")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def listed(json_: bool) -> None:
    """All subscriptions, and how they get on."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await stored.listed(connection, 0, ALL)
        told = [answer(one) for one in found]
        if json_:
            show.as_lines(told)
        else:
            none = "No subscription yet. Add one: tidegate subscriptions add --help"
            show.as_table(COLUMNS, [_row(one) for one in told], none)

    on_ground(main)


def _row(one: SubscriptionAnswer) -> tuple[object, ...]:
    why = one.disabled_reason or one.last_error
    return (
        *(one.id, one.name, one.url, one.status, one.last_success_at, one.next_attempt_at),
        why.message if why and one.status != "active" else None,
    )


@subscriptions.command(
    epilog="Example: tidegate subscriptions add chat https://hooks.example.com/x --type status --state failed"
)
@click.argument("name")
@click.argument("url")
@click.option("--project", metavar="PROJECT", help="Only of this project's connections, by its id or key.")
@click.option(
    "--connection",
    "only",
    multiple=True,
    metavar="CONNECTION",
    help="Only of this connection, by its id or name. May be repeated, as all that follow.",
)
@click.option("--system", "systems", multiple=True, metavar="SYSTEM", help="Only of connections to it.")
@click.option("--type", "types", multiple=True, type=click.Choice(TYPES), help="Only events of this type.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Of syncs, only in it.")
@click.option(
    "--health", "healths", multiple=True, type=click.Choice(HEALTHS), help="Of connections, only with it."
)
@_SECRET_ENV
@_SECRET_FILE
@_JSON
def add(
    name: str,
    url: str,
    project: str | None,
    only: tuple[str, ...],
    systems: tuple[str, ...],
    types: tuple[str, ...],
    states: tuple[str, ...],
    healths: tuple[str, ...],
    secret_env: str | None,
    secret_file: Path | None,
    json_: bool,
) -> None:
    """Tell URL, from now on, of events, under a NAME. Its secret is printed this once, on standard output."""
    secret = secret_from(secret_env, secret_file)

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            ids = [(await named(connection, one)).id for one in only]
        values = {
            "name": name,
            "url": url,
            "project_id": None if project is None else await _project(ground, project),
            "connection_ids": ids or None,
            "systems": list(systems) or None,
            "types": list(types) or None,
            "states": list(states) or None,
            "healths": list(healths) or None,
            "secret": secret.reveal() if secret else None,
        }
        async with context(ground) as rules:
            made = await make(rules, _new(values))
        if json_:
            show.as_json(made)
            return
        click.echo(f"Subscription {made.id} {made.name} is made. Its secret is shown this once:", err=True)
        click.echo(made.secret)

    on_ground(main)


def _new(values: Mapping[str, object]) -> NewSubscription:
    try:
        return msgspec.convert(dict(values), NewSubscription)
    except msgspec.ValidationError as e:
        raise WrongUse(str(e)) from None


async def _project(ground: Ground, text: str) -> int:
    async with ground.database.read() as connection:
        found: Project | None = None
        if text.isdigit() and len(text) < 19:
            found = await projects.get(connection, int(text))
        found = found or await projects.by_key(connection, text)
    if found is None:
        raise Failure(f"There is no project {text}: give its id or key.")
    return found.id


@subscriptions.command(epilog="Example: tidegate subscriptions enable 3")
@_ID
@click.option("--from-now", is_flag=True, help="Skip what waits; without it, it is sent now.")
@_JSON
def enable(subscription_id: int, from_now: bool, json_: bool) -> None:
    """Switch a subscription on again, or have what waits sent now."""
    start = "now" if from_now else None
    change = msgspec.convert({"enabled": True, **({"from": start} if start else {})}, SubscriptionChange)

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            found = await edit(rules, subscription_id, change)
        if json_:
            show.as_json(answer(found))
        else:
            click.echo(f"Subscription {found.id} {found.name} is on.")

    on_ground(main)


@subscriptions.command(epilog="Example: tidegate subscriptions disable 3")
@_ID
@_JSON
def disable(subscription_id: int, json_: bool) -> None:
    """Switch a subscription off."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            found = await edit(rules, subscription_id, SubscriptionChange(enabled=False))
        if json_:
            show.as_json(answer(found))
        else:
            click.echo(f"Subscription {found.id} {found.name} is off.")

    on_ground(main)


@subscriptions.command(epilog="Example: tidegate subscriptions remove 3")
@_ID
@_JSON
def remove(subscription_id: int, json_: bool) -> None:
    """Remove a subscription, with the log of what was sent."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            found = await discard(rules, subscription_id)
        show.removed(f"Subscription {found.id} {found.name} is removed.", found.id, found.name, json_)

    on_ground(main)


@subscriptions.command(epilog='Example: SECRET="$(tidegate subscriptions rotate 3)"')
@_ID
@_SECRET_ENV
@_SECRET_FILE
@_JSON
def rotate(subscription_id: int, secret_env: str | None, secret_file: Path | None, json_: bool) -> None:
    """Make a new secret and print it, this once. For 24 hours the old one signs, too."""
    secret = secret_from(secret_env, secret_file)

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            made = await renew(rules, subscription_id, secret.reveal() if secret else None)
        if json_:
            show.as_json(made)
            return
        until = f"The old one signs, too, until {made.old_secret_until}."
        click.echo(f"Subscription {made.id} {made.name} has a new secret, shown this once. {until}", err=True)
        click.echo(made.secret)

    on_ground(main)


@subscriptions.command(epilog="Example: tidegate subscriptions test 3")
@_ID
@_JSON
def test(subscription_id: int, json_: bool) -> None:
    """Send an event that says nothing, now, and tell what came back."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            tried = await sent.attempt(rules, subscription_id)
        _tell(tried, json_=json_)

    on_ground(main)


@subscriptions.command(epilog="Example: tidegate subscriptions deliveries 3 --state failed")
@_ID
@click.option(
    "--state",
    type=click.Choice(["pending", "delivered", "failed", "skipped"]),
    help="Only those in this state.",
)
@click.option("--limit", type=click.IntRange(1, ALL), default=50, show_default=True, help="At most so many.")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def deliveries(subscription_id: int, state: str | None, limit: int, json_: bool) -> None:
    """What was sent within the last 7 days, and what is to be sent again; newest first."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            one = await stored.get(connection, subscription_id)
            if one is None:
                raise Failure(f"There is no subscription {subscription_id}.")
            filters = [] if state is None else [table.c.state == state]
            found = await sendings.listed(connection, subscription_id, None, limit, *filters)
        told = [sent.answer(one, sending) for sending in found]
        if json_:
            show.as_lines(told)
        else:
            show.as_table(SENT, [_sent(each) for each in told], "Nothing was sent within the last 7 days.")

    on_ground(main)


def _sent(one: sent.DeliveryAnswer) -> tuple[object, ...]:
    came = one.error or one.response
    return (
        *(one.id, one.event_id, one.type, one.source, one.state, one.attempts),
        *(one.last_attempt_at, one.next_attempt_at, came),
    )


@subscriptions.command(epilog="Example: tidegate subscriptions redeliver 3 118 119")
@_ID
@click.argument("delivery_ids", type=click.IntRange(1), metavar="DELIVERY...", nargs=-1, required=True)
@_JSON
def redeliver(subscription_id: int, delivery_ids: tuple[int, ...], json_: bool) -> None:
    """Send events once more, now, whatever became of them."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            for delivery_id in delivery_ids:
                _tell(await sent.again(rules, subscription_id, delivery_id), json_=json_)

    on_ground(main)


def _tell(tried: sent.TriedSubscription, *, json_: bool) -> None:
    """What came back; a failure of the command if it did not arrive."""
    if json_:
        show.as_json(tried)
    elif tried.ok:
        click.echo(f"It arrived: {tried.response} in {tried.milliseconds} ms.")
    if not tried.ok:
        assert tried.error is not None
        raise Failure(show.problem(tried.error))
