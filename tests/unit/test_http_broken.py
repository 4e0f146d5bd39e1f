"""Answers that are too large, too slow, cut off or no HTTP at all cost little and say what happened."""

import asyncio
import socket
import time
import tracemalloc
import zlib

import pytest
from aiohttp import web

from adapters.base import AdapterError, Blocked, TooLarge, Unavailable, Unreadable
from adapters.http import Http, Limits
from tests.servers import Speaker, answer, client, serving, speaking

MIB = 1 << 20
SMALL = Limits(body=MIB)
QUICK = Limits(connect=0.3, read=0.3, total=5.0)


async def failure(http: Http) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        await http.get("/x")
    return caught.value


def bomb(size: int) -> bytes:
    """Zeros, gzipped; about a thousandth of the size."""
    gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(gzip.compress(bytes(MIB)) for _ in range(size // MIB)) + gzip.flush()


async def test_an_announced_body_over_the_limit_is_not_read() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {2 * MIB}\r\n\r\n".encode()

    async def announce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await reader.read()  # ends when the client hangs up; not one byte of the body is ever sent

    async with speaking(announce) as wire, client(wire.url, limits=SMALL) as http:
        error = await failure(http)
        assert isinstance(error, TooLarge)
        assert "1 MiB" in error.message


async def test_a_body_without_length_is_cut_at_the_limit() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 256 * MIB:
            await response.write(b" " * 65536)
            sent += 65536
        return response

    async with serving(endless) as ours, client(ours.url, limits=SMALL) as http:
        assert isinstance(await failure(http), TooLarge)
    assert sent < 64 * MIB


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with serving(answer(body=b" " * MIB)) as ours, client(ours.url, limits=SMALL) as http:
        assert len((await http.get("/x")).body) == MIB


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_bomb_does_not_fill_the_memory(encoding: str) -> None:
    body = bomb(256 * MIB) if encoding == "gzip" else zlib.compress(bytes(256 * MIB), 9)
    handler = answer(body=body, Content_Encoding=encoding)
    async with serving(handler) as ours, client(ours.url, limits=SMALL) as http:
        tracemalloc.start()
        try:
            assert isinstance(await failure(http), TooLarge)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * MIB


async def test_only_the_encoding_that_is_always_at_hand_is_asked_for() -> None:
    async with serving(answer()) as ours, client(ours.url) as http:
        await http.get("/x")
        assert ours.seen[0].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_inflated(encoding: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.json_response({"a": "b" * 5000})
        response.enable_compression(web.ContentCoding(encoding))
        return response

    async with serving(handler) as ours, client(ours.url) as http:
        assert len((await http.get("/x")).body) > 5000


async def test_an_answer_that_does_not_inflate_is_unreadable() -> None:
    handler = answer(body=b"no gzip at all", Content_Encoding="gzip")
    async with serving(handler) as ours, client(ours.url) as http:
        assert isinstance(await failure(http), Unreadable)


async def test_a_silent_server_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with speaking(silent) as wire, client(wire.url, limits=QUICK) as http:
        error = await failure(http)
        assert isinstance(error, Unavailable)
        assert "in time" in error.message


def dripping(head: bytes) -> Speaker:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    return drip


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
async def test_an_answer_that_drips_is_given_up_after_the_total_time(head: bytes) -> None:
    limits = Limits(read=5.0, total=0.4)
    async with speaking(dripping(head)) as wire, client(wire.url, limits=limits) as http:
        started = time.monotonic()
        error = await failure(http)
        assert isinstance(error, Unavailable)
        assert "in time" in error.message
        assert time.monotonic() - started < 3.0


async def test_a_body_that_stalls_is_given_up_after_the_read_time() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await reader.read()

    async with speaking(stall) as wire, client(wire.url, limits=Limits(read=0.3, total=20.0)) as http:
        started = time.monotonic()
        assert isinstance(await failure(http), Unavailable)
        assert time.monotonic() - started < 5.0


async def test_an_address_where_nobody_answers_the_door_is_given_up_after_the_connect_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # A full queue of a listener that accepts nothing: further connections hang.
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        async with client(f"http://127.0.0.1:{address[1]}", limits=Limits(connect=0.3, total=20.0)) as http:
            started = time.monotonic()
            assert isinstance(await failure(http), Unavailable)
            assert time.monotonic() - started < 5.0
        for one in waiting:
            one.close()


CUT = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n',
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"",
]


@pytest.mark.parametrize("said", CUT, ids=["length", "chunks", "head", "nothing"])
async def test_an_answer_that_breaks_off_may_come_whole_another_time(said: bytes) -> None:
    async with speaking(said) as wire, client(wire.url) as http:
        assert isinstance(await failure(http), Unavailable)


async def test_a_closed_port_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with client(f"http://127.0.0.1:{port}") as http:
        error = await failure(http)
        assert isinstance(error, Unavailable)
        assert f"127.0.0.1:{port}" in error.message


async def test_a_name_that_does_not_exist_is_unavailable() -> None:
    async with client("http://nowhere.invalid") as http:
        assert isinstance(await failure(http), Unavailable)


NOISE = [
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 banana OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("said", NOISE, ids=["ssh", "status", "chunk", "length", "header"])
async def test_what_is_not_http_is_unreadable(said: bytes) -> None:
    async with speaking(said) as wire, client(wire.url) as http:
        assert isinstance(await failure(http), Unreadable)


async def test_a_long_policy_header_does_no_harm() -> None:
    async with serving(answer(Content_Security_Policy="x" * 30_000)) as ours, client(ours.url) as http:
        assert (await http.get("/x")).status == 200


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1"])
async def test_a_number_that_is_no_address_is_refused(host: str) -> None:
    async with client(f"http://{host}") as http:
        assert isinstance(await failure(http), Blocked)


async def test_a_failed_request_leaves_the_client_usable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b" " * (2 * MIB if request.path == "/x" else 10))

    async with serving(handler) as ours, client(ours.url, limits=SMALL) as http:
        assert isinstance(await failure(http), TooLarge)
        assert (await http.get("/y")).status == 200
