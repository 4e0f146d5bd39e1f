"""A Redis server of a test's own, which it may stop, start again and empty."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tidegate import redis_binary


class Valkey:
    """Nothing is kept on disk: what was in it is gone when it stops."""

    def __init__(self) -> None:
        # The path of a socket must be short, and those of tests are not.
        self._folder = Path(tempfile.mkdtemp(prefix="tg"))
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"unix://{self._folder}/s"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(redis_binary.find()),
            *("--port", "0", "--unixsocket", f"{self._folder}/s", "--save", "", "--appendonly", "no"),
            *("--dir", str(self._folder)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(10):
            while not await self._answers():  # noqa: ASYNC110 - another process tells no event
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """Like kill -9: no goodbye to anyone."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def close(self) -> None:
        await self.kill()
        shutil.rmtree(self._folder)

    async def _answers(self) -> bool:
        redis = Redis.from_url(self.url)
        try:
            return bool(await redis.ping())
        except (RedisError, OSError):
            return False
        finally:
            await redis.aclose()
