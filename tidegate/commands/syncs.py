"""`tidegate syncs`: what ran, what runs, what it brought, and why it failed."""

import click
from sqlalchemy.sql import ColumnElement

from api.syncs import stop
from store import connections
from store import syncs as stored
from store.schema import LIVE
from store.schema import syncs as table
from store.syncs import Sync
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.reach import context, named
from tidegate.commands.session import Failure, on_ground
from tidegate.compose import Ground

STATES = ("queued", "running", "waiting", "succeeded", "partial", "failed", "cancelled")
COLUMNS = ("id", "connection", "state", "trigger", "scope", "queued", "took", "read", "stored anew", "why")


@group()
def syncs() -> None:
    """List and show syncs, and cancel those that have not ended."""


@syncs.command("list", epilog="Example: tidegate syncs list team --state failed --limit 5")
@click.argument("name", metavar="[CONNECTION]", required=False)
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only these. May be repeated."
)
@click.option("--live", is_flag=True, help="Only those that have not ended.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, at most.")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def listed(name: str | None, states: tuple[str, ...], live: bool, limit: int, json_: bool) -> None:
    """Syncs of a connection (its id or name), or of all; newest first."""
    wanted = (*states, *(LIVE if live else ()))

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            filters: list[ColumnElement[bool]] = [table.c.state.in_(wanted)] if wanted else []
            if name is not None:
                filters.append(table.c.connection_id == (await named(connection, name)).id)
            found = await stored.listed(connection, None, limit, *filters)
            ids = {one.connection_id for one in found}
            known = {id_: await connections.get(connection, id_, deleted=True) for id_ in ids}
        if json_:
            show.as_lines(map(stored.status_of, found))
            return
        names = {id_: one.name if one else str(id_) for id_, one in known.items()}
        rows = [_row(one, names[one.connection_id]) for one in found]
        show.as_table(COLUMNS, rows, "No such sync. Begin one: tidegate sync CONNECTION")

    on_ground(main)


def _row(sync: Sync, connection: str) -> tuple[object, ...]:
    counts = sync.counters.values()
    return (
        sync.id,
        connection,
        sync.state,
        sync.trigger,
        sync.scope,
        sync.queued_at,
        show.took(sync),
        sum(one.read for one in counts),
        sum(one.new + one.changed for one in counts),
        None if sync.error is None else f"{sync.error.kind}: {sync.error.message}",
    )


@syncs.command("show", epilog="Example: tidegate syncs show 17")
@click.argument("sync_id", type=click.IntRange(1), metavar="ID")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def shown(sync_id: int, json_: bool) -> None:
    """One sync: its counters, its receipt, and what to do if something went wrong."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            sync = await stored.get(connection, sync_id)
            if sync is None:
                raise Failure(f"There is no sync {sync_id}; `tidegate syncs list` shows those there are.")
            of = await connections.get(connection, sync.connection_id, deleted=True)
        if json_:
            show.sync_json(sync)
            return
        name = of.name if of else "?"
        show.facts(
            {
                "connection": f"{sync.connection_id} {name}",
                "trigger": sync.trigger,
                "scope": sync.scope,
                "lane": sync.lane,
                "joined": sync.joined or None,
                "queued": sync.queued_at,
                "started": sync.started_at,
                "finished": sync.finished_at,
                "goes on": sync.resume_at,
                "waited": f"{sync.waited / 1000:.1f} s" if sync.waited >= 100 else None,
            }
        )
        show.receipt(sync)

    on_ground(main)


@syncs.command("cancel", epilog="Example: tidegate syncs cancel 17")
@click.argument("sync_ids", type=click.IntRange(1), metavar="ID...", nargs=-1, required=True)
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def cancelled(sync_ids: tuple[int, ...], json_: bool) -> None:
    """Cancel syncs that have not ended. What they committed stays."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            for sync_id in sync_ids:
                sync = await stop(rules, sync_id)
                if json_:
                    show.as_lines([stored.status_of(sync)])
                else:
                    click.echo(f"Sync {sync.id} is cancelled.")

    on_ground(main)
