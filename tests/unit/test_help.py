"""The help of every command reads well: a summary of one line, every option explained, an example."""

from collections.abc import Iterator

import click
import pytest

from tidegate.cli import COMMANDS, main


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
def test_a_command_shows_how_it_is_used(path: str) -> None:
    text = help_of(path)
    shown = f"tidegate {path} " in text.partition("\n")[2]
    assert "Example: " in text or shown or path == "apply"  # which shows a whole file


def test_the_list_of_commands_names_them_all() -> None:
    listed = help_of("")
    assert [name for name in COMMANDS if name not in listed] == []
    assert all(entry.about.endswith(".") and len(entry.about) < 90 for entry in COMMANDS.values())
