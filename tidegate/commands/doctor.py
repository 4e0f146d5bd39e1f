"""`tidegate doctor`: what is wrong with this installation, and what to do about it."""

import asyncio
import os
import sys
from collections.abc import Sequence

import click

from config import logs
from config.logs import Redactor
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.doctor import Finding, examine

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@command(epilog="Example: tidegate doctor --json")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def doctor(json_: bool) -> None:
    """Look for what is wrong with this installation, and say what to do.

    Looks at the settings and who may read them, the data folder and its keys, the database, its shape and
    whether it takes writes, Redis and its memory, the clocks of all three, stored secrets, the processes, the
    queue, connections that need a person or are behind, the servers they read from (50 at most, without a
    credential), webhooks, subscriptions and what is in quarantine. Nothing is changed or started.

    Exit codes: 0 nothing fails (there may be warnings), 1 something does.
    """
    redactor = Redactor()
    logs.configure("error", sys.stderr, not sys.stderr.isatty(), redactor)
    try:
        found = asyncio.run(examine(os.environ, redactor))
    except KeyboardInterrupt:
        raise click.Abort from None
    failed = any(one.state == "fail" for one in found)
    if json_:
        show.as_json({"ok": not failed, "findings": found})
    else:
        _tell(found)
    raise SystemExit(1 if failed else 0)


def _tell(found: Sequence[Finding]) -> None:
    width = max(len(one.what) for one in found)
    for one in found:
        state = show.coloured(f"{one.state:4}", COLOURS[one.state])
        click.echo(f"{state}  {one.what:{width}}  {one.message}")
        if one.advice:
            click.echo(f"{'':{width + 8}}-> {one.advice}")
    counts = {state: sum(one.state == state for one in found) for state in COLOURS}
    click.echo(f"\n{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed.")
