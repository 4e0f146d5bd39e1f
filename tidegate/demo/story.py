"""`tidegate demo`: everything started on embedded defaults, against three living remotes."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from random import Random

import aiohttp
import msgspec
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from config.logs import Redactor
from config.settings import Settings
from events.envelope import STREAM
from tidegate.compose import Parts, open_all
from tidegate.demo.caller import Caller
from tidegate.demo.screen import Changed, Screen, Seen, look
from tidegate.demo.world import BUILD_SECONDS, PAUSE_SECONDS, World, open_world
from tidegate.roles import stop_on_signals
from tidegate.serving import known_admin_key
from tidegate.up import run_everything

SEED = 7
DRAW_SECONDS = 0.5
#: Between one trouble and the next, so that each is seen for itself.
CALM_SECONDS = 15
LOOPBACK = "127.0.0.1/32"
FOLDER = ".demo"


def surroundings(environ: MutableMapping[str, str]) -> None:
    """The settings of the demo, where none are given: its own folder, and its own remotes allowed."""
    environ.setdefault("TIDEGATE_DATA_DIR", str(Path.cwd() / FOLDER))
    environ.setdefault("TIDEGATE_WORKERS", "2")
    # The screen is for the story; what goes wrong is still told.
    environ.setdefault("TIDEGATE_LOG_LEVEL", "error")
    allowed = environ.get("TIDEGATE_ALLOW_NETWORKS", "")
    environ["TIDEGATE_ALLOW_NETWORKS"] = f"{allowed},{LOOPBACK}" if allowed else LOOPBACK


async def tell(settings: Settings, redactor: Redactor, *, until_healthy: bool = False) -> bool:
    """Run the demo until it is stopped, or until all connections are healthy. Whether they were."""
    began = time.monotonic()
    with stop_on_signals() as stop:
        async with (
            open_world(Random(SEED)) as world,  # noqa: S311 - a story, no secret
            open_all(settings, redactor) as parts,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(run_everything(parts, stop))
            story = Story(parts, world, began)
            try:
                await story.play(stop, until_healthy=until_healthy)
            finally:
                stop.set()
    return story.healthy


class Story:
    """Makes the connections, lets the world live, and shows what comes of it."""

    def __init__(self, parts: Parts, world: World, began: float) -> None:
        self._parts = parts
        self._world = world
        self._began = began
        self._console = Console()
        self._all_healthy = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether all connections were, once."""
        return self._all_healthy.is_set()

    async def play(self, stop: asyncio.Event, *, until_healthy: bool) -> None:
        settings = self._parts.settings
        url = f"http://127.0.0.1:{settings.port}"
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            caller = Caller(session, url, known_admin_key(settings).reveal())
            if not await self._ready(caller, stop):
                return
            made = await caller.make(self._world.places())
            names = {number: place.name for number, place in made.items()}
            screen = Screen(url, _shown(settings.data_dir), names, self._world.own)
            of = {place.system: number for number, place in made.items()}
            await caller.have_it_call(of["jira"])
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            following = tasks.create_task(self._follow(screen))
            troubled = tasks.create_task(self._troubles(caller, screen, of))
            living = tasks.create_task(self._world.live(self._on_build(caller, tasks, screen, of["jenkins"])))
            try:
                await self._show(screen, list(made), stop, until_healthy=until_healthy)
            finally:
                troubled.cancel()
                living.cancel()
                following.cancel()

    async def _ready(self, caller: Caller, stop: asyncio.Event) -> bool:
        while not stop.is_set():
            try:
                if await caller.ready():
                    return True
            except aiohttp.ClientError:
                pass  # the API is not listening yet
            await _pause(stop, 0.1)
        return False

    def _on_build(
        self, caller: Caller, tasks: asyncio.TaskGroup, screen: Screen, jenkins: int
    ) -> Callable[[str, str], None]:
        def finished(key: str, result: str) -> None:
            self._say(screen, f"The build {key} ran {BUILD_SECONDS} s to its end: {result}.")
            tasks.create_task(caller.sync_build(jenkins, key))

        return finished

    async def _troubles(self, caller: Caller, screen: Screen, of: Mapping[str, int]) -> None:
        """What happens to everyone in time: a limit that is waited out, then a token that has expired."""
        await self._all_healthy.wait()
        await asyncio.sleep(CALM_SECONDS)
        self._say(screen, f"Azure DevOps is asked too much: it wants a pause of {PAUSE_SECONDS} s.")
        self._world.ask_for_a_pause()
        await caller.sync(of["azure"])
        await caller.until(of["azure"], "rate_limited")
        await caller.until(of["azure"], "healthy")
        self._say(screen, "The pause is over, and the sync went on where it was.")
        await asyncio.sleep(CALM_SECONDS)
        self._say(screen, "The token for Jenkins expires: only a person can mend that.")
        token = self._world.expire_token()
        await caller.sync(of["jenkins"])
        await caller.until(of["jenkins"], "failed")
        await asyncio.sleep(CALM_SECONDS)
        self._say(screen, "Somebody gives the credential its new token.")
        await caller.renew(of["jenkins"], token)
        await caller.until(of["jenkins"], "healthy")
        await asyncio.sleep(CALM_SECONDS)
        self._say(screen, "Nothing was lost, and nobody restarted anything.")

    def _say(self, screen: Screen, words: str) -> None:
        line = f"{self._parts.clock():%H:%M:%S}  {words}"
        screen.say(line)
        if not self._console.is_terminal:
            self._print(line)

    async def _follow(self, screen: Screen) -> None:
        """Read the event stream as any consumer would, from now on."""
        last = b"0-0"
        while True:
            try:
                answer = await self._parts.redis.xread({STREAM: last}, block=1000, count=100)
            except (RedisError, OSError):
                await asyncio.sleep(1)
                continue
            for _, entries in answer:
                for entry, fields in entries:
                    last = entry
                    line = screen.told(msgspec.json.decode(fields[b"event"]), self._changed())
                    if line and not self._console.is_terminal:
                        self._print(line)

    def _changed(self) -> Changed | None:
        """What changed last at Jira."""
        found = self._world.issue_changed
        return None if found is None else Changed(found[0], time.monotonic() - found[1])

    async def _show(
        self, screen: Screen, ids: list[int], stop: asyncio.Event, *, until_healthy: bool
    ) -> None:
        live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else nullcontext()
        with live as drawn:
            while not stop.is_set():
                seen = await self._look(ids)
                if drawn is not None:
                    size = self._console.size
                    drawn.update(screen.picture(seen, size.width, size.height), refresh=True)
                if not self.healthy and all(row.connection.health == "healthy" for row in seen.rows):
                    self._all_healthy.set()
                    self._print(f"All connections are healthy after {time.monotonic() - self._began:.1f} s.")
                    if drawn is None:
                        self._print(screen.places(seen.workers))
                    if until_healthy:
                        return
                await _pause(stop, DRAW_SECONDS)

    async def _look(self, ids: list[int]) -> Seen:
        async with self._parts.database.read() as connection:
            return await look(connection, self._parts.ground.tables, ids, self._parts.clock())

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        sys.stdout.flush()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _shown(folder: Path) -> str:
    """The folder as people would type it from here."""
    try:
        return os.path.relpath(folder)
    except ValueError:
        return str(folder)
