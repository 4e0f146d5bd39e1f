"""The help of every command reads well: a summary of one line, every option explained, an example."""

import re
import shlex
from collections.abc import Iterator

import click
import msgspec
import pytest
from click.testing import CliRunner

from tidegate.cli import COMMANDS, main
from tidegate.commands.form import Command
from tidegate.commands.helping import SHELLS


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1] if path else "tidegate", **main.context_settings)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


ALL = dict(commands(main))
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}

EXAMPLES = [
    (path, line)
    for path, command in LEAVES.items()
    if isinstance(command, Command)
    for line in command.examples
]


def help_of(path: str) -> str:
    command = ALL[path]
    # A command keeps the option for help that it is first asked for, and other tests read that, too.
    context = click.Context(command, info_name=f"tidegate {path}".strip(), **main.context_settings)
    return command.get_help(context)


@pytest.mark.parametrize("path", list(ALL))
def test_a_command_says_what_it_is_for_in_one_sentence(path: str) -> None:
    summary = (ALL[path].help or "").strip().partition("\n\n")[0].partition("\n")[0]
    assert summary, path
    assert len(summary) <= 110
    assert summary[0].isupper()
    assert summary.endswith((".", ":")) or "." in (ALL[path].help or "")


@pytest.mark.parametrize("path", list(LEAVES))
def test_every_option_is_explained(path: str) -> None:
    options = [one for one in LEAVES[path].params if isinstance(one, click.Option) and not one.hidden]
    assert [one.name for one in options if not (one.help or "").rstrip().endswith(".")] == []


@pytest.mark.parametrize("path", list(LEAVES))
def test_a_command_shows_how_it_is_used_and_its_exit_codes(path: str) -> None:
    text = help_of(path)
    command = LEAVES[path]
    assert isinstance(command, Command)
    assert command.examples
    assert all(f"  {line}\n" in f"{text}\n" for line in command.examples)
    assert "Exit codes:" in text


@pytest.mark.parametrize(("path", "line"), EXAMPLES)
def test_an_example_is_taken_as_it_stands(path: str, line: str) -> None:
    """Its words are those of the command that it is for; what it names need not be there."""
    typed = re.search(r"(?:^|[\s(])tidegate ([^)]*)", line)
    assert typed is not None
    words = shlex.split(typed[1])
    assert " ".join(words).startswith(path)
    found, rest = LEAVES[path], words[len(path.split()) :]
    # Raises if there is no such option, or a value that is not allowed.
    found.make_context(path, rest)


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    ended = CliRunner().invoke(main, ["connections", "lst"])
    assert ended.exit_code == 2
    assert "Did you mean `tidegate connections list`?" in ended.output
    assert "`tidegate connections`?" in CliRunner().invoke(main, ["conections"]).output


def test_an_error_is_json_where_json_is_asked_for() -> None:
    ended = CliRunner().invoke(main, ["top", "--json", "--evry", "2"])
    told = msgspec.json.decode(ended.stderr)
    assert (ended.exit_code, told["exit_code"], ended.stdout) == (2, 2, "")
    assert "--every" in told["detail"]


@pytest.mark.parametrize("path", ["sync", "connections add", "secrets"])
def test_help_of_a_command_is_what_its_option_shows(path: str) -> None:
    asked = CliRunner().invoke(main, ["help", *path.split()])
    assert asked.output == CliRunner().invoke(main, [*path.split(), "--help"]).output
    assert asked.exit_code == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    ended = CliRunner().invoke(main, ["completion", shell])
    assert ended.exit_code == 0
    assert "_TIDEGATE_COMPLETE" in ended.output


def test_the_list_of_commands_names_them_all() -> None:
    listed = help_of("")
    assert [name for name in COMMANDS if name not in listed] == []
    assert all(entry.about.endswith(".") and len(entry.about) < 90 for entry in COMMANDS.values())
