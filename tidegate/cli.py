"""The command line: each command's module is imported when it is called, so that help is quick."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from tidegate.commands.form import Group, end


class _Listed(NamedTuple):
    """Where a command is, and what the list of commands says about it."""

    module: str
    about: str


COMMANDS = {
    "demo": _Listed("demo", "Show Tidegate at work on simulated systems."),
    "up": _Listed("up", "Run everything: API, scheduler and workers."),
    "api": _Listed("running", "Run the API alone."),
    "scheduler": _Listed("running", "Run the scheduler and the relay of events alone."),
    "worker": _Listed("running", "Run one worker alone."),
    "migrate": _Listed("running", "Bring the database to the shape of this version."),
    "health": _Listed("health", "Say whether everything runs, for people and for health checks."),
    "apply": _Listed("apply", "Make what a file declares so: shows the plan first."),
    "connections": _Listed("connections", "List, show, add and change what is kept in step."),
    "credentials": _Listed("credentials", "List, add and remove how to authenticate."),
    "keys": _Listed("keys", "List, add and revoke keys of the API."),
    "test": _Listed("test", "Ask a remote who we are and what can be read, before or after saving."),
    "webhooks": _Listed("webhooks", "Have a remote tell of changes at once: how, and doing so."),
    "sync": _Listed("sync", "Sync now: a connection, or any URL into a file."),
    "syncs": _Listed("syncs", "List, show and cancel syncs."),
    "records": _Listed("records", "Export copied records as NDJSON, CSV or Parquet."),
    "top": _Listed("top", "Watch connections, syncs, processes and hosts live."),
    "events": _Listed("events", "Print what happens, as CloudEvents."),
    "backup": _Listed("backup", "Write all that the database holds to a file, while everything runs."),
    "restore": _Listed("backup", "Put a backup into an empty database, SQLite or PostgreSQL."),
    "secrets": _Listed("secrets", "Show and change the keys that seal the stored secrets."),
    "subscriptions": _Listed("subscriptions", "Tell others of events by webhooks, and see what arrived."),
    "doctor": _Listed("doctor", "Look for what is wrong with this installation, and say what to do."),
    "help": _Listed("helping", "Show the help of a command."),
    "completion": _Listed("helping", "Print what completes commands in bash, zsh or fish."),
}
#: What the function is called where its own name is taken.
_CALLED = {"help": "help_"}


class _Lazy(Group):
    """A group that knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        module = importlib.import_module(f"tidegate.commands.{listed.module}")
        command = getattr(module, _CALLED.get(cmd_name, cmd_name))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, listed.about) for name, listed in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but for how it ends: see `tidegate.commands.form.end`."""
        given = list(sys.argv[1:] if args is None else args)

        def work() -> Any:
            return super(_Lazy, self).main(given, "tidegate", complete_var, standalone_mode=False, **extra)

        return end(work, as_json="--json" in given) if standalone_mode else work()


@click.group(cls=_Lazy, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tidegate", prog_name="tidegate")
@click.option("--json", "json_", is_flag=True, help="Without a command: how things stand, as JSON.")
@click.pass_context
def main(context: click.Context, json_: bool) -> None:
    """Keeps your own database in step with Jira filters, Jenkins jobs and Azure DevOps organisations.

    Settings are environment variables (TIDEGATE_DATA_DIR, TIDEGATE_DATABASE_URL, ...) or the same names
    without the prefix, in lower case, in tidegate.toml. Without any, everything is kept in
    ~/.local/share/tidegate.

    Without a command it says how things stand here, and what to type next. COMMAND --help, or `tidegate help
    COMMAND`, shows its options with examples. With --json an error is a JSON object on standard error:
    title, detail and exit_code. NO_COLOR=1 leaves the colours out.

    Exit codes: 0 all well, 1 it failed, 2 wrong use or settings, 3 partial, 130 stopped with Ctrl-C.
    """
    if context.invoked_subcommand is None:
        importlib.import_module("tidegate.commands.state").tell(json_=json_)
