"""What a request may be at most, and how long it may take to come: beyond it nobody is kept waiting."""

import asyncio
import pickle
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from api.app import LARGEST_BODY
from api.patience import Heard, hang_up_on_the_silent, patient
from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.house import ADAPTERS
from tests.tree import ROOT, package_files
from worker.queue import connect

pytestmark = pytest.mark.sqlite_does

HEAD = f"POST /v1/projects HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\n"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with serving_api(database, ADAPTERS) as served:
        yield served


async def said_to(port: int, sent: bytes) -> tuple[int, bytes]:
    """Status and body that are answered to these bytes; 0 where the line was hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
        return int(head.split()[1]), body
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    finally:
        writer.close()


def port_of(api: Api) -> int:
    return int(api.url.rpartition(":")[2])


@pytest.mark.parametrize(
    "more",
    [
        "".join(f"X-{number}: y\r\n" for number in range(1000)),
        f"X-Long: {'x' * 10_000}\r\n",
        f"X-{'n' * 10_000}: y\r\n",
        f"X-Forwarded-Host: {'h' * 10_000}\r\n",
    ],
    ids=["number", "value", "name", "host"],
)
async def test_heads_beyond_the_limits_are_refused_before_anything_is_done(api: Api, more: str) -> None:
    body = '{"name": "a", "key": "a"}'
    sent = f"{HEAD}{more}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    status, answer = await said_to(port_of(api), sent)
    assert status in (0, 400, 431)
    assert b"Traceback" not in answer
    assert (await api.get("/v1/projects"))["projects"] == []


async def test_a_line_of_a_request_that_is_too_long_is_refused(api: Api) -> None:
    sent = f"GET /v1/projects?x={'x' * 10_000} HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n"
    assert (await said_to(port_of(api), sent.encode()))[0] in (0, 400, 414)


async def test_a_body_that_is_announced_too_large_or_grows_too_large_is_413(api: Api) -> None:
    announced = f"{HEAD}Content-Length: {LARGEST_BODY * 100}\r\n\r\n".encode() + b"x" * (
        LARGEST_BODY + 70_000
    )
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    chunked = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 17 + b"0\r\n\r\n"
    for sent in (announced, chunked):
        assert (await said_to(port_of(api), sent))[0] in (0, 413)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_a_body_of_great_depth_is_refused(api: Api, opening: bytes) -> None:
    for path in ("/v1/projects", "/v1/connections"):
        body = b'{"params": ' + opening * 100_000
        async with api.http.post(api.url + path, data=body) as answer:
            assert answer.status in (400, 422)


@pytest.mark.parametrize("system", sorted(ADAPTERS))
@pytest.mark.parametrize("host", ["h" * 300, f"{'h' * 64}.example", ".".join(["h" * 60] * 6)])
async def test_a_host_name_that_cannot_be_is_refused_or_fails_and_never_breaks(
    api: Api, system: str, host: str
) -> None:
    tried = {"system": system, "url": f"https://{host}/job/x"}
    status, found = await api.ask("POST", "/v1/connections/test", tried)
    assert status in (200, 422)
    if status == 200:
        assert found["error"]["kind"] in ("blocked", "unreachable", "unreadable")


@asynccontextmanager
async def hasty(head: float, body: float) -> AsyncIterator[tuple[int, Heard]]:
    """A server with the patience of the API, only less of it."""
    heard: Heard = set()

    async def reads(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application(middlewares=[patient(heard, body)])
    app.router.add_route("*", "/", reads)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert runner.server is not None
    waiting = asyncio.create_task(hang_up_on_the_silent(runner.server, heard, head))
    try:
        yield runner.addresses[0][1], heard
    finally:
        waiting.cancel()
        await runner.cleanup()


async def hung_up_after(port: int, sent: bytes, drip: bytes = b"") -> float:
    """Seconds until the server ends the line, to which a byte is said now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(sent)
    reading = asyncio.create_task(reader.read())
    async with asyncio.timeout(20):
        while not reading.done():
            await asyncio.wait([reading], timeout=0.05)
            if drip and not writer.is_closing():
                writer.write(drip)
    writer.close()
    assert reading.exception() is None or isinstance(reading.exception(), ConnectionError)
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_does_not_end_is_hung_up_on(sent: bytes) -> None:
    async with hasty(head=0.4, body=30) as (port, _):
        assert await hung_up_after(port, sent, b"x" if sent else b"") < 10


async def test_a_body_that_does_not_end_is_hung_up_on() -> None:
    sent = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    async with hasty(head=30, body=0.4) as (port, _):
        assert await hung_up_after(port, sent, b"x") < 10


async def test_hundreds_of_slow_clients_keep_nobody_waiting() -> None:
    async with hasty(head=1.0, body=1.0) as (port, _):
        slow = [asyncio.create_task(hung_up_after(port, b"GET / HTTP/1.1\r\n")) for _ in range(300)]
        for _ in range(20):
            status, _body = await said_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status == 200
        assert max(await asyncio.gather(*slow)) < 15


async def test_a_line_that_was_heard_is_kept_while_its_answer_takes_long() -> None:
    async with hasty(head=0.2, body=0.2) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.5)
        writer.close()


def test_nothing_is_ever_pickled() -> None:
    """Whoever can write where a pickle is read can run what they like there."""
    words = re.compile(
        r"^\s*(?:import|from)\s+(?:pickle|cPickle|dill|shelve|marshal|cloudpickle|joblib)\b", re.M
    )
    guilty = [
        str(path.relative_to(ROOT))
        for path in package_files()
        if path.suffix == ".py" and words.search(path.read_text("utf-8"))
    ]
    assert guilty == []


async def test_a_job_that_was_pickled_by_somebody_is_not_opened() -> None:
    ran: list[str] = []

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (ran.append, ("it ran",))

    redis = connect("redis://127.0.0.1:1")
    try:
        assert redis.job_deserializer is not None
        assert redis.job_serializer is not None
        with pytest.raises(Exception):  # noqa: B017 - whichever: it must not be opened
            redis.job_deserializer(pickle.dumps(Evil()))
        assert not redis.job_serializer({"f": "x"}).startswith(b"\x80\x04")
    finally:
        await redis.aclose()
    assert ran == []
