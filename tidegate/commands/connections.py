"""`tidegate connections`: what is kept in step, how often, and how it stands."""

import asyncio
from collections.abc import Mapping

import click
import msgspec
from msgspec.structs import replace

from api import edits
from api.access import ADMIN
from api.connections import NewConnection, answer, wanted_of
from api.debug_log import answer as told
from store import connections as stored
from store import debug_log
from store.connections import Connection
from store.database import to_text
from store.debug_log import MOST, Line
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.reach import context, named, pairs
from tidegate.commands.session import WrongUse, confirm, on_ground
from tidegate.compose import Ground

ALL = 1_000_000
LOOK_SECONDS = 0.25
BATCH = 500
NONE = "No connection yet. Add one: tidegate connections add --help"
COLUMNS = ("id", "name", "system", "health", "cause", "frequency", "last success", "next due")


@group()
def connections() -> None:
    """List, show, add and change what is kept in step."""


@connections.command("list", epilog="Example: tidegate connections list --json")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def listed(json_: bool) -> None:
    """All connections, and how they stand."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await stored.listed(connection, 0, ALL)
        if json_:
            show.as_lines(answer(one, ADMIN) for one in found)
        else:
            show.as_table(COLUMNS, [_row(one) for one in found], NONE)

    on_ground(main)


def _row(one: Connection) -> tuple[object, ...]:
    cause = None if one.cause == one.health else one.cause
    times = (one.last_success_at, one.next_due_at)
    return (one.id, one.name, one.system, one.health, cause, one.frequency, *times)


@connections.command("show", epilog="Example: tidegate connections show team")
@click.argument("name", metavar="CONNECTION")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def shown(name: str, json_: bool) -> None:
    """One connection by its id or name: all that is known of it, and what is wrong if something is."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await named(connection, name)
        told = answer(found, ADMIN)
        if json_:
            show.as_json(told)
            return
        facts = msgspec.to_builtins(told)
        # Whoever sees the screen could otherwise push into this connection.
        facts.pop("callback_token")
        facts["last_webhook_at"] = facts["last_webhook_at"] or "never"
        if found.webhook_missed_at is not None:
            facts["webhook_missed_at"] += (
                f": polling finds changes that no webhook told of; look at `tidegate webhooks {found.name}`"
            )
        show.facts({name: _word(value) for name, value in facts.items()})

    on_ground(main)


