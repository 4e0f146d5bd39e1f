"""All of the examination, in the order in which one thing stands on another."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from adapters.http import utc_now
from config.logs import Redactor
from config.settings import Settings, SettingsError, load
from tidegate.doctor import database, files, hooks, redis, remotes, secrets, work
from tidegate.doctor.finding import Finding, fail


async def examine(
    environ: Mapping[str, str], redactor: Redactor, now: Callable[[], datetime] = utc_now
) -> Sequence[Finding]:
    """What was found, of everything that can be reached. Nothing is made, changed or started.

    `now` is this machine's clock.
    """
    found = [files.settings_file(environ)]
    try:
        settings = load(environ)
    except SettingsError as e:
        return [*found, fail("settings", str(e), "Set it right; nothing else can be looked at before.")]
    for text in settings.secret_texts():
        redactor.register(text)
    found += [*files.folder(settings), *files.keys(settings), files.networks(settings)]
    return [*found, *await _running(settings, redactor, now)]


async def _running(settings: Settings, redactor: Redactor, now: Callable[[], datetime]) -> Sequence[Finding]:
    redis_found = await redis.look(settings, redactor.text, now)
    async with database.opened(settings, redactor.text, now) as (stored, found):
        if stored is None:
            return [*found, *redis_found]
        more = [*await work.look(stored)]
        async with stored.read() as connection:
            if vault := database.vault(settings, redactor):
                more += await secrets.look(connection, vault)
            more += await hooks.look(connection)
            servers = await remotes.servers(connection)
        more += await remotes.look(servers, settings, redactor.text)
        return [*found, *redis_found, *more]
