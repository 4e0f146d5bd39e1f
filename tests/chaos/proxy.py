"""A TCP line that misbehaves: late, cut, half open, slow or wrong, by a seed, so that it can be had again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Self
from urllib.parse import urlsplit

CHUNK = 65536


@dataclass
class Weather:
    """What befalls each chunk on its way. Tests change it while lines are open."""

    #: Seconds before a chunk is passed on, and by how much more or less.
    latency: float = 0.0
    jitter: float = 0.0
    #: The share of chunks at which the line is reset, and in which one byte is changed.
    cuts: float = 0.0
    corrupts: float = 0.0
    #: Bytes a second, for lines that drip; 0 is as fast as can be.
    drip: float = 0.0
    #: Nothing is passed on any more, and nobody is told.
    half_open: bool = False
    #: Whoever connects is reset.
    refuses: bool = False
    #: Of the client's chunks that hold this, each n-th is passed on, and the line is cut before its answer.
    swallow: bytes = b""
    each: int = 1
    #: So many answers are swallowed at most.
    times: int = 1_000_000


class Proxy:
    """Listens on a port of its own for a server. What it does to chunk m of line n depends on the seed, n and
    m alone."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.weather = Weather()
        self.port = 0
        #: What was done: line, what.
        self.done: list[tuple[int, str]] = []
        self._server: asyncio.Server | None = None
        self._to = (host, port)
        self._seed = seed
        self._lines = 0
        self._seen = 0
        #: Lines whose next answer is not passed on.
        self._swallowing: set[int] = set()
        self._open: set[asyncio.Task[None]] = set()

    def count(self, what: str) -> int:
        return sum(done == what for _, done in self.done)

    @property
    def swallowed(self) -> int:
        """How many answers were, or are about to be, swallowed."""
        return len(self._swallowing)

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        while self._open:
            await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def cut_all(self) -> None:
        """Reset every line that is open."""
        for task in self._open:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._lines += 1
        line = self._lines
        try:
            if self.weather.refuses:
                return
            there, back = await asyncio.open_connection(*self._to)
            try:
                await self._join(line, reader, back, there, writer)
            finally:
                _reset(back)
        except (OSError, asyncio.CancelledError):
            # A line that breaks is what this is for.
            self.done.append((line, "broken"))
        finally:
            _reset(writer)
            self._open.discard(task)

    async def _join(
        self,
        line: int,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass on in both directions until either ends."""
        ways = [
            asyncio.create_task(self._pass(line, reader, back, asks=True)),
            asyncio.create_task(self._pass(line, there, writer, asks=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self, line: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        random = Random(f"{self._seed} {line} {asks}")
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                weather = self.weather
                if weather.latency or weather.jitter:
                    late = weather.latency + random.uniform(-weather.jitter, weather.jitter)
                    await asyncio.sleep(max(0.0, late))
                if weather.half_open:
                    self.done.append((line, "lost"))
                    continue
                if random.random() < weather.cuts:
                    self.done.append((line, "cut"))
                    return
                if random.random() < weather.corrupts:
                    self.done.append((line, "corrupt"))
                    at = random.randrange(len(chunk))
                    chunk = chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
                if line in self._swallowing and not asks:
                    # What was asked for is done, and whoever asked does not hear of it.
                    self.done.append((line, "swallowed"))
                    return
                if asks and self._swallows(chunk):
                    self._swallowing.add(line)
                await self._write(writer, chunk, weather.drip)

    def _swallows(self, chunk: bytes) -> bool:
        weather = self.weather
        if not weather.swallow or weather.swallow not in chunk:
            return False
        self._seen += 1
        return self._seen % weather.each == 0 and len(self._swallowing) < weather.times

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes, drip: float) -> None:
        step = max(1, round(drip / 20)) if drip else len(chunk)
        for at in range(0, len(chunk), step):
            writer.write(chunk[at : at + step])
            await writer.drain()
            if drip:
                await asyncio.sleep(step / drip)


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        writer.transport.abort()


@asynccontextmanager
async def proxy_to(url: str, seed: int) -> AsyncIterator[tuple[Proxy, str]]:
    """A line to the server of a URL, and the URL that goes through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = await Proxy(parts.hostname, parts.port, seed).start()
    try:
        account, at, _ = parts.netloc.rpartition("@")
        yield proxy, parts._replace(netloc=f"{account}{at}127.0.0.1:{proxy.port}").geturl()
    finally:
        await proxy.close()
