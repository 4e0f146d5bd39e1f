"""`tidegate events`: what happened and what happens, as CloudEvents from the database."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import click
import msgspec

from events.envelope import dressed
from store import connections as stored
from store import outbox
from store.database import clock
from store.health import Problem
from store.outbox import Event
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.reach import named
from tidegate.commands.session import on_ground
from tidegate.commands.sync import Duration
from tidegate.compose import Ground

LOOK_SECONDS = 0.25
BATCH = 500
ALL = 1_000_000


@command(epilog="Example: tidegate events --since 1h --follow --connection team")
@click.option("--follow", is_flag=True, help="Go on printing what happens from now on, until Ctrl-C.")
@click.option("--since", type=Duration(), help="Begin so long ago (1h, 2d); up to 7 days are kept.")
@click.option("--after", type=int, metavar="POSITION", help="Begin after this position.")
@click.option("--connection", metavar="CONNECTION", help="Only of this connection, by its id or name.")
@click.option("--json", "json_", is_flag=True, help="CloudEvents JSON, one a line. The default when piped.")
def events(
    follow: bool, since: timedelta | None, after: int | None, connection: str | None, json_: bool
) -> None:
    """Print events: all that are kept, or those of --since or --after; with --follow also what is to come.

    On a terminal an event is a line with its time (UTC) and position, piped it is JSON. An event is printed
    once the relay of `tidegate up` or `tidegate scheduler` has numbered it.
    """

    async def main(ground: Ground) -> None:
        async with ground.database.read() as reading:
            only = None if connection is None else (await named(reading, connection)).id
            at = 0 if after is None else after
            if since is not None:
                at = await outbox.position_before(reading, await clock(reading) - since)
            elif follow and after is None:
                at = await outbox.last_position(reading)
            known = await stored.listed(reading, 0, ALL)
        plain = json_ or not show.on_terminal()
        names = {one.id: one.name for one in known}
        await _print(ground, at, only, names, follow=follow, plain=plain)

    on_ground(main)


async def _print(
    ground: Ground, at: int, only: int | None, names: Mapping[int, str], *, follow: bool, plain: bool
) -> None:
    while True:
        async with ground.database.read() as connection:
            found: Sequence[Event] = await outbox.after(connection, at, BATCH, only)
        for event in found:
            click.echo(dressed(event) if plain else _line(event, names))
            at = event.position or at
        if len(found) < BATCH:
            if not follow:
                return
            await asyncio.sleep(LOOK_SECONDS)


class _Data(msgspec.Struct):
    """The few members of any type of event that a line shows."""

    state: str = ""
    scope: str = ""
    trigger: str = ""
    health: str = ""
    cause: str | None = None
    name: str = ""
    enabled: bool = False
    reason: Problem | None = None


def _line(event: Event, names: Mapping[int, str]) -> str:
    """An event for people: when, its position (for --after), whose it is, and what happened."""
    at = f"{event.at:%Y-%m-%d %H:%M:%S}  {event.position:>6}"
    data = msgspec.json.decode(event.data, type=_Data)
    if event.subscription_id:
        switched = "on" if data.enabled else "off"
        told = f": {data.reason.message}" if data.reason else ""
        what = f"subscription {event.subscription_id}  {data.name} switched {switched}{told}"
        return f"{at}  {what}"
    of = f" ({data.scope}, {data.trigger})" if data.state else ""
    why = f": {data.cause}" if data.cause else ""
    told = f"{show.coloured_word(data.state or data.health)}{of}{why}"
    return f"{at}  {names.get(event.connection_id, event.connection_id)}: {told}"
