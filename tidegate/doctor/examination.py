"""All of the examination, in the order in which one thing stands on another."""

from collections.abc import Mapping, Sequence

from config.logs import Redactor
from config.settings import Settings, SettingsError, load
from tidegate.doctor import database, files, redis, work
from tidegate.doctor.finding import Finding, Redact, fail


async def examine(environ: Mapping[str, str], redactor: Redactor) -> Sequence[Finding]:
    """What was found, of everything that can be reached. Nothing is made, changed or started."""
    found = [files.settings_file(environ)]
    try:
        settings = load(environ)
    except SettingsError as e:
        return [*found, fail("settings", str(e), "Set it right; nothing else can be looked at before.")]
    for text in settings.secret_texts():
        redactor.register(text)
    found += [*files.folder(settings), *files.keys(settings), files.networks(settings)]
    return [*found, *await _running(settings, redactor.text)]


async def _running(settings: Settings, redact: Redact) -> Sequence[Finding]:
    redis_found = await redis.look(settings, redact)
    async with database.opened(settings, redact) as (stored, found):
        if stored is None:
            return [*found, *redis_found]
        return [*found, *redis_found, *await work.look(stored)]
