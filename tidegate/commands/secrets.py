"""`tidegate secrets`: the keys that seal the stored secrets, and changing them while everything runs."""

import click

from tidegate import rotation
from tidegate.commands import show
from tidegate.commands.form import group
from tidegate.commands.session import Failure, on_ground
from tidegate.compose import Ground
from tidegate.rotation import RotationError, State

COLUMNS = ("key", "use", "sealed")


@group()
def secrets() -> None:
    """Show and change the keys that seal the stored secrets.

    A key is named by its id, which tells nothing of the key itself.
    """


@secrets.command("status", epilog="Example: tidegate secrets status --json")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def status(json_: bool) -> None:
    """The keys that are known here, and how many secrets each of them sealed."""

    async def main(ground: Ground) -> None:
        found = await rotation.state(ground.database, ground.vault)
        if json_:
            show.as_json(found)
            return
        show.as_table(COLUMNS, _rows(found))
        _tell(found)

    on_ground(main)


def _rows(found: State) -> list[tuple[object, ...]]:
    keys = [*found.keys, *(key for key in found.sealed if key not in found.keys)]
    return [(key, _use(found, key), _shown(found, key)) for key in keys]


def _use(found: State, key: str) -> str:
    if key == found.key:
        return "seals and opens"
    if key not in found.keys:
        return "missing here"
    return "the next one" if key == found.newest else "opens"


def _shown(found: State, key: str) -> str:
    columns = found.sealed.get(key, {})
    return ", ".join(f"{count} of {column}" for column, count in columns.items()) or "nothing"


def _tell(found: State) -> None:
    if found.behind:
        click.echo(f"Without the newest key: {', '.join(found.behind)}.", err=True)
    if found.under_way:
        click.echo(
            f"{found.left} are not sealed with the newest key: `tidegate secrets rotate` goes on.", err=True
        )


@secrets.command("rotate", epilog="Example: tidegate secrets rotate")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "json_", is_flag=True, help="Print what was done as JSON.")
def rotate(dry_run: bool, json_: bool) -> None:
    """Seal all stored secrets with a new key, while everything runs.

    For the embedded database the new key is made here, in DATA_DIR/secret.key; where TIDEGATE_SECRET_KEY is
    given, it is the first one in it. Broken off, it goes on when it is run again. The old key still opens
    older backups; `tidegate secrets forget` removes it.
    """

    async def main(ground: Ground) -> None:
        if dry_run:
            found = await rotation.state(ground.database, ground.vault)
            show.as_json(found) if json_ else _plan(ground, found)
            return
        try:
            with show.Counted("secrets", "sealed anew", quiet=json_) as told:
                done = await rotation.rotate(ground.settings, ground.database, ground.vault, told=told)
        except RotationError as e:
            raise Failure(f"Not rotated: {e}") from None
        if json_:
            show.as_json(done)
        if done.unreadable:
            raise Failure(
                f"{done.count} secrets are sealed with key {done.key} now; no key here opens "
                f"{', '.join(done.unreadable)}. Give these anew, or the key that is missing."
            )
        if not json_:
            click.echo(f"{done.count} secrets were sealed anew; everything is sealed with key {done.key}.")
            show.note(_afterwards(ground))

    on_ground(main)


def _plan(ground: Ground, found: State) -> None:
    if found.under_way or rotation.own_file(ground.settings) is None:
        count, of = found.left, f"the key {found.newest}"
    else:
        count, of = sum(sum(by.values()) for by in found.sealed.values()), "a new key"
    click.echo(f"{count} secrets would be sealed with {of}.")
    _tell(found)


def _afterwards(ground: Ground) -> str:
    file = rotation.own_file(ground.settings)
    if file is None:
        return "Take the old key out of TIDEGATE_SECRET_KEY at the next restart; keep it for older backups."
    return f"Back up {file} anew. The old key is kept in it; `tidegate secrets forget` removes it."


@secrets.command("forget", epilog="Example: tidegate secrets forget")
@click.option("--json", "json_", is_flag=True, help="Print how many were removed as JSON.")
def forget(json_: bool) -> None:
    """Remove old keys from DATA_DIR/secret.key, once nothing is sealed with them.

    Backups of the time before the change cannot be opened without them.
    """

    async def main(ground: Ground) -> None:
        try:
            count = await rotation.forget(ground.settings, ground.database, ground.vault)
        except RotationError as e:
            raise Failure(str(e)) from None
        if json_:
            show.as_json({"removed": count})
        else:
            click.echo(f"{count} old keys were removed." if count else "There is no old key.")

    on_ground(main)
