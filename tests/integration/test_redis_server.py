"""The embedded Redis as a process: started, shared, adopted, restarted, stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tidegate.redis_server import RedisServer, live_url, ping, socket_of


@asynccontextmanager
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    redis = Redis.from_url(server.url, decode_responses=True)
    try:
        yield redis
    finally:
        await redis.aclose()


async def pid_of(server: RedisServer) -> int:
    async with client(server) as redis:
        return int((await redis.info("server"))["process_id"])


async def wait_for_another(server: RedisServer, pid: int) -> int:
    """The pid of the server that follows on `pid`."""
    async with asyncio.timeout(10):
        while True:
            if (await ping(socket_of(Path(server.url.removeprefix("unix://")).parent))).startswith("+PONG"):
                # The old one may still answer, and end in the middle of the next question.
                with suppress(RedisError):
                    now = await pid_of(server)
                    if now != pid:
                        return now
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def crashed(server: RedisServer) -> None:
    """Leave as a killed process would: its locks are gone, and nothing else was done."""
    assert server._watch is not None
    assert server._users is not None
    server._watch.cancel()
    server._users.close()


async def test_it_listens_on_a_socket_of_ours_alone_and_on_no_port(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, client(server) as redis:
        assert await redis.config_get("port") == {"port": "0"}
        assert (tmp_path / "redis.sock").stat().st_mode & 0o777 == 0o700


async def test_it_refuses_writes_when_full_rather_than_forget_jobs(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, client(server) as redis:
        assert await redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


async def test_it_ends_with_the_last_who_uses_it_and_leaves_no_socket(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        pid = await pid_of(server)
        async with RedisServer(tmp_path) as other:
            assert await pid_of(other) == pid
        assert alive(pid)
    assert not alive(pid)
    assert not (tmp_path / "redis.sock").exists()


async def test_it_stays_for_the_others_when_the_one_who_started_it_leaves(tmp_path: Path) -> None:
    first = await RedisServer(tmp_path).__aenter__()
    async with RedisServer(tmp_path) as second:
        pid = await pid_of(first)
        await first.__aexit__()
        assert await pid_of(second) == pid
    assert await live_url(tmp_path) is None


async def test_many_who_start_at_once_share_one(tmp_path: Path) -> None:
    servers = [RedisServer(tmp_path) for _ in range(8)]
    await asyncio.gather(*(server.__aenter__() for server in servers))
    try:
        assert len({await pid_of(server) for server in servers}) == 1
    finally:
        await asyncio.gather(*(server.__aexit__() for server in servers))
    assert await live_url(tmp_path) is None
    # The one who left last is not the one whose child it was.
    await asyncio.gather(*(asyncio.to_thread(s._child.wait, 10) for s in servers if s._child))


async def test_one_that_outlived_a_crash_is_adopted_and_ended(tmp_path: Path) -> None:
    before = await RedisServer(tmp_path).__aenter__()
    pid = await pid_of(before)
    await crashed(before)
    async with RedisServer(tmp_path) as server:
        assert await pid_of(server) == pid
    assert await live_url(tmp_path) is None
    assert before._child is not None
    await asyncio.to_thread(before._child.wait, 10)


async def test_a_killed_one_is_started_again_with_what_it_held(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        async with client(server) as redis:
            await redis.config_set("appendfsync", "always")
            await redis.set("bell", "rung")
        pid = await pid_of(server)
        os.kill(pid, signal.SIGKILL)
        await wait_for_another(server, pid)
        async with client(server) as redis:
            assert await redis.get("bell") == "rung"


async def test_a_killed_one_is_started_again_by_whoever_is_left(tmp_path: Path) -> None:
    first = await RedisServer(tmp_path).__aenter__()
    async with RedisServer(tmp_path) as second:
        pid = await pid_of(second)
        await crashed(first)
        os.kill(pid, signal.SIGKILL)
        await wait_for_another(second, pid)


async def test_files_that_cannot_be_read_are_put_aside(tmp_path: Path) -> None:
    async with RedisServer(tmp_path):
        pass
    for path in (tmp_path / "redis" / "appendonlydir").glob("*.manifest"):
        path.write_text("this is no manifest\n")
    async with RedisServer(tmp_path) as server, client(server) as redis:
        assert await redis.ping()
    assert [name for name in os.listdir(tmp_path) if name.startswith("redis.unreadable-")]


async def test_a_data_folder_with_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("a-folder-of-a-very-long-name-" * 4)
    folder.mkdir()
    async with RedisServer(folder) as server:
        socket = Path(server.url.removeprefix("unix://"))
        assert socket.parent != folder
        assert socket == socket_of(folder)
    assert not socket.parent.exists()
    assert not (folder / "redis.path").exists()


async def test_it_does_not_get_the_ctrl_c_of_the_terminal(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        assert os.getsid(await pid_of(server)) != os.getsid(0)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_one_that_was_told_to_stop_by_a_stranger_comes_back(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    async with RedisServer(tmp_path) as server:
        pid = await pid_of(server)
        os.kill(pid, signal_number)
        await wait_for_another(server, pid)
