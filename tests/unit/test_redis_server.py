"""Where the embedded Redis is found and where it listens."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate import redis_binary
from tidegate.redis_binary import RedisMissing
from tidegate.redis_server import forget_socket, place_socket, socket_of


def server(folder: Path, says: str) -> str:
    """A program that says which version it is."""
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def long_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ("a-folder-of-a-very-long-name-" * 4)
    folder.mkdir()
    yield folder
    forget_socket(folder)


def test_the_server_that_comes_along_is_found() -> None:
    assert redis_binary.find().name == "valkey-server"


def test_a_server_on_the_path_is_taken_if_it_is_new_enough(tmp_path: Path) -> None:
    path = server(tmp_path, "Redis server v=6.2.0 sha=00000000:0")
    assert redis_binary._on_path([None, path]) == Path(path)


def test_a_server_that_is_too_old_is_named_with_both_remedies(tmp_path: Path) -> None:
    path = server(tmp_path, "Redis server v=6.0.16 sha=00000000:0")
    with pytest.raises(RedisMissing) as e:
        redis_binary._on_path([path])
    for word in (path, "6.0", "valkey-server", "TIDEGATE_REDIS_URL"):
        assert word in str(e.value)


def test_no_server_at_all_names_both_remedies() -> None:
    with pytest.raises(RedisMissing, match="redis-server is on the PATH, or set TIDEGATE_REDIS_URL"):
        redis_binary._on_path([None, None])


def test_a_short_data_folder_has_the_socket_in_it(tmp_path: Path) -> None:
    assert place_socket(tmp_path) == tmp_path / "redis.sock"
    assert not (tmp_path / "redis.path").exists()


def test_a_long_data_folder_names_a_private_one_with_the_socket(long_dir: Path) -> None:
    path = place_socket(long_dir)
    assert (long_dir / "redis.path").read_text() == f"{path}\n"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert socket_of(long_dir) == path


def test_the_private_folder_is_used_again_after_a_crash(long_dir: Path) -> None:
    assert place_socket(long_dir) == place_socket(long_dir)


def test_a_private_folder_that_others_may_enter_is_not_used_again(long_dir: Path) -> None:
    first = place_socket(long_dir)
    first.parent.chmod(0o755)
    assert place_socket(long_dir).parent != first.parent
    first.parent.rmdir()
