"""The embedded Redis: started when it is missed, shared by all roles on a data folder, stopped by the last.

Every process that uses it holds a shared lock on `redis.users`; whoever finds no server starts one under
the lock `redis.lock`. So it does not matter which role comes first, a server that survived a crash is
simply used, and the one to leave last stops it. It runs in a session of its own, so that Ctrl-C reaches
the workers and not the Redis they still need.
"""

import asyncio
import fcntl
import os
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Self

import structlog

from tidegate import redis_binary

log = structlog.get_logger()

LONGEST_SOCKET = 100  # bytes; systems allow 103 to 107
START_SECONDS = 15.0
LOADING_SECONDS = 300.0
ANSWER_SECONDS = 2.0
STOP_SECONDS = 5.0
STEADY_SECONDS = 60.0  # a server that ran so long may be restarted at once
MOST_BACKOFF = 30.0


class RedisServerError(Exception):
    """The embedded Redis cannot be had. The message says why and what to do."""


class RedisServer:
    """The Redis of a data folder, for as long as the context is open. Restarted whenever it dies."""

    def __init__(self, data_dir: Path) -> None:
        """`data_dir` exists and belongs to us."""
        self._dir = data_dir
        self._socket = data_dir / "redis.sock"
        self._users: IO[bytes] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    async def __aenter__(self) -> Self:
        self._users = (self._dir / "redis.users").open("ab")
        # Waits for one who is just stopping the server.
        await asyncio.to_thread(fcntl.flock, self._users, fcntl.LOCK_SH)
        try:
            await self._ensure()
        except BaseException:
            await self._leave()
            raise
        self._watch = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._leave()

    async def _leave(self) -> None:
        assert self._users is not None
        try:
            # Our share is given up first, so of several that leave at once exactly one is the last.
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.debug("redis.left_to_others")
        else:
            await self._stop()
        finally:
            self._users.close()

    async def _ensure(self) -> None:
        """Return when a server answers on the socket; start one if nobody else does."""
        until = time.monotonic() + START_SECONDS
        with (self._dir / "redis.lock").open("ab") as lock:
            while True:
                self._socket = socket_of(self._dir)
                said = await ping(self._socket)
                if said.startswith("+PONG"):
                    return
                if said.startswith("-LOADING"):
                    until = max(until, time.monotonic() + START_SECONDS)
                elif not said and _locked(lock):
                    await self._start()
                    return
                if time.monotonic() > until:
                    raise RedisServerError(
                        f"The Redis at {self._socket} does not answer: {said or 'silence'}."
                    )
                await asyncio.sleep(0.05)

    async def _start(self) -> None:
        """Start a server. What Redis holds can be rebuilt, so files that it cannot read are put aside."""
        folder = self._dir / "redis"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._socket = place_socket(self._dir)
        if await self._spawn(folder):
            return
        aside = self._dir / f"redis.unreadable-{int(time.time())}"
        reason = _last_lines(folder / "redis.log")
        folder.rename(aside)
        folder.mkdir(mode=0o700)
        log.warning("redis.files_put_aside", folder=str(aside), reason=reason)
        if not await self._spawn(folder):
            said = _last_lines(folder / "redis.log")
            raise RedisServerError(f"The embedded Redis does not start: {said}")

    async def _spawn(self, folder: Path) -> bool:
        """Whether a server started on these files; it has ended otherwise."""
        try:
            binary = redis_binary.find()
        except redis_binary.RedisMissing as e:
            raise RedisServerError(str(e)) from None
        # Not asyncio's own: that kills its children with the loop, and others may still use this one.
        self._child = child = subprocess.Popen(  # noqa: ASYNC220, S603 - returns at once; the binary is ours
            [binary, *_flags(self._dir, folder, self._socket)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Somebody has to take note of its end, or it stays in the table of processes.
        Thread(target=child.wait, daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while child.poll() is None and time.monotonic() < until:
            said = await ping(self._socket)
            if said.startswith("+PONG"):
                log.info("redis.started", pid=child.pid, binary=str(binary), socket=str(self._socket))
                return True
            if said.startswith("-LOADING"):
                until = time.monotonic() + LOADING_SECONDS
            await asyncio.sleep(0.01)
        await _end(child)
        return False

    async def _supervise(self) -> None:
        """Have a new server whenever the present one is gone; slower each time if it does not live long."""
        failures = 0
        while True:
            began = time.monotonic()
            await until_gone(self._socket)
            failures = 0 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            log.warning("redis.gone", socket=str(self._socket))
            await asyncio.sleep(min(MOST_BACKOFF, 0.05 * 2**failures))
            if self._child is not None:
                await _end(self._child)
                self._child = None
            try:
                await self._ensure()
            except (RedisServerError, OSError) as e:
                log.error("redis.not_restarted", reason=str(e))

    async def _stop(self) -> None:
        """Stop the server and remove its socket; it writes what it has to its append-only file first."""
        self._socket = socket_of(self._dir)
        with suppress(OSError, TimeoutError):
            await ask(self._socket, "SHUTDOWN NOSAVE")
        gone = asyncio.create_task(until_gone(self._socket))
        done, _ = await asyncio.wait([gone], timeout=STOP_SECONDS)
        gone.cancel()
        if self._child is not None:
            await _end(self._child, patience=STOP_SECONDS if done else 0.0)
        elif not done:
            # Not our child, so not ours to kill: its pid may be another's by now.
            log.warning("redis.does_not_stop", socket=str(self._socket))
            return
        forget_socket(self._dir)
        log.info("redis.stopped")


def _flags(data_dir: Path, folder: Path, socket: Path) -> list[str]:
    return [
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--pidfile", str(data_dir / "redis.pid")),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        *("--logfile", str(folder / "redis.log"), "--loglevel", "warning"),
    ]


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_lines(path: Path) -> str:
    with suppress(OSError):
        return " / ".join(path.read_text("utf-8", "replace").splitlines()[-3:])
    return "it wrote no log"


async def _end(child: subprocess.Popen[bytes], patience: float = 0.0) -> None:
    """Wait for a server of ours to have ended, and make it end after `patience` seconds."""
    until = time.monotonic() + patience
    while child.poll() is None and time.monotonic() < until:  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(0.02)
    if child.poll() is None:
        child.kill()
        await asyncio.to_thread(child.wait)


def socket_of(data_dir: Path) -> Path:
    """Where the server of a data folder listens, if there is one: there, or where `redis.path` says."""
    named = data_dir / "redis.path"
    with suppress(OSError):
        path = Path(named.read_text("utf-8").strip())
        # The folder must still be ours alone: another user could have made one of that name since.
        if _private(path.parent):
            return path
    return data_dir / "redis.sock"


def place_socket(data_dir: Path) -> Path:
    """Where a new server of this data folder is to listen; a private folder is made for it if need be."""
    named = data_dir / "redis.path"
    plain = data_dir / "redis.sock"
    if len(os.fsencode(plain)) <= LONGEST_SOCKET:
        named.unlink(missing_ok=True)
        return plain
    known = socket_of(data_dir)
    if known != plain:
        return known
    path = Path(tempfile.mkdtemp(prefix="tidegate-")) / "redis.sock"  # mode 0700
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        path.parent.rmdir()
        raise RedisServerError(
            f"The paths {data_dir} and {tempfile.gettempdir()} are both too long for a socket: "
            "set TMPDIR or TIDEGATE_DATA_DIR to a shorter one, or TIDEGATE_REDIS_URL to a running Redis."
        )
    named.write_text(f"{path}\n", "utf-8")
    return path


def forget_socket(data_dir: Path) -> None:
    """Remove the socket, and the private folder that was made for it."""
    path = socket_of(data_dir)
    path.unlink(missing_ok=True)
    if path.parent != data_dir:
        with suppress(OSError):
            path.parent.rmdir()
        (data_dir / "redis.path").unlink(missing_ok=True)


def _private(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


async def ping(socket: Path) -> str:
    """What a server says to PING: `+PONG`, an error such as `-LOADING ...`; empty where nobody listens."""
    try:
        return await ask(socket, "PING")
    except TimeoutError:
        return "-TIMEOUT"
    except OSError:
        return ""


async def ask(socket: Path, command: str) -> str:
    """The first line of the answer to a command. Raises `OSError` or `TimeoutError`."""
    reader, writer = await _connect(socket)
    try:
        writer.write(f"{command}\r\n".encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            return (await reader.readline()).decode("utf-8", "replace").strip()
    finally:
        writer.close()


async def until_gone(socket: Path) -> None:
    """Return when the server has ended: its side of an open connection is closed then, at once."""
    try:
        reader, writer = await _connect(socket)
    except OSError:
        return
    try:
        await reader.read(1)
    except OSError:
        return
    finally:
        writer.close()


async def _connect(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(ANSWER_SECONDS):
        return await asyncio.open_unix_connection(socket)


async def live_url(data_dir: Path) -> str | None:
    """The embedded Redis of a data folder if one is running; for commands that only ring."""
    socket = socket_of(data_dir)
    return f"unix://{socket}" if (await ping(socket)).startswith("+PONG") else None
