"""`tidegate backup` and `tidegate restore`: all that the database holds, in a file, and back."""

from pathlib import Path

import click

from config.logs import Redactor
from config.settings import Settings
from store.database import to_text
from tidegate import backup as files
from tidegate.backup import BackupError
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.session import Failure, on_ground, run
from tidegate.compose import Ground

FILE = click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
JSON = click.option("--json", "json_", is_flag=True, help="Print what was done as JSON, without progress.")


@command(epilog="Example: tidegate backup /backups/tidegate-2026-11-22.zip")
@FILE
@JSON
def backup(path: Path, json_: bool) -> None:
    """Write all that the database holds to FILE, while everything runs.

    It is of one moment, and fits SQLite and PostgreSQL alike. The secret key is not in it: keep a copy of
    that in another place, for without it the stored secrets in the backup cannot be opened.
    """

    async def main(ground: Ground) -> None:
        try:
            with show.Counted("rows", "written", quiet=json_) as told:
                made = await files.make(ground, path, told)
        except BackupError as e:
            raise Failure(str(e)) from None
        if json_:
            show.as_json(
                {
                    "path": str(path),
                    "made_at": to_text(made.manifest.made_at),
                    "rows": made.manifest.rows,
                    "tables": len(made.manifest.tables),
                    "bytes": made.size,
                    "left_out": made.left_out,
                }
            )
            return
        size = made.size / 1024**2
        rows = f"{made.manifest.rows:,} rows of {len(made.manifest.tables)} tables"
        click.echo(f"{rows}, {size:.1f} MiB: {path}")
        for name in made.left_out:
            click.echo(f"Left out, as its adapter is not installed: {name}.", err=True)
        where = "DATA_DIR/secret.key" if ground.settings.secret_key is None else "TIDEGATE_SECRET_KEY"
        click.echo(f"The secret key is not in it; keep a copy of {where} elsewhere.", err=True)

    on_ground(main)


@command(epilog="Example: TIDEGATE_DATABASE_URL=postgresql://db/tidegate tidegate restore backup.zip")
@FILE
@JSON
def restore(path: Path, json_: bool) -> None:
    """Put the backup FILE into an empty database, SQLite or PostgreSQL: all of it, or nothing.

    The secret key must be the one of the installation that the backup was made of (TIDEGATE_SECRET_KEY, or
    DATA_DIR/secret.key). Nothing may run on the database meanwhile. At the next start open syncs go on.
    """

    async def main(settings: Settings, redactor: Redactor) -> None:
        try:
            with show.Counted("rows", "restored", quiet=json_) as told:
                manifest = await files.restore(settings, redactor, path, told)
        except BackupError as e:
            raise Failure(str(e)) from None
        if json_:
            facts = {"made_at": to_text(manifest.made_at), "rows": manifest.rows}
            show.as_json({**facts, "tables": len(manifest.tables)})
            return
        click.echo(f"{manifest.rows:,} rows are restored, as they were at {to_text(manifest.made_at)}.")
        click.echo("Start Tidegate: open syncs go on, and what was due meanwhile is synced once.", err=True)

    run(main, brief=True)
