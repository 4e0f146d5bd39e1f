"""Hundreds of readers of live events, some of which never read: what they cost, and that nobody misses any.

Their number is set by CHAOS_READERS.
"""

import asyncio
import os
import re
import socket
import time
from collections.abc import Sequence

import aiohttp
import msgspec
import pytest

from store import outbox
from store.database import clock
from tests.chaos.roles import Role
from tests.chaos.town import ADMIN_KEY, Town

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(1200)]

READERS = int(os.environ.get("CHAOS_READERS", "200"))
EVENTS, BYTES, AT_ONCE = 3000, 2000, 250
GROWTH = 100 << 10  # KiB
CUT_SECONDS = 30.0
#: The machine may be busy.
MORE_SECONDS = 5.0


class Told(msgspec.Struct, frozen=True):
    number: int
    text: str


class Deaf:
    """Asks for all events and takes none of them."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        head = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\nLast-Event-ID: 0\r\n\r\n"
        self.socket.sendall(head.encode())
        self.port = int(self.socket.getsockname()[1])
        self.cut_at: float | None = None

    def had(self) -> list[int]:
        """The ids of the whole events that had come before the line was cut."""
        self.socket.settimeout(10)
        got = bytearray()
        try:
            while some := self.socket.recv(1 << 20):
                got += some
        except ConnectionError:
            pass
        finally:
            self.socket.close()
        return [int(one) for one in re.findall(rb"^id: (\d+)\ndata: [^\n]+\n\n", got, re.M)]


async def ids(http: aiohttp.ClientSession, url: str, after: int, last: int) -> list[int]:
    """The ids of the events after one, up to the last."""
    seen: list[int] = []
    rest = b""
    async with http.get(f"{url}/v1/events", headers={"Last-Event-ID": str(after)}) as answer:
        assert answer.status == 200
        async for some in answer.content.iter_any():
            *blocks, rest = (rest + some).split(b"\n\n")
            seen += [int(one[4 : one.index(b"\n")]) for one in blocks if one.startswith(b"id: ")]
            if seen and seen[-1] >= last:
                return seen
    return seen


async def tell(town: Town, connection_id: int, count: int) -> None:
    async with town.database.write() as connection:
        told = [("status", Told(number, "x" * BYTES)) for number in range(count)]
        await outbox.append(connection, connection_id, await clock(connection), told)


def established(port: int) -> set[int]:
    """The ports of the clients whose lines to a server stand, by what the kernel says."""
    found = set()
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            _, ours, theirs, state, *_ = line.split()
            if state == "01" and ours.endswith(f":{port:04X}"):
                found.add(int(theirs.rpartition(":")[2], 16))
    return found


def resident(role: Role) -> int:
    """KiB of memory."""
    with open(f"/proc/{role.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def watched(role: Role, deaf: Sequence[Deaf], port: int, sizes: list[int]) -> None:
    """Note the memory of the server, and when it lets go of whom; until it has let go of all."""
    while any(one.cut_at is None for one in deaf):
        sizes.append(resident(role))
        standing = established(port)
        for one in deaf:
            if one.cut_at is None and one.port not in standing:
                one.cut_at = time.monotonic()
        await asyncio.sleep(0.2)


async def test_readers_that_never_read_are_cut_and_cost_little(town: Town, figures: list[str]) -> None:
    await town.start_all("api", "scheduler")
    (connection_id,) = await town.connections(["TIDE"], 0)
    (api,) = town.named("api")
    port = int(town.environ["TIDEGATE_PORT"])
    silent = max(1, READERS // 10)
    headers = {"X-API-Key": ADMIN_KEY}
    async with aiohttp.ClientSession(
        headers=headers, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(sock_read=120)
    ) as http:
        before, sizes = resident(api), [0]
        readers = [asyncio.create_task(ids(http, town.url, 0, EVENTS)) for _ in range(READERS - silent)]
        deaf = [Deaf(port) for _ in range(silent)]
        await town.until(lambda: all_stand(deaf, port), 30, "all lines stand")
        for _ in range(EVENTS // AT_ONCE):
            await tell(town, connection_id, AT_ONCE)
            sizes.append(resident(api))
        watching = asyncio.create_task(watched(api, deaf, port, sizes))
        wanted = list(range(1, EVENTS + 1))
        for seen in await asyncio.wait_for(asyncio.gather(*readers), 600):
            assert seen == wanted
        # The server has nothing else to do any more: whoever it still waits for has taken nothing since.
        began = time.monotonic()
        await asyncio.wait_for(watching, 300)
        for one in deaf:
            had = await asyncio.to_thread(one.had)
            assert had == wanted[: len(had)]
            assert len(had) < EVENTS
            assert had + await asyncio.wait_for(ids(http, town.url, len(had), EVENTS), 60) == (wanted)
    slowest = max(one.cut_at or 0 for one in deaf) - began
    grown = (max(sizes) - before) / 1024
    figures.append(
        f"F36: {READERS} readers, {silent} of which never read: memory grew by {grown:.0f} MiB, they were "
        f"cut {max(slowest, 0):.0f} s after the others had everything, none missed one of {EVENTS} events"
    )
    assert max(sizes) - before <= GROWTH
    assert slowest <= CUT_SECONDS + MORE_SECONDS
    town.nobody_died()


async def all_stand(deaf: Sequence[Deaf], port: int) -> bool:
    return {one.port for one in deaf} <= established(port)
