"""How commands reach what is set up: connections by name, secrets, the bell, and the API's rules."""

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.http import utc_now
from api.context import Bell, Context
from api.problems import ProblemError
from config.secret import Secret
from config.settings import Settings
from store import connections
from store.connections import Connection
from tidegate.commands.session import Failure, WrongUse
from tidegate.compose import Ground, budget_alone, open_remotes
from tidegate.contexts import Silent, offline
from tidegate.redis_server import live_url
from worker.queue import Queue, connect


@contextmanager
def by_the_rules() -> Iterator[None]:
    """What the rules of the API refuse is told as an error of the command."""
    try:
        yield
    except ProblemError as e:
        raise (Failure if e.status in (404, 409) else WrongUse)(e.detail) from None


@asynccontextmanager
async def bell(settings: Settings) -> AsyncIterator[Bell]:
    """Wakes the workers if there is a Redis; a command starts none for itself."""
    url = settings.redis_url.reveal() if settings.redis_url else await live_url(settings.data_dir)
    if url is None:
        yield Silent()
        return
    redis = connect(url)
    try:
        yield Queue(redis)
    finally:
        await redis.aclose()


async def named(connection: AsyncConnection, name: str) -> Connection:
    """The connection of this id or name, or the error that says there is none."""
    found = await connections.get(connection, int(name)) if name.isdigit() and len(name) < 19 else None
    found = found or await connections.by_name(connection, name)
    if found is None:
        raise Failure(f"There is no connection {name}; `tidegate connections list` shows those there are.")
    return found


def secret_from(env: str | None, file: Path | None, option: str = "--secret") -> Secret | None:
    """The secret in a variable or a file: never an argument, for others can see those."""
    if env is not None and file is not None:
        raise WrongUse(f"Give {option}-env or {option}-file, not both.")
    if env is not None:
        if not os.environ.get(env):
            raise WrongUse(f"{option}-env: the environment variable {env} is not set, or empty.")
        return Secret(os.environ[env])
    if file is None:
        return None
    try:
        text = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise WrongUse(f"{option}-file: {file} cannot be read: {e}") from None
    if not text:
        raise WrongUse(f"{option}-file: {file} is empty.")
    return Secret(text)


def pairs(given: Iterable[str]) -> dict[str, str]:
    """Parameters as they are typed: NAME=VALUE."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise WrongUse(f"--param {text}: write it as NAME=VALUE.")
        found[name] = value
    return found


@asynccontextmanager
async def context(ground: Ground) -> AsyncIterator[Context]:
    """The API's rules on this database; what they refuse is told as an error of the command."""
    with by_the_rules():
        budget = budget_alone(ground.settings, utc_now)
        async with open_remotes(ground, budget) as remotes, bell(ground.settings) as ringing:
            yield offline(ground, remotes, ringing)
