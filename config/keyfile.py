"""The file of the secret keys that are made here: one line, the newest first, a comma between them."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from config.settings import SettingsError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile. Raises `SettingsError` at once if somebody does."""
    with path.with_name(f"{path.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"{path}: another command is changing the keys; wait for its end.") from None
        yield


def add(path: Path) -> None:
    """Put a new random key before those that are there."""
    _write(path, [secrets.token_urlsafe(32), *_read(path)])


def keep_first(path: Path) -> int:
    """Leave the newest key alone in the file. How many are gone."""
    keys = _read(path)
    _write(path, keys[:1])
    return len(keys) - 1


def _read(path: Path) -> list[str]:
    return [key.strip() for key in path.read_text("utf-8").split(",")]


def _write(path: Path, keys: Sequence[str]) -> None:
    """The file is the old one or the new one, whole, whenever the machine stops; mode 0600."""
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(",".join(keys) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as wrong:
        raise SettingsError(f"TIDEGATE_DATA_DIR: {path} cannot be written ({wrong.strerror})") from None
