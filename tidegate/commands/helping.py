"""`tidegate help` and `tidegate completion`: finding one's way on the command line."""

import click
from click.shell_completion import get_completion_class

from tidegate.commands.form import Group, command

SHELLS = ("bash", "zsh", "fish")


@command(
    "help",
    epilog="Example: tidegate help sync\ntidegate help connections add",
)
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(context: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command: the same as COMMAND --help."""
    at = context.find_root()
    for name in names:
        if not isinstance(at.command, Group):
            raise click.UsageError(f"{at.command_path} has no commands below it.", at)
        found = at.command.resolve_command(at, [name])[1]
        assert found is not None
        at = click.Context(found, info_name=name, parent=at)
    click.echo(at.get_help())


@command(epilog='Example: eval "$(tidegate completion bash)"\ntidegate completion fish')
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what completes commands and options with the tab key.

    \b
    bash   eval "$(tidegate completion bash)"      in ~/.bashrc
    zsh    eval "$(tidegate completion zsh)"       in ~/.zshrc
    fish   tidegate completion fish > ~/.config/fish/completions/tidegate.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "tidegate", "_TIDEGATE_COMPLETE").source())
