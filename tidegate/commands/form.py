"""The form of every command: help with examples and exit codes, near misses named, and how it ends."""

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import click
import msgspec

CODES = ((0, "it worked"), (1, "it failed"), (2, "wrong use or settings"), (130, "stopped with Ctrl-C"))
INTERRUPTED = 130
_EXAMPLE = "Example: "
_TITLES = {1: "Failed", 2: "Wrong use or settings", INTERRUPTED: "Stopped"}


class Told(msgspec.Struct, frozen=True):
    """An error of a command as `--json` tells it on standard error, in the manner of RFC 9457."""

    title: str
    detail: str
    exit_code: int
    type: str = "about:blank"


class Command(click.Command):
    """A command whose help ends with its examples and exit codes.

    Its epilog may say something before `Example: `, and holds an example a line after it.
    """

    @property
    def examples(self) -> Sequence[str]:
        """As they are typed."""
        told = (self.epilog or "").partition(_EXAMPLE)[2]
        return [line.strip() for line in told.splitlines() if line.strip()]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if "Exit codes:" not in (self.help or ""):
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), meaning) for code, meaning in CODES])
        before = (self.epilog or "").partition(_EXAMPLE)[0].strip()
        if before:
            formatter.write_paragraph()
            formatter.write_text(before)
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(click.Group):
    """Commands below one name. A name that is none of them is answered with the nearest one."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(self._unknown(ctx, args[0]))
        return super().resolve_command(ctx, args)

    def _unknown(self, ctx: click.Context, name: str) -> str:
        known = self.list_commands(ctx)
        near = get_close_matches(name, known, n=1)
        advice = (
            f"Did you mean `{ctx.command_path} {near[0]}`?" if near else f"There are: {', '.join(known)}."
        )
        return f"There is no command {name}. {advice}"


def command(name: str | None = None, **given: Any) -> Callable[[Callable[..., Any]], Command]:
    """As `click.command`, in the form of ours."""
    return click.command(name, Command, **given)


def group(name: str | None = None, **given: Any) -> Callable[[Callable[..., Any]], Group]:
    """As `click.group`, in the form of ours. Alone it shows its help."""
    return click.group(name, Group, **{"no_args_is_help": True, **given})


def end(work: Callable[[], object], *, as_json: bool) -> None:
    """Run a command line and leave with its exit code; what went wrong is told, without a traceback."""
    try:
        code = work()
    except click.ClickException as e:
        _tell(e, as_json=as_json)
        code = e.exit_code
    except click.Abort:
        if as_json:
            _as_json("It was stopped before its end.", INTERRUPTED)
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough; what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: click.ClickException, *, as_json: bool) -> None:
    if as_json:
        _as_json(error.format_message(), error.exit_code)
    else:
        error.show()


def _as_json(detail: str, code: int) -> None:
    told = Told(_TITLES.get(code, "Failed"), detail, code)
    click.echo(msgspec.json.encode(told), err=True)
