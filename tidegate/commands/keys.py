"""`tidegate keys`: who may use the API, and for what. A key is shown once, when it is made."""

import click

from api.access import PERMISSIONS, Permission
from api.keys import NewKey, answer, make, revoke
from store import keys as stored
from store import projects
from store.keys import Key
from store.projects import Project
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.reach import context
from tidegate.commands.session import Failure, on_ground
from tidegate.compose import Ground

ALL = 1_000_000
COLUMNS = ("id", "name", "permissions", "projects", "created", "last used", "revoked")


@group()
def keys() -> None:
    """List, add and revoke keys of the API.

    The administrator's key (TIDEGATE_ADMIN_KEY, or DATA_DIR/admin.key) is not among them.
    """


@keys.command("list", epilog="Example: tidegate keys list --all --json")
@click.option("--all", "all_", is_flag=True, help="Those that were revoked, too.")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def listed(all_: bool, json_: bool) -> None:
    """The keys, what they permit, and when they were last used."""

    async def main(ground: Ground) -> None:
        async with ground.database.read() as connection:
            found = await stored.listed(connection, 0, ALL)
        found = [one for one in found if all_ or one.revoked_at is None]
        if json_:
            show.as_lines(map(answer, found))
        else:
            none = "No key but the administrator's. Make one: tidegate keys add --help"
            show.as_table(COLUMNS, [_row(one) for one in found], none)

    on_ground(main)


def _row(key: Key) -> tuple[object, ...]:
    times = (key.created_at, key.last_used_at, key.revoked_at)
    of = "all" if key.projects is None else ", ".join(map(str, key.projects))
    return (key.id, key.name, ", ".join(key.permissions), of, *times)


@keys.command(epilog='Example: KEY="$(tidegate keys add dashboard --permission read --project WEB)"')
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice(PERMISSIONS),
    default=("read",),
    show_default=True,
    help="What it permits; admin implies write, and that read. May be repeated.",
)
@click.option(
    "--project",
    "only",
    multiple=True,
    metavar="PROJECT",
    help="See and change only this project, by its id or key. May be repeated; without it, everything.",
)
@click.option("--json", "json_", is_flag=True, help="Print all of it as JSON, with the text of the key.")
def add(name: str, permissions: tuple[Permission, ...], only: tuple[str, ...], json_: bool) -> None:
    """Make a key called NAME and print its text, this once, on standard output."""

    async def main(ground: Ground) -> None:
        limited = [await _project(ground, text) for text in only] or None
        async with context(ground) as rules:
            made = await make(rules, NewKey(name=name, permissions=list(permissions), projects=limited))
        if json_:
            show.as_json(made)
            return
        click.echo(f"Key {made.id} {made.name} is made. Its text is shown this once:", err=True)
        click.echo(made.key)

    on_ground(main)


async def _project(ground: Ground, text: str) -> int:
    async with ground.database.read() as connection:
        found: Project | None = None
        if text.isdigit() and len(text) < 19:
            found = await projects.get(connection, int(text))
        found = found or await projects.by_key(connection, text)
    if found is None:
        raise Failure(f"There is no project {text}: give its id or key.")
    return found.id


@keys.command("revoke", epilog="Example: tidegate keys revoke 3")
@click.argument("key_ids", type=click.IntRange(1), metavar="ID...", nargs=-1, required=True)
@click.option("--json", "json_", is_flag=True, help="One JSON object a line.")
def revoked(key_ids: tuple[int, ...], json_: bool) -> None:
    """Revoke keys: within two seconds they open nothing any more. This cannot be undone."""

    async def main(ground: Ground) -> None:
        async with context(ground) as rules:
            for key_id in key_ids:
                found = await revoke(rules, key_id)
                if json_:
                    show.as_lines([answer(found)])
                else:
                    click.echo(f"Key {found.id} {found.name} is revoked.")

    on_ground(main)
