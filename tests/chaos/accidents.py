"""What can happen to a town on any day. The elders live through all of it; the others may die."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

from redis.exceptions import RedisError

from tests.chaos.roles import Role
from tests.chaos.town import Town
from tidegate.demo.remotes.base import Fault


class Elders:
    """Processes that are never killed, so that one can see how they age."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self.roles = roles

    def others(self, town: Town, name: str) -> list[Role]:
        return [role for role in town.named(name) if role not in self.roles]


async def _kill(town: Town, elders: Elders, random: Random) -> None:
    name = random.choice(["worker", "scheduler"])
    for role in elders.others(town, name)[:1]:
        await role.kill()
    await town.start(name)


async def _restart(town: Town, elders: Elders, random: Random) -> None:
    name = random.choice(["worker", "scheduler"])
    for role in elders.others(town, name)[:1]:
        role.ask_to_end()
        await role.ended(within=60)
    await town.start(name)


async def _freeze(town: Town, elders: Elders, random: Random) -> None:
    """Longer than a lease."""
    role = random.choice(town.named("worker") + town.named("scheduler"))
    await town.freeze(role)
    await asyncio.sleep(random.uniform(11, 14))
    role.thaw()


async def _empty_redis(town: Town, elders: Elders, random: Random) -> None:
    try:
        async with town.redis() as redis:
            await redis.flushall()
    except (RedisError, OSError):
        return  # it is just coming back from the accident before


async def _kill_redis(town: Town, elders: Elders, random: Random) -> None:
    try:
        async with town.redis() as redis:
            pid = int((await redis.info("server"))["process_id"])
    except (RedisError, OSError):
        return
    if "TIDEGATE_REDIS_URL" not in town.environ:
        os.kill(pid, signal.SIGKILL)


async def _remote_fails(town: Town, elders: Elders, random: Random) -> None:
    status = random.choice([500, 502, 503])
    town.jira.faults.append(Fault("/search", status, times=random.randint(1, 20)))


async def _remote_breaks_off(town: Town, elders: Elders, random: Random) -> None:
    town.jira.faults.append(Fault("/search", cut=random.randint(0, 200), times=random.randint(1, 10)))


async def _remote_is_silent(town: Town, elders: Elders, random: Random) -> None:
    town.jira.hold()
    await asyncio.sleep(random.uniform(2, 8))
    town.jira.open()


async def _remote_is_busy(town: Town, elders: Elders, random: Random) -> None:
    headers = {"Retry-After": str(random.randint(1, 5))}
    town.jira.faults.append(Fault("/search", 429, headers=headers, times=random.randint(1, 3)))


Accident = Callable[[Town, Elders, Random], Awaitable[None]]
ACCIDENTS: Mapping[str, Accident] = {
    "a process is killed": _kill,
    "a process is restarted": _restart,
    "a process stands still": _freeze,
    "redis is emptied": _empty_redis,
    "redis is killed": _kill_redis,
    "the remote fails": _remote_fails,
    "the remote breaks off": _remote_breaks_off,
    "the remote is silent": _remote_is_silent,
    "the remote is busy": _remote_is_busy,
}
