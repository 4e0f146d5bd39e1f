"""Redis: reachable, not forgetting keys by itself, keeping what it holds through a restart."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from config.settings import Settings
from tidegate.doctor.clocks import compared
from tidegate.doctor.finding import Finding, Redact, fail, ok, warn
from tidegate.redis_policy import ADVICE, dropping
from tidegate.redis_server import live_url
from worker.queue import connect

OLDEST = (6, 2)
#: Parts of its memory.
NEARLY_FULL, FULL = 0.75, 0.95


async def look(settings: Settings, redact: Redact, now: Callable[[], datetime]) -> Sequence[Finding]:
    """What there is to say of the Redis of the settings, or of the embedded one if it runs."""
    url = settings.redis_url.reveal() if settings.redis_url else await live_url(settings.data_dir)
    if url is None:
        said = "The embedded Redis does not run."
        return [warn("redis", said, "Nothing to do: `tidegate up` and the other roles start it.")]
    redis = connect(url, connections=2)
    try:
        return await _ask(redis, now, embedded=settings.redis_url is None)
    except (RedisError, OSError, TimeoutError) as e:
        advice = "Check TIDEGATE_REDIS_URL, its password, and that the server runs and lets this machine in."
        return [fail("redis", f"It does not answer: {redact(str(e))}", advice)]
    finally:
        await redis.aclose()


async def _ask(redis: ArqRedis, now: Callable[[], datetime], *, embedded: bool) -> Sequence[Finding]:
    told: Mapping[str, Any] = await redis.info()
    known = "Valkey" if "valkey_version" in told else "Redis"
    version = str(told.get("valkey_version") or told.get("redis_version", "?"))
    said = f"{known} {version} answers{' (embedded)' if embedded else ''}."
    compatible = str(told.get("redis_version", "0"))
    if tuple(int(part) for part in compatible.split(".")[:2] if part.isdigit()) < OLDEST:
        return [fail("redis", said, "Redis 6.2 or newer, or Valkey, is needed.")]
    return [
        ok("redis", said),
        await _time(redis, now),
        _policy(told),
        *_room(told),
        await _persistence(redis, told),
    ]


async def _time(redis: ArqRedis, now: Callable[[], datetime]) -> Finding:
    seconds, micros = await redis.time()
    there = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)
    return compared("redis clock", "Redis", now(), there)


def _room(told: Mapping[str, Any]) -> Sequence[Finding]:
    """How much memory is left, where Redis has a limit and tells."""
    most, used = int(told.get("maxmemory", 0)), int(told.get("used_memory", 0))
    if not most:
        return []
    said = f"{used / 1024**2:.0f} of {most / 1024**2:.0f} MiB are used."
    advice = "Raise maxmemory: when it is full no sync can be rung for and no event published."
    if used > FULL * most:
        return [fail("redis room", said, advice)]
    return [warn("redis room", said, advice) if used > NEARLY_FULL * most else ok("redis room", said)]


def _policy(told: Mapping[str, Any]) -> Finding:
    if wrong := dropping(told):
        return fail("redis memory", f"{wrong} No process starts with it.", ADVICE)
    if "maxmemory_policy" not in told:
        return ok("redis memory", "It does not tell its maxmemory-policy.")
    return ok("redis memory", "maxmemory-policy is noeviction.")


async def _persistence(redis: ArqRedis, told: Mapping[str, Any]) -> Finding:
    if int(told.get("aof_enabled", 0)):
        if told.get("aof_last_write_status", "ok") != "ok":
            return fail("redis persistence", "Its append-only file cannot be written.", "Look into its log.")
        return ok("redis persistence", "It keeps an append-only file.")
    try:
        saves = str((await redis.config_get("save")).get("save", ""))
    except RedisError:  # a hosted Redis may not tell
        return warn(
            "redis persistence", "It has no append-only file.", "Triggers in the queue last as long as it."
        )
    if told.get("rdb_last_bgsave_status", "ok") != "ok":
        return fail("redis persistence", "Its last snapshot could not be written.", "Look into its log.")
    if saves:
        return ok("redis persistence", f"It writes snapshots ({saves}).")
    advice = "Set appendonly yes: triggers that nobody has taken yet are lost when it restarts."
    return warn("redis persistence", "It keeps nothing through a restart.", advice)
