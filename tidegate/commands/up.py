"""`tidegate up`. What is large is imported while the workers already load."""

import os
from importlib import import_module

import click

from config.settings import SettingsError, load
from tidegate.commands.form import command
from tidegate.spawning import discard, spawn_worker


@command(
    epilog="Private networks are refused unless TIDEGATE_ALLOW_NETWORKS lists them. "
    "Example: TIDEGATE_WORKERS=2 tidegate up"
)
def up() -> None:
    """Run everything: API, scheduler, relay of events, and TIDEGATE_WORKERS worker processes.

    Without further settings it keeps a SQLite database and a Redis of its own in TIDEGATE_DATA_DIR. The
    first start makes an API key for the administrator and prints it, once. Stop it with Ctrl-C or SIGTERM:
    pages in flight are committed, and everything has ended within 20 seconds.
    """
    try:
        workers = [spawn_worker() for _ in range(load(os.environ).workers)]
    except SettingsError as e:
        click.echo(f"Error: {e}", err=True)
        raise SystemExit(2) from None
    try:
        import_module("tidegate.up").main(workers)
    finally:
        for worker in workers:
            discard(worker)
