"""Readers of live events that take nothing: let go in time, at no great cost, and resumed without a gap."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import aiohttp
import msgspec
import pytest

from store import outbox
from store.database import Database, clock
from store.outbox import RELAY
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.chaos.test_readers import established

pytestmark = pytest.mark.sqlite_does

#: Events of so many bytes each are more than the buffers of two sockets hold.
COUNT, LARGE = 150, 100_000
PATIENCE = 0.5


class Told(msgspec.Struct, frozen=True):
    number: int
    text: str


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, poll_seconds=0.02, write_seconds=PATIENCE) as served:
        yield served


async def tell(api: Api, count: int, size: int) -> None:
    """So many things happen to a connection, and get their positions."""
    made = await api.shelf()
    async with api.context.database.write() as connection:
        at = await clock(connection)
        told = [("status", Told(number, "x" * size)) for number in range(1, count + 1)]
        await outbox.append(connection, made["id"], at, told)
        fence = await outbox.take_duty(connection, RELAY, "test", 60)
        assert fence is not None
        while await outbox.give_positions(connection, fence):
            pass


def deaf(port: int) -> socket.socket:
    """A client that asks for all events and takes none of them."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", port))
    asked = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\nLast-Event-ID: 0\r\n\r\n"
    line.sendall(asked.encode())
    line.setblocking(False)
    return line


async def until_cut(line: socket.socket) -> bytes:
    """What had come when the server hung up."""
    loop = asyncio.get_running_loop()
    got = bytearray()
    try:
        while some := await loop.sock_recv(line, 1 << 20):
            got += some
    except ConnectionError:
        pass
    return bytes(got)


async def test_a_reader_that_takes_nothing_is_cut_and_resumes_without_a_gap(api: Api) -> None:
    await tell(api, COUNT, LARGE)
    port = int(api.url.rpartition(":")[2])
    with closing(deaf(port)) as line:
        async with asyncio.timeout(30):
            # Nothing is read until the server has let go of it, by what the kernel says.
            mine = {line.getsockname()[1]}
            for standing in (mine, set()):
                while established(port) & mine != standing:  # noqa: ASYNC110 - it sets no event
                    await asyncio.sleep(0.02)
            got = await until_cut(line)
    seen = [int(one) for one in re.findall(rb"^id: (\d+)\ndata: [^\n]+\n\n", got, re.M)]
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < COUNT
    headers = {"Last-Event-ID": str(len(seen)), "X-API-Key": ADMIN_KEY}
    rest: list[int] = []
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(read_bufsize=1 << 20) as http,
        http.get(f"{api.url}/v1/events", headers=headers) as answer,
    ):
        while len(seen) + len(rest) < COUNT:
            text = (await answer.content.readline()).decode()
            rest += [int(text[4:])] if text.startswith("id: ") else []
    assert seen + rest == list(range(1, COUNT + 1))
