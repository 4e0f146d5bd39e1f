"""`tidegate apply`: makes what a TOML file declares so, after showing what that means."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
import msgspec

from config.declared import DeclarationError, Declared, load
from config.fields import Wrong
from config.logs import Redactor
from tidegate.applying import Moved, Refused, carry_out, draw
from tidegate.commands import show
from tidegate.commands.form import command
from tidegate.commands.reach import context
from tidegate.commands.session import Failure, WrongUse, on_ground
from tidegate.compose import Ground
from tidegate.plan import Field, Named, Plan, Step

SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
DONE = {"create": "created", "change": "changed", "remove": "removed"}
TO_DO = {"create": "to create", "change": "to change", "remove": "to remove"}
DIFFERENT = 3


@command(epilog="Example: tidegate apply connections.toml --plan\ntidegate apply connections.toml --yes")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--plan", "only", is_flag=True, help="Only show the plan; exit code 3 if it is not empty.")
@click.option("--prune", is_flag=True, help="Also remove what earlier runs made and the file no longer has.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked, as in a pipe.")
@click.option("--json", "json_", is_flag=True, help="Print the plan as JSON, and do not ask.")
def apply(file: Path, *, only: bool, prune: bool, yes: bool, json_: bool) -> None:
    """Make the projects, credentials and connections that FILE declares so.

    Shows what would be created (+), changed (~) and removed (-), asks, and does all of it or nothing. Where
    nobody can be asked, --yes is needed. Applied again, the plan is empty. What is stored but not in the
    file is left alone and listed.

    \b
    [credentials.jira]
    system = "jira"
    username = "sync@example.com"
    secret_env = "JIRA_TOKEN"          # or secret_file = "jira.token"
    \b
    [connections.payments]
    system = "jira"
    url = "https://${JIRA_SITE}/issues/?filter=12345"
    credential = "jira"
    frequency = "every 15m"

    --prune needs a name for the file, set = "some-name" as its first line. It removes connections that were
    applied under that name and are no longer in the file, and their credentials if nothing else uses them.
    The records of a removed connection stay.

    Exit codes: 0 it is as declared, 1 it failed, 2 the file or the use of the command is wrong, 3 with
    --plan: something would change.
    """

    async def main(ground: Ground) -> int:
        try:
            declared = load(file, os.environ)
        except DeclarationError as e:
            raise WrongUse(str(e)) from None
        for secret in declared.secrets:
            ground.redactor.register(secret.reveal())
        try:
            return await _applied(ground, declared, prune=prune, only=only, yes=yes, quiet=json_)
        except Refused as e:
            raise WrongUse(_told(file, e.wrong, ground.redactor)) from None

    raise SystemExit(on_ground(main))


async def _applied(
    ground: Ground, declared: Declared, *, prune: bool, only: bool, yes: bool, quiet: bool
) -> int:
    """Plan, question and deed; the exit code."""
    with show.Busy("Comparing the file with what is stored", quiet=quiet):
        async with context(ground) as rules:
            plan = await draw(rules, declared, prune=prune)
    if not quiet:
        for line in _lines(plan):
            _print(line, ground.redactor)
    if only or (quiet and plan.steps and not yes):
        if quiet:
            _print(_as_json(declared, plan, applied=False), ground.redactor)
        if only:
            return DIFFERENT if plan.steps else 0
    if plan.steps and not yes:
        _ask(quiet=quiet)
    async with context(ground) as rules:
        try:
            await carry_out(rules, declared, plan, prune=prune)
        except Moved:
            raise Failure(
                "Something else was changed meanwhile; nothing was applied. Run it again."
            ) from None
    if quiet:
        _print(_as_json(declared, plan, applied=bool(plan.steps)), ground.redactor)
    elif plan.steps:
        click.echo(f"Applied: {_counted(plan.steps, DONE)}.")
    return 0


def _ask(*, quiet: bool) -> None:
    if quiet or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise WrongUse(
            "Nothing was changed, for nobody can be asked here: add --yes, or --plan to only look."
        )
    if not click.confirm("Make it so?"):
        raise Failure("Nothing was changed.")


def _told(file: Path, wrong: Iterable[Wrong], redactor: Redactor) -> str:
    lines = [f"{file}: {one.place.rstrip('.')}: {one.message}" for one in wrong]
    return redactor.text("\n".join([*lines, "Nothing was changed."]))


def _print(text: str, redactor: Redactor) -> None:
    click.echo(redactor.text(text))


def _lines(plan: Plan) -> Iterator[str]:
    """The plan for people: one line a thing, and below it one line a field."""
    for step in plan.steps:
        sign, colour = SIGNS[step.action]
        tail = ", its records stay" if (step.kind, step.action) == ("connection", "remove") else ""
        yield show.coloured(f"{sign} {step.kind} {step.name}{tail}", colour)
        for field in step.fields:
            yield f"    {field.name}: {_change(step, field)}"
    for one in plan.same:
        yield show.coloured(f"= {one.kind} {one.name}", "bright_black")
    if plan.undeclared:
        yield f"Not declared, left alone: {', '.join(map(_shown, plan.undeclared))}."
    yield f"Plan: {_counted(plan.steps, TO_DO)}." if plan.steps else "Everything is as declared."


def _change(step: Step, field: Field) -> str:
    if step.action == "create" or field.after in ("(changed)", "(removed)"):
        return _value(field.after)
    return f"{_value(field.before)} -> {_value(field.after)}"


def _value(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _shown(one: Named) -> str:
    return f"{one.kind} {one.name}" + (f" (of {one.set})" if one.set else "")


def _counted(steps: Iterable[Step], words: Mapping[str, str]) -> str:
    actions = [step.action for step in steps]
    return ", ".join(f"{actions.count(action)} {word}" for action, word in words.items() if action in actions)


def _as_json(declared: Declared, plan: Plan, *, applied: bool) -> str:
    told = {
        "set": declared.set,
        "steps": [
            {
                "action": step.action,
                "kind": step.kind,
                "name": step.name,
                "fields": {field.name: [field.before, field.after] for field in step.fields},
            }
            for step in plan.steps
        ],
        "unchanged": [{"kind": one.kind, "name": one.name} for one in plan.same],
        "undeclared": [{"kind": one.kind, "name": one.name, "set": one.set} for one in plan.undeclared],
        "applied": applied,
    }
    return msgspec.json.format(msgspec.json.encode(told)).decode()
