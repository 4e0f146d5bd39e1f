"""Where callers wait: the API's port, before the API itself can answer there."""

from types import TracebackType

from aiohttp import web

from api.waiting import waiting_app
from config.settings import Settings, SettingsError


class Room:
    """Tells callers what is waited for, once there is something, until `close`. A start that has nothing to
    wait for opens no room: callers then find nobody, and try again, which is better than an error.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._why = ""
        self._runner: web.AppRunner | None = None

    async def tell(self, why: str) -> None:
        """What callers are to be told from now on. Raises `SettingsError` if the port is taken."""
        self._why = why
        if self._runner is None and self._settings.port:  # one that nobody knows yet needs no answers
            runner = web.AppRunner(waiting_app(lambda: self._why), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            await listen(runner, self._settings)
            self._runner = runner

    async def __aenter__(self) -> "Room":
        return self

    async def close(self) -> None:
        """Leave the port to the API."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()


async def listen(runner: web.AppRunner, settings: Settings) -> None:
    """Answer on the port of the settings. Raises `SettingsError` if it is taken."""
    site = web.TCPSite(runner, settings.host, settings.port, reuse_address=True)
    try:
        await site.start()
    except OSError as e:
        await runner.cleanup()
        raise SettingsError(
            f"TIDEGATE_HOST and TIDEGATE_PORT: {settings.host}:{settings.port} cannot be listened on "
            f"({e.strerror}); is another Tidegate running?"
        ) from None
