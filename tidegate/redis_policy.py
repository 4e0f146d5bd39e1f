"""A Redis that may drop keys by itself is refused, before anything relies on it."""

from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import SettingsError

log = structlog.get_logger()

KEEPS_ALL = "noeviction"
ADVICE = (
    "Set maxmemory-policy noeviction there; if it is shared with a cache, give Tidegate a Redis of its own."
)
_ANSWER_SECONDS = 5.0


def dropping(memory: Mapping[str, Any]) -> str | None:
    """What is wrong with the policy in `INFO memory`; None if nothing is dropped, or it is not told."""
    policy = str(memory.get("maxmemory_policy", KEEPS_ALL))
    if policy == KEEPS_ALL:
        return None
    return (
        f"maxmemory-policy is {policy}: when its memory is full, Redis drops triggers, events and the limits "
        "of remote hosts without a word."
    )


async def refuse_dropping(url: str) -> None:
    """Raises `SettingsError` for a Redis whose policy drops keys. One that is away, or that does not tell its
    policy, as hosted ones may, is not refused: nothing that cannot be had again is in it."""
    redis = Redis.from_url(url, socket_connect_timeout=_ANSWER_SECONDS, socket_timeout=_ANSWER_SECONDS)
    try:
        wrong = dropping(await redis.info("memory"))
    except (RedisError, OSError) as e:
        log.warning("redis.policy_not_told", error=str(e) or type(e).__name__)
        return
    finally:
        await redis.aclose()
    if wrong:
        raise SettingsError(f"TIDEGATE_REDIS_URL: {wrong} {ADVICE}")
