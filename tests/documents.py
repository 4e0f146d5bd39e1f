"""What the texts of the project show: their code blocks, and the command lines in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from tests.tree import ROOT
from tidegate.cli import main

TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALL = "\n".join(path.read_text("utf-8") for path in TEXTS)


def blocks(language: str, text: str = ALL) -> list[str]:
    """The contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def command_lines(text: str = ALL) -> Iterator[str]:
    """The lines of all shell blocks, continued ones joined."""
    for block in blocks("sh", text):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield line


def commands() -> Iterator[list[str]]:
    """The words of each `tidegate ...`, in blocks and in running text, from its name to the end of it."""
    lines = list(command_lines())
    lines += re.findall(r"`((?:TIDEGATE_\w+=\S+ )?tidegate [^`]+)`", ALL)
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words[:1] == ["tidegate"]:
            yield words[1:]


def refusal(words: list[str]) -> str | None:
    """Why the command line would not take these words; it is only parsed, nothing is run."""
    command: click.Command = main
    context = click.Context(main, info_name="tidegate", **main.context_settings)
    try:
        while isinstance(command, click.Group) and words:
            name, found, words = command.resolve_command(context, words)
            assert found is not None
            command = found
            context = click.Context(command, info_name=name, parent=context)
        if not isinstance(command, click.Group):
            command.parse_args(context, words)
    except click.ClickException as e:
        return e.format_message()
    return None


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
