"""How a command runs: settings read, logs started, and errors told in words."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from msgspec.structs import replace
from sqlalchemy.exc import DBAPIError

from adapters.base import AdapterError, BadTarget
from config import settings as config
from config.logs import Redactor
from config.settings import Settings, SettingsError
from config.vault import VaultError
from store.migrate import MisfitError
from tidegate.compose import Ground, open_ground, start_logs
from tidegate.redis_server import RedisServerError
from tidegate.registry import BrokenAdapter

T = TypeVar("T")
NOBODY = "Nothing was changed, for nobody can be asked here: add --yes."


class Failure(click.ClickException):
    """It failed: told in one sentence, exit code 1."""

    exit_code = 1


class WrongUse(click.ClickException):
    """It cannot be asked like this, or the settings are wrong: exit code 2."""

    exit_code = 2


def confirm(question: str, json_: bool) -> None:
    """Ask on the terminal, on standard error; where nobody can be asked, or says no, it ends here."""
    if json_ or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise WrongUse(NOBODY)
    if not click.confirm(question, err=True):
        raise Failure("Nothing was changed.")


def settings() -> Settings:
    """The settings of this process, or the error that names what is wrong with them."""
    try:
        return config.load(os.environ)
    except SettingsError as e:
        raise WrongUse(str(e)) from None


def run(work: Callable[[Settings, Redactor], Awaitable[T]], *, brief: bool = False) -> T:
    """Run a command to its end. What a user can meet becomes a `Failure` or `WrongUse`.

    A `brief` command says itself what came of it: of the logs only errors are shown, unless debugging.
    """
    known = settings()
    if brief and known.log_level != "debug":
        known = replace(known, log_level="error")
    redactor = start_logs(known)

    async def main() -> T:
        return await work(known, redactor)

    try:
        return asyncio.run(main())
    except (SettingsError, VaultError, BrokenAdapter, MisfitError) as e:
        raise WrongUse(redactor.text(str(e))) from None
    except RedisServerError as e:
        raise Failure(redactor.text(str(e))) from None
    except BadTarget as e:
        raise WrongUse(redactor.text(f"{e.field}: {e.message}")) from None
    except AdapterError as e:
        raise Failure(redactor.text(f"{e.message} {e.hint}")) from None
    except DBAPIError as e:
        raise Failure(redactor.text(f"The database failed: {e.orig}")) from None
    except KeyboardInterrupt:
        raise click.Abort from None


def on_ground(work: Callable[[Ground], Awaitable[T]], *, migrating: bool = False) -> T:
    """Run a command that needs the database and the vault only. `migrating`: also if starts must not."""

    async def main(known: Settings, redactor: Redactor) -> T:
        known = replace(known, migrate=known.migrate or migrating)
        async with open_ground(known, redactor) as ground:
            return await work(ground)

    return run(main, brief=True)
