"""A Redis of somebody else's that drops keys by itself is refused at the start, and no other is."""

from pathlib import Path

import pytest
from arq.connections import ArqRedis

from config.settings import SettingsError
from tests.tidegates import left_of, run
from tests.valkey import Valkey
from tidegate.redis_policy import refuse_dropping
from worker.queue import connect

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def redis(valkey: Valkey) -> ArqRedis:
    return connect(valkey.url, connections=2)


@pytest.mark.parametrize("role", ["up", "worker", "scheduler"])
async def test_no_process_starts_with_a_redis_that_drops_keys(
    valkey: Valkey, redis: ArqRedis, tmp_path: Path, role: str
) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    await redis.aclose()
    ended = await run(tmp_path / "data", role, TIDEGATE_REDIS_URL=valkey.url)
    assert ended.code == 2
    assert "TIDEGATE_REDIS_URL: maxmemory-policy is allkeys-lru" in ended.err
    assert "Set maxmemory-policy noeviction" in ended.err
    assert "Traceback" not in ended.err
    assert left_of(tmp_path / "data") == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
async def test_every_policy_that_drops_keys_is_refused(valkey: Valkey, redis: ArqRedis, policy: str) -> None:
    await refuse_dropping(valkey.url)
    await redis.config_set("maxmemory-policy", policy)
    with pytest.raises(SettingsError, match=policy):
        await refuse_dropping(valkey.url)
    await redis.aclose()


async def test_a_redis_that_does_not_tell_its_policy_is_taken(valkey: Valkey, redis: ArqRedis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    # As hosted ones are set up.
    await redis.acl_setuser("default", enabled=True, nopass=True, commands=["-config", "-info"])
    await redis.aclose()
    await refuse_dropping(valkey.url)


async def test_a_redis_that_is_away_is_no_reason_not_to_start() -> None:
    await refuse_dropping("redis://127.0.0.1:1/0")
