"""`tidegate up` as a process: ready, answering, stopped cleanly, and what it refuses to start with."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.servers import answer, serving
from tests.tidegates import left_of, redis_pid, run, running, until_left

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_it_becomes_ready_answers_and_ends_within_20_seconds_leaving_nothing(data_dir: Path) -> None:
    async with running(data_dir) as up:
        await up.ready()
        assert (await up.call("GET", "/v1/connections"))["connections"] == []
        assert len(left_of(data_dir)) == 3  # itself, a worker, and Redis
        assert await up.stop() == 0
    assert left_of(data_dir) == []


async def test_ctrl_c_ends_it_as_well(data_dir: Path) -> None:
    async with running(data_dir) as up:
        await up.ready()
        assert await up.stop(signal.SIGINT) == 0
    assert left_of(data_dir) == []


async def test_being_stopped_before_it_is_ready_leaves_nothing_either(data_dir: Path) -> None:
    async with running(data_dir) as up:
        await up.says("redis.started")
        assert await up.stop() == 0
    assert left_of(data_dir) == []


async def test_the_administrators_key_is_shown_on_the_first_start_only(data_dir: Path) -> None:
    async with running(data_dir) as up:
        await up.ready()
    first = up.err
    async with running(data_dir) as up:
        await up.ready()
    assert first.count(up.admin_key) == 1
    assert up.admin_key not in up.err
    assert (data_dir / "admin.key").stat().st_mode & 0o777 == 0o600


async def test_what_a_killed_one_leaves_is_taken_over_by_the_next(data_dir: Path) -> None:
    async with running(data_dir) as up:
        await up.ready()
        redis = redis_pid(data_dir)
        await up.kill()
        await until_left(data_dir, 1)  # the worker ends by itself
    async with running(data_dir) as up:
        await up.ready()
        assert redis_pid(data_dir) == redis
        assert "redis.started" not in up.err
    assert left_of(data_dir) == []


async def test_a_killed_worker_is_replaced(data_dir: Path) -> None:
    async with running(data_dir) as up:
        await up.ready()
        (worker,) = up.pids("up.worker_started")
        os.kill(worker, signal.SIGKILL)
        await up.says("up.worker_started", times=2)
        await up.says("worker.ready", times=2)
        assert await up.stop() == 0
    assert left_of(data_dir) == []


async def test_a_data_folder_with_a_long_path_serves_as_well(tmp_path: Path) -> None:
    data_dir = tmp_path / ("a-folder-of-a-very-long-name-" * 4)
    async with running(data_dir) as up:
        await up.ready()
        assert (data_dir / "redis.path").exists()
    assert not (data_dir / "redis.path").exists()


async def test_roles_that_are_started_alone_share_one_redis(data_dir: Path) -> None:
    async with running(data_dir, "worker") as worker:
        await worker.says("worker.ready")
        redis = redis_pid(data_dir)
        async with running(data_dir, "scheduler") as scheduler:
            await scheduler.says("scheduler.ready")
            assert await worker.stop() == 0
            assert redis_pid(data_dir) == redis
            assert "redis.started" not in scheduler.err
    assert left_of(data_dir) == []


async def test_health_tells_which_roles_are_missing(data_dir: Path) -> None:
    async with running(data_dir, "scheduler") as scheduler:
        await scheduler.says("scheduler.ready")
        assert (await run(data_dir, "health", "--role", "scheduler")).code == 0
        lacking = await run(data_dir, "health")
        assert lacking.code == 1
        assert "Not running: api, worker." in lacking.err
    assert (await run(data_dir, "health", "--role", "scheduler")).code == 1


async def test_a_wrong_secret_key_is_refused_and_named(data_dir: Path) -> None:
    assert (await run(data_dir, "migrate")).code == 0
    ended = await run(data_dir, "up", TIDEGATE_SECRET_KEY="another-key-than-before")
    assert ended.code == 2
    assert "TIDEGATE_SECRET_KEY: this is not the key" in ended.err
    assert "another-key-than-before" not in ended.err + ended.out
    assert left_of(data_dir) == []


async def test_an_unknown_variable_is_an_error_at_start(data_dir: Path) -> None:
    ended = await run(data_dir, "up", TIDEGATE_WORKRES="2")
    assert ended.code == 2
    assert "TIDEGATE_WORKRES is not a setting: did you mean TIDEGATE_WORKERS?" in ended.err
    assert "Traceback" not in ended.err


async def test_a_port_that_is_taken_is_told_in_a_sentence(data_dir: Path) -> None:
    async with serving(answer()) as other:
        ended = await run(data_dir, "up", TIDEGATE_PORT=str(other.port))
    assert ended.code == 2
    assert "TIDEGATE_PORT" in ended.err
    assert "Traceback" not in ended.err
    assert left_of(data_dir) == []


async def test_a_database_that_is_away_is_told_without_its_password(data_dir: Path) -> None:
    url = "postgresql://tide:hush-hush@127.0.0.1:1/tidegate"
    ended = await run(data_dir, "up", TIDEGATE_DATABASE_URL=url, TIDEGATE_SECRET_KEY="a-key-for-this-test")
    assert ended.code == 2
    assert "TIDEGATE_DATABASE_URL" in ended.err
    assert "hush-hush" not in ended.err
    assert "Traceback" not in ended.err


async def test_help_comes_quickly_and_names_every_command(data_dir: Path) -> None:
    began = time.monotonic()
    ended = await run(data_dir, "--help")
    assert time.monotonic() - began < 3
    for name in ("up", "api", "scheduler", "worker", "sync", "connections", "credentials", "events", "demo"):
        assert f"  {name} " in ended.out