def _word(value: object) -> object:
    """A member of the answer for people: None for what says nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or None
    return ", ".join(map(str, value)) or None if isinstance(value, list) else value


@connections.command(
    epilog="Example: tidegate connections add builds --system jenkins --url https://ci.example.com/job/api"
)
@click.argument("name")
@click.option("--system", required=True, help="jira, jenkins, azure, or one that a package adds.")
@click.option("--url", help="The URL as you would paste it. Without one it is a draft.")
@click.option("--credential", type=int, metavar="ID", help="The credential; without one, anonymously.")
@click.option("--project", type=int, metavar="ID", help="The project that it belongs to.")
@click.option(
    "--frequency", default="hourly", show_default=True, help="manually, daily, every 15m, cron, ..."
)
@click.option("--timezone", default="UTC", show_default=True, help="For stated times and cron.")
@click.option("--stream", "streams", multiple=True, help="Read only this stream. May be repeated.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def add(
    name: str,
    system: str,
    url: str | None,
    credential: int | None,
    project: int | None,
    frequency: str,
    timezone: str,
    streams: tuple[str, ...],
    params: tuple[str, ...],
    json_: bool,
) -> None:
    """Add a connection called NAME. With a frequency it is due at once."""
    values = {
        "name": name,
        "system": system,
        "url": url,
        "credential_id": credential,
        "project_id": project,
        "frequency": frequency,
        "timezone": timezone,
        "streams": list(streams) or None,
        "params": pairs(params),
    }

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            made = await edits.make(rules, wanted_of(_new(values)), None)
        if json_:
            show.as_json(answer(made, ADMIN))
        else:
            due = f"first due at {to_text(made.next_due_at)}" if made.next_due_at else "synced when asked"
            click.echo(f"Connection {made.id} {made.name} is stored, {due}.")

    on_ground(main)


def _new(values: Mapping[str, object]) -> NewConnection:
    try:
        return msgspec.convert(dict(values), NewConnection)
    except msgspec.ValidationError as e:
        raise WrongUse(str(e)) from None


@connections.command(epilog="Example: tidegate connections enable team")
@click.argument("name", metavar="CONNECTION")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def enable(name: str, json_: bool) -> None:
    """Enable a connection; with a frequency it is due at once."""
    _set(name, "enabled", json_, enabled=True)


@connections.command(epilog="Example: tidegate connections disable team")
@click.argument("name", metavar="CONNECTION")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def disable(name: str, json_: bool) -> None:
    """Disable a connection: what runs for it is cancelled, its records stay."""
    _set(name, "disabled", json_, enabled=False)


@connections.command(epilog="Example: tidegate connections debug team")
@click.argument("name", metavar="CONNECTION")
@click.option("--off", is_flag=True, help="Log no more; what was logged stays for 7 days.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def debug(name: str, off: bool, json_: bool) -> None:
    """Have the syncs of a connection log all that they do, from their next slice on.

    `tidegate connections log NAME` shows it.
    """
    _set(name, "debugged no more" if off else "debugged from now on", json_, debug=not off)


def _set(name: str, said: str, json_: bool, **values: bool) -> None:
    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await named(connection, name)
        async with context(ground) as rules:
            after = await edits.edit(rules, found.id, lambda wanted: replace(wanted, **values))
        if json_:
            show.as_json(answer(after, ADMIN))
        else:
            click.echo(f"Connection {after.id} {after.name} is {said}.")

    on_ground(main)


@connections.command(epilog="Example: tidegate connections log team --follow")
@click.argument("name", metavar="CONNECTION")
@click.option("--follow", is_flag=True, help="Go on printing what its syncs do from now on, until Ctrl-C.")
@click.option("--sync", "sync_id", type=int, metavar="ID", help="Only of this sync.")
@click.option("--limit", type=click.IntRange(0, MOST), default=100, show_default=True, help="The last lines.")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def log(name: str, follow: bool, sync_id: int | None, limit: int, json_: bool) -> None:
    """What the syncs of a connection did while it was debugged, the newest last."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await named(connection, name)
            last = await debug_log.listed(connection, found.id, None, limit, sync_id)
            newest = last or await debug_log.listed(connection, found.id, None, 1)
        if not found.debug:
            off = f"{found.name} is not debugged now; `tidegate connections debug {found.id}` has it logged."
            click.echo(off, err=True)
        for line in reversed(last):
            click.echo(_line(line, json_=json_))
        at = newest[0].id if newest else 0
        while follow:
            async with ground.database.read() as connection:
                more = await debug_log.after(connection, found.id, at, BATCH, sync_id)
            for line in more:
                click.echo(_line(line, json_=json_))
                at = line.id
            if len(more) < BATCH:
                await asyncio.sleep(LOOK_SECONDS)

    on_ground(main)


def _line(line: Line, *, json_: bool) -> str:
    if json_:
        return msgspec.json.encode(told(line)).decode()
    detail = "  ".join(f"{name}={value}" for name, value in line.detail.items())
    return f"{to_text(line.at)}  sync {line.sync_id}  {line.event}  {detail}"


@connections.command(epilog="Example: tidegate connections remove team --records delete --yes")
@click.argument("name", metavar="CONNECTION")
@click.option(
    "--records",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="What becomes of its records; they are deleted in the background.",
)
@click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def remove(name: str, records: str, yes: bool, json_: bool) -> None:
    """Remove a connection and cancel its syncs."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await named(connection, name)
        question = f"Remove connection {found.id} {found.name} and {records} its records?"
        if not yes:
            confirm(question, json_)
        async with context(ground) as rules:
            await edits.remove(rules, found.id, purge=records == "delete")
        show.removed(f"Connection {found.id} {found.name} is removed.", found.id, found.name, json_)

    on_ground(main)
